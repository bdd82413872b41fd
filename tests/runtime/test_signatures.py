"""Signatures over finished runs: by their standards, deterministic, and refused when anything was changed."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from tiny_project import record

from hsdc_runtime.ledger import Ledger
from hsdc_runtime.signatures import _dependencies, encoded
from hsdc_schemas.digests import canonical
from hsdc_schemas.manifest import Input, sealed

MANIFEST, RECORD = "generated/demo/base.lock.json", "generated/demo/base.record.json"
ENVELOPE = "generated/demo/base.sig.json"


@pytest.fixture
def keys(tmp_path: Path, hsdc: Callable) -> tuple[str, str]:
    """The private key's file, and the public one's."""
    path = tmp_path / "keys"
    path.mkdir()
    answer = hsdc("sign", "--new-key", str(path / "own.pem"))
    assert answer.code == 0
    return str(path / "own.pem"), str(path / "own.pem.pub")


@pytest.fixture
def signed(project: Path, keys: tuple[str, str], hsdc: Callable) -> Path:
    assert hsdc("sign", "base", "--key", keys[0]).code == 0
    return project


def verdicts(hsdc: Callable, *arguments: str) -> tuple[int, list[tuple[str, str, str]]]:
    """The exit code, and state, name and code of what is said of signatures."""
    answer = hsdc("verify", *arguments, "--signed", "--json")
    found = [item for item in json.loads(answer.out)["findings"] if item["kind"] == "signature"]
    return answer.code, [(item["state"], item["name"], item["code"]) for item in found]


def test_what_is_signed_is_the_encoding_of_dsse() -> None:
    """The example that the specification of DSSE prints."""
    kind, text = "http://example.com/HelloWorld", b"hello world"
    assert encoded(kind, text) == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert encoded("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_an_input_without_files_is_named_by_its_digest() -> None:
    """As of an endpoint, or of rows that are drawn from a split."""
    item = Input(name="model", source="local:box", revision="served", digest="sha256:" + "ab" * 32, files=())
    expected = {"name": "model", "uri": "local:box@served", "digest": {"hsdc": "ab" * 32}}
    assert list(_dependencies(item)) == [expected]


def test_a_new_pair_of_keys(tmp_path: Path, keys: tuple[str, str], hsdc: Callable) -> None:
    assert stat.S_IMODE(Path(keys[0]).stat().st_mode) == 0o600
    assert b"PRIVATE" not in Path(keys[1]).read_bytes()
    before = Path(keys[0]).read_bytes()
    answer = hsdc("sign", "--new-key", keys[0])
    assert (answer.code, "error[E009]" in answer.err) == (2, True)
    assert Path(keys[0]).read_bytes() == before


def test_an_envelope_by_an_independent_reader(signed: Path, keys: tuple[str, str]) -> None:
    envelope = json.loads((signed / ENVELOPE).read_bytes())
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    payload, kind = b64decode(envelope["payload"]), envelope["payloadType"]
    assert kind == "application/vnd.in-toto+json"
    public = load_pem_public_key(Path(keys[1]).read_bytes())
    message = b" ".join((b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload))
    public.verify(b64decode(envelope["signatures"][0]["sig"]), message)  # type: ignore[call-arg,union-attr]
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    digests = {path: sha256((signed / path).read_bytes()).hexdigest() for path in (MANIFEST, RECORD)}
    assert {item["name"]: item["digest"]["sha256"] for item in statement["subject"]} == digests
    definition, details = (statement["predicate"][name] for name in ("buildDefinition", "runDetails"))
    found = record(signed, "base")
    assert definition["externalParameters"] == {"run": "base", "profile": "demo", "manifest": found["manifest"]}
    used = {item["name"]: item["digest"]["sha256"] for item in definition["resolvedDependencies"] if "digest" in item}
    assert used["model/config.json"] == sha256((signed / "model/config.json").read_bytes()).hexdigest()
    assert used["dataset.train/train.csv"] == sha256((signed / "data/train.csv").read_bytes()).hexdigest()
    assert len(used) == 3 + len(list((signed / "model").iterdir()))
    assert details["metadata"]["invocationId"] == found["digest"]
    assert details["metadata"]["startedOn"].endswith("Z")
    made = {item["name"]: f"sha256:{item['digest']['sha256']}" for item in details["byproducts"]}
    assert made["train/weights"] == found["stages"][1]["outputs"]["weights"]["object"]
    assert Ledger(signed).entries()[-1]["event"] == "signed"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_says_the_same(signed: Path, keys: tuple[str, str], tmp_path: Path) -> None:
    envelope = json.loads((signed / ENVELOPE).read_bytes())
    payload = b64decode(envelope["payload"])
    (tmp_path / "message").write_bytes(b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload))
    (tmp_path / "signature").write_bytes(b64decode(envelope["signatures"][0]["sig"]))
    files = ("-inkey", keys[1], "-in", str(tmp_path / "message"), "-sigfile", str(tmp_path / "signature"))
    asked = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", *files], capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr


def test_what_is_signed_and_whole_is_ok(signed: Path, keys: tuple[str, str], hsdc: Callable) -> None:
    before = (signed / ENVELOPE).read_bytes()
    trust = ("--trust", keys[1])
    for arguments in (("base",), (), ("--store",)):
        assert verdicts(hsdc, *arguments, *trust) == (0, [("ok", ENVELOPE, "")])
    assert hsdc("sign", "base", "--key", keys[0]).code == 0
    assert (signed / ENVELOPE).read_bytes() == before, "the same run and key give the same bytes"
    (signed / ".hsdc/trusted.pem").write_bytes(Path(keys[1]).read_bytes())
    answer = hsdc("verify", "--signed")
    assert answer.code == 0
    signer = json.loads(before)["signatures"][0]["keyid"][:12]
    assert answer.out.splitlines() == [f"ok  signature  {ENVELOPE}  signed by {signer}", "signatures: all 1 ok"]


def _payload(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        envelope = json.loads((root / ENVELOPE).read_bytes())
        statement = json.loads(b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = b64encode(canonical(statement)).decode()
        (root / ENVELOPE).write_bytes(canonical(envelope) + b"\n")

    return harm


def _signature(root: Path) -> None:
    envelope = json.loads((root / ENVELOPE).read_bytes())
    value = bytearray(b64decode(envelope["signatures"][0]["sig"]))
    value[7] ^= 1
    envelope["signatures"][0]["sig"] = b64encode(value).decode()
    (root / ENVELOPE).write_bytes(canonical(envelope) + b"\n")


def _write(path: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes(change((root / path).read_bytes())) and None  # type: ignore[func-returns-value,return-value]


def _resealed(root: Path) -> None:
    value = json.loads((root / RECORD).read_bytes())
    value["seconds"] = 1.0
    (root / RECORD).write_bytes(canonical(sealed(value)) + b"\n")


HARMED = {
    "record": (_resealed, "changed", "E544"),
    "manifest": (_write(MANIFEST, lambda data: data + b" "), "changed", "E544"),
    "record gone": (lambda root: (root / RECORD).unlink(), "changed", "E544"),
    "manifest gone": (lambda root: (root / MANIFEST).rename(root / "elsewhere"), "changed", "E544"),
    "statement": (_payload(lambda it: it["subject"][1]["digest"].update(sha256="0" * 64)), "damaged", "E542"),
    "signature": (_signature, "damaged", "E542"),
    "layout": (_write(ENVELOPE, lambda data: data.replace(b'":', b'": ', 1)), "damaged", "E542"),
    "kind": (_write(ENVELOPE, lambda data: data.replace(b"vnd.in-toto", b"vnd.other")), "damaged", "E542"),
    "key's name": (_write(ENVELOPE, lambda data: data.replace(b'"keyid":"', b'"keyid":"x')), "changed", "E543"),
    "cut": (_write(ENVELOPE, lambda data: data[:-9]), "damaged", "E542"),
    "empty": (_write(ENVELOPE, lambda _: b""), "damaged", "E542"),
    "no signatures": (
        _write(ENVELOPE, lambda data: data[: data.index(b'"signatures":')] + b'"signatures":[]}\n'),
        "damaged",
        "E542",
    ),
    "gone": (lambda root: (root / ENVELOPE).unlink(), "missing", "E541"),
}


SAID = {
    ("missing", "E541"): "[E541] nobody has signed it; hsdc sign base --key FILE",
    ("damaged", "E542"): ("[E542] it is no envelope as hsdc writes it", "[E542] what it holds is not what was signed"),
    ("changed", "E543"): "[E543] no key that is trusted has signed it; signed by x",
    ("changed", "E544"): "[E544] after it was signed, generated/demo/base.",
}


@pytest.mark.parametrize("what", HARMED)
def test_what_was_changed_is_refused(signed: Path, keys: tuple[str, str], hsdc: Callable, what: str) -> None:
    harm, state, code = HARMED[what]
    harm(signed)
    code_and_findings = verdicts(hsdc, "--trust", keys[1])
    assert code_and_findings == (1, [(state, ENVELOPE, code)])
    answer = hsdc("verify", "--signed", "--trust", keys[1])
    line = answer.out.splitlines()[0]
    assert line.startswith(f"{state}  signature  {ENVELOPE}  ")
    assert line.removeprefix(f"{state}  signature  {ENVELOPE}  ").startswith(SAID[state, code])
    assert answer.out.splitlines()[-1] == f"signatures: 1 {state}, 0 ok"


def test_a_statement_about_another_run_is_refused(signed: Path, keys: tuple[str, str], hsdc: Callable) -> None:
    for kind in ("lock", "record", "sig"):
        shutil.copy(signed / f"generated/demo/base.{kind}.json", signed / f"generated/demo/warmer.{kind}.json")
    code, found = verdicts(hsdc, "--trust", keys[1])
    assert (code, found[1]) == (1, ("damaged", "generated/demo/warmer.sig.json", "E542"))


def test_a_foreign_key_is_not_trusted_and_cannot_pass_for_another(
    signed: Path, keys: tuple[str, str], hsdc: Callable, tmp_path: Path
) -> None:
    other = str(tmp_path / "other.pem")
    assert hsdc("sign", "--new-key", other).code == 0
    assert verdicts(hsdc, "--trust", f"{other}.pub") == (1, [("changed", ENVELOPE, "E543")])
    (tmp_path / "both").write_bytes(Path(keys[1]).read_bytes() + b"\n" + Path(f"{other}.pub").read_bytes())
    assert verdicts(hsdc, "--trust", str(tmp_path / "both"))[0] == 0
    name = json.loads((signed / ENVELOPE).read_bytes())["signatures"][0]["keyid"]
    (signed / ENVELOPE).unlink()
    assert hsdc("sign", "base", "--key", other).code == 0
    envelope = json.loads((signed / ENVELOPE).read_bytes())
    envelope["signatures"][0]["keyid"] = name
    (signed / ENVELOPE).write_bytes(canonical(envelope) + b"\n")
    assert verdicts(hsdc, "--trust", keys[1]) == (1, [("damaged", ENVELOPE, "E542")])


def test_two_people_sign_the_same_run(signed: Path, keys: tuple[str, str], hsdc: Callable, tmp_path: Path) -> None:
    other = str(tmp_path / "other.pem")
    assert hsdc("sign", "--new-key", other).code == 0
    assert hsdc("sign", "base", "--key", other).code == 0
    assert len(json.loads((signed / ENVELOPE).read_bytes())["signatures"]) == 2
    for public in (keys[1], f"{other}.pub"):
        assert verdicts(hsdc, "--trust", public) == (0, [("ok", ENVELOPE, "")])
    _resealed(signed)
    assert hsdc("sign", "base", "--key", other).code == 0
    assert verdicts(hsdc, "--trust", keys[1]) == (1, [("changed", ENVELOPE, "E543")]), "over the record of before"


def test_what_cannot_be_signed(project: Path, keys: tuple[str, str], hsdc: Callable) -> None:
    answer = hsdc("sign", "warmer", "--key", keys[0])
    assert (answer.code, "error[E540]" in answer.err, "hsdc run warmer" in answer.err) == (1, True, True)
    answer = hsdc("sign", "wormer", "--key", keys[0])
    assert (answer.code, "did you mean 'warmer'?" in answer.err) == (2, True)
    value = json.loads((project / RECORD).read_bytes())
    (project / RECORD).write_bytes(canonical(sealed({**value, "manifest": "sha256:" + "0" * 64})) + b"\n")
    answer = hsdc("sign", "base", "--key", keys[0])
    assert (answer.code, "error[E540]" in answer.err, "it belongs to manifest" in answer.err) == (1, True, True)
    assert not (project / ENVELOPE).exists()
    for arguments in (["base"], ["--key", keys[0]], ["base", "--new-key", "x"], []):
        answer = hsdc("sign", *arguments)
        assert (answer.code, "error[E000]" in answer.err) == (2, True)


def test_keys_that_cannot_be_used(project: Path, hsdc: Callable, tmp_path: Path, keys: tuple[str, str]) -> None:
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")
    )
    other = rsa.generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data, says in ((locked, "encrypted"), (other, "not of the kind"), (b"text", "no private key"), (None, "read")):
        path = tmp_path / "key"
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        answer = hsdc("sign", "base", "--key", str(path))
        assert (answer.code, "error[E545]" in answer.err, says in answer.err) == (4, True, True)
    answer = hsdc("verify", "--signed", "--trust", keys[0])
    assert (answer.code, "holds no public key" in answer.err) == (4, True)
    answer = hsdc("verify", "base", "--signed")
    assert (answer.code, "error[E547]" in answer.err) == (4, True)
    answer = hsdc("verify", "base", "--trust", keys[1])
    assert (answer.code, "error[E000]" in answer.err) == (2, True)
    (project / RECORD).unlink()
    assert hsdc("verify", "--signed", "--trust", keys[1]).out == "signatures: no finished run to look at\n"


def test_without_the_extra_one_line_says_how_to_install_it(
    project: Path, hsdc: Callable, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("cryptography.", "hsdc_runtime.keys"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "hsdc_runtime.signatures")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for call in (("sign", "base", "--key", keys[0]), ("verify", "base", "--signed", "--trust", keys[1])):
        answer = hsdc(*call)
        assert (answer.code, answer.out) == (4, "")
        message = "signatures need the extra 'sign', and 'cryptography' is not installed; pip install 'hsdc[sign]'"
        assert answer.err == f"error[E546] {message}\n"


def test_a_superseded_record_takes_its_signatures_along(signed: Path, hsdc: Callable) -> None:
    spec = signed / "specs/base.yaml"
    spec.write_text(spec.read_text().replace("seed: 42", "seed: 7"))
    assert hsdc("compile", "--supersede").code == 0
    assert not (signed / ENVELOPE).exists()
    kept = sorted(
        path.name.partition(".")[2].partition(".")[2] for path in (signed / "generated/demo/superseded").iterdir()
    )
    assert kept == ["record.json", "sig.json"]
