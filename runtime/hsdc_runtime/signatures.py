"""Signatures over a finished run: an in-toto statement about its manifest and record, in a DSSE envelope.

The statement names the bytes of both files and says in the SLSA provenance predicate, version 1, what went in and what
came out. What is signed is the pre-authentication encoding of DSSE, so that no other kind of text passes for it.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hsdc_runtime.keys import Trusted, is_signed, key_id
from hsdc_runtime.ledger import Ledger
from hsdc_runtime.verify import Finding, documents
from hsdc_schemas.digests import PREFIX, canonical, digest_file, write_atomically
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.manifest import Input, Manifest
from hsdc_schemas.places import manifest_path, record_path, signature_path
from hsdc_schemas.record import Record
from hsdc_schemas.secrets import require_no_secrets

PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "urn:hsdc:run:1"
BUILDER = "urn:hsdc:runtime:1"
LARGEST = 64 << 20


def sign(root: Path, profile: str, run: str, key: Ed25519PrivateKey) -> str:
    """Sign a finished run; the path of its envelope, which keeps the signatures of others over the same statement.

    The same run and key give the same bytes. Raises HsdcError: E540 where manifest and record are not whole.
    """
    manifest, record, findings = documents(root, profile, run)
    if manifest is None or record is None or any(finding.state != "ok" for finding in findings):
        wrong = next(finding for finding in findings if finding.state != "ok")
        hint = f"hsdc run {run}" if wrong.state == "missing" else f"see hsdc verify {run}"
        raise fail("E540", Exit.NO, f"'{run}' cannot be signed: {wrong.name}: {wrong.note}", None, hint)
    path = signature_path(profile, run)
    payload = canonical(_statement(root, manifest, record))
    require_no_secrets(path, payload)
    signatures = {**_others(root / path, payload), key_id(key.public_key()): key.sign(encoded(PAYLOAD, payload))}
    write_atomically(root / path, _envelope(payload, signatures))
    Ledger(root).append("signed", run=run, profile=profile, record=record.digest, signer=key_id(key.public_key()))
    return path


def encoded(kind: str, payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding of DSSE, version 1."""
    return b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload)


def signature(root: Path, profile: str, run: str, trusted: Trusted) -> Finding:
    """Whether a key that is trusted has signed the manifest and the record of a run as they are now."""
    path = signature_path(profile, run)
    try:
        if (root / path).stat().st_size > LARGEST:
            raise ValueError
        payload, signatures = _opened((root / path).read_bytes())
    except FileNotFoundError:
        return _no("missing", path, "E541", f"nobody has signed it; hsdc sign {run} --key FILE")
    except (OSError, ValueError):
        return _no("damaged", path, "E542", "it is no envelope as hsdc writes it")
    known = [name for name in signatures if name in trusted]
    if not known:
        named = ", ".join(name[:12] for name in signatures)
        return _no("changed", path, "E543", f"no key that is trusted has signed it; signed by {named}")
    if not any(is_signed(trusted[name], signatures[name], encoded(PAYLOAD, payload)) for name in known):
        return _no("damaged", path, "E542", "what it holds is not what was signed")
    try:
        differs = list(_differing(root, profile, run, payload))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _no("damaged", path, "E542", "what was signed is no statement about a run")
    if differs:
        return _no("changed", path, "E544", f"after it was signed, {' and '.join(differs)} changed")
    return Finding("signature", path, "ok", f"signed by {', '.join(name[:12] for name in known)}")


def _no(state: Any, path: str, code: str, note: str) -> Finding:
    return Finding("signature", path, state, note, code)


def _differing(root: Path, profile: str, run: str, payload: bytes) -> Iterator[str]:
    """Which of the two files are others than those that a statement names; ValueError where it names others at all."""
    statement = json.loads(payload)
    named = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    paths = manifest_path(profile, run), record_path(profile, run)
    if (statement["_type"], statement["predicateType"]) != (STATEMENT, PREDICATE) or named.keys() != {*paths}:
        raise ValueError("another statement")
    for path in paths:
        if not (root / path).is_file() or _hex(digest_file(root / path)[0]) != named[path]:
            yield path


def _statement(root: Path, manifest: Manifest, record: Record) -> dict[str, Any]:
    """An in-toto statement with SLSA provenance, both version 1: manifest, inputs, and what the record says."""
    paths = manifest_path(manifest.profile, manifest.run), record_path(manifest.profile, manifest.run)
    packages = [{"name": name, "uri": f"pkg:pypi/{name}@{version}"} for name, version in manifest.packages.items()]
    made = [
        {"name": f"{stage.name}/{name}", "digest": {"sha256": _hex(item.object)}}
        for stage in record.stages
        for name, item in stage.outputs.items()
    ]
    definition = {
        "buildType": BUILD,
        "externalParameters": {"run": manifest.run, "profile": manifest.profile, "manifest": manifest.digest},
        "internalParameters": {"experiment": manifest.experiment_digest},
        "resolvedDependencies": [item for found in manifest.inputs for item in _dependencies(found)] + packages,
    }
    times = {"startedOn": _instant(record.started), "finishedOn": _instant(record.finished)}
    details = {
        "builder": {"id": BUILDER},
        "metadata": {"invocationId": record.digest, **times},
        "byproducts": made,
    }
    return {
        "_type": STATEMENT,
        "subject": [{"name": path, "digest": {"sha256": _hex(digest_file(root / path)[0])}} for path in paths],
        "predicateType": PREDICATE,
        "predicate": {"buildDefinition": definition, "runDetails": details},
    }


def _dependencies(item: Input) -> Iterator[dict[str, Any]]:
    """Every file of an input; one that has none, by the digest that the manifest has for it."""
    uri = f"{item.source}@{item.revision}" if item.revision else item.source
    if not item.files:
        yield {"name": item.name, "uri": uri, "digest": {"hsdc": _hex(item.digest)}}
    for file in item.files:
        yield {"name": f"{item.name}/{file.path}", "uri": uri, "digest": {"sha256": _hex(file.digest)}}


def _hex(digest: str) -> str:
    return digest.removeprefix(PREFIX)


def _instant(text: str) -> str:
    return text.replace("+00:00", "Z")


def _envelope(payload: bytes, signatures: dict[str, bytes]) -> bytes:
    listed = [{"keyid": name, "sig": b64encode(value).decode()} for name, value in sorted(signatures.items())]
    return canonical({"payload": b64encode(payload).decode(), "payloadType": PAYLOAD, "signatures": listed}) + b"\n"


def _opened(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The payload and the signatures by key of an envelope; ValueError for what is not as `_envelope` writes it."""
    try:
        value = json.loads(data)
        payload = b64decode(value["payload"], validate=True)
        signatures = {item["keyid"]: b64decode(item["sig"], validate=True) for item in value["signatures"]}
        if _envelope(payload, signatures) == data and signatures:
            return payload, signatures
    except (KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        pass
    raise ValueError("no envelope")


def _others(path: Path, payload: bytes) -> dict[str, bytes]:
    """Signatures that are there already, where they are over the same statement."""
    try:
        before, signatures = _opened(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return signatures if before == payload else {}
