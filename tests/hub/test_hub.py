"""Models from a hub: what is fetched and locked, and what is said when it cannot be had. All of it on the loopback."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from hsdc_compiler.hub import wanted
from hsdc_schemas.model_files import model_files

from .bench import DECOYS, REVISION, TINY, Bench, tiny_bert
from .server import Faults, Hub

OTHER = "fedcba9876543210" * 2 + "fedcba98"
SECRET = "hf_secretSecretSecret"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return tiny_bert()


@pytest.fixture
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    with Hub({TINY: {REVISION: files}}) as served:
        yield served


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def sha256(files: Mapping[str, bytes]) -> dict[str, str]:
    kept = {name: data for name, data in files.items() if name not in DECOYS}
    return {name: f"sha256:{hashlib.sha256(data).hexdigest()}" for name, data in kept.items()}


def test_fetched_and_locked_then_offline(bench: Bench, hub: Hub, files: dict[str, bytes]) -> None:
    hub.faults.page = 3
    first = bench.compile(hub.endpoint, HF_TOKEN=SECRET)
    assert first.digests == sha256(files)
    assert first.printed == ""
    assert bench.cached() == set(sha256(files))
    assert not [seen for seen in hub.seen if any(name in seen.path for name in DECOYS)]
    tokens = {side: {seen.token for seen in hub.seen if seen.side == side} for side in ("hub", "store")}
    assert tokens == {"hub": {f"Bearer {SECRET}"}, "store": {None}}
    assert SECRET not in json.dumps(first.files)

    before = len(hub.seen)
    again = bench.compile(hub.endpoint)
    hub.stop()
    alone = bench.compile(hub.endpoint)
    assert len(hub.seen) == before
    assert first.files == again.files == alone.files
    assert alone.exit == 0


def test_config_comes_last(bench: Bench, hub: Hub) -> None:
    assert bench.compile(hub.endpoint).exit == 0
    asked = [seen.path.rpartition("/")[2] for seen in hub.seen if seen.method == "GET" and "/tree/" not in seen.path]
    assert asked[-1] == "config.json"
    assert len(asked) == 4


def test_other_bytes_have_other_digests(bench: Bench, files: dict[str, bytes]) -> None:
    flipped = bytearray(files["model.safetensors"])
    flipped[-1] ^= 1
    changed = {**files, "model.safetensors": bytes(flipped)}
    with Hub({TINY: {REVISION: changed}}) as hub:
        found = bench.compile(hub.endpoint).digests
    assert found == sha256(changed)
    assert {name for name, digest in sha256(files).items() if found[name] != digest} == {"model.safetensors"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_bytes_that_the_hub_does_not_list_are_not_kept(
    bench: Bench, hub: Hub, files: dict[str, bytes], name: str
) -> None:
    hub.faults.lies = {name: bytes([files[name][0] ^ 1]) + files[name][1:]}
    assert f"the bytes of '{name}'" in bench.compile(hub.endpoint).message
    assert name not in bench.cached()
    hub.faults = Faults()
    assert bench.compile(hub.endpoint).digests == sha256(files)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_then_a_healthy_hub(bench: Bench, hub: Hub, files: dict[str, bytes], ranges: bool) -> None:
    hub.faults = Faults(cut="model.safetensors", ranges=ranges)
    cut = bench.compile(hub.endpoint)
    assert "breaks off" in cut.message
    assert cut.seconds < 15
    assert "config.json" not in bench.cached()
    hub.faults = Faults()
    assert bench.compile(hub.endpoint).digests == sha256(files)


def test_a_killed_fetch_is_not_taken_for_a_model(bench: Bench, hub: Hub, files: dict[str, bytes]) -> None:
    hub.faults.stall = "vocab.txt"
    environment = bench.environment(hub.endpoint, HF_HUB_DOWNLOAD_TIMEOUT="60")
    with subprocess.Popen(bench.command(), env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not any(seen.method == "GET" and "vocab.txt" in seen.path for seen in hub.seen):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    assert bench.cached() == {"model.safetensors", "tokenizer_config.json"}
    assert "HF_HUB_OFFLINE" in bench.compile(hub.endpoint, HF_HUB_OFFLINE="1").message
    hub.faults = Faults()
    hub.seen.clear()
    assert bench.compile(hub.endpoint).digests == sha256(files)
    assert not [seen for seen in hub.seen if "model.safetensors" in seen.path]


def test_unknown_revision_and_repository(bench: Bench, hub: Hub) -> None:
    bench.model(TINY, OTHER)
    assert "no such revision" in bench.compile(hub.endpoint).message
    bench.model("acme/nothing")
    assert "no such repository" in bench.compile(hub.endpoint, HF_TOKEN=SECRET).message


def test_gated(bench: Bench, hub: Hub) -> None:
    hub.faults.gated = True
    found = bench.compile(hub.endpoint, HF_TOKEN=SECRET)
    assert "accepted its terms" in found.message
    assert "HF_TOKEN" in found.said[0]["hint"]
    assert SECRET not in json.dumps(found.said)


def test_nobody_there(bench: Bench, hub: Hub) -> None:
    hub.stop()
    found = bench.compile(hub.endpoint)
    assert "cannot be reached" in found.message
    assert found.seconds < 10
    assert "no address" in bench.compile("127.0.0.1").message


def test_offline_asks_nobody(bench: Bench, hub: Hub) -> None:
    assert "HF_HUB_OFFLINE" in bench.compile(hub.endpoint, HF_HUB_OFFLINE="1").message
    assert hub.seen == []


@pytest.mark.parametrize("stall", ["listing", "head", "model.safetensors"])
def test_a_hub_that_does_not_answer(bench: Bench, hub: Hub, stall: str) -> None:
    hub.faults.stall = stall
    found = bench.compile(hub.endpoint, **({"PATIENCE": "1"} if stall == "head" else {}))
    assert "does not answer" in found.message or "breaks off" in found.message
    assert found.seconds < 15


@pytest.mark.parametrize("where", ["status", "file_status"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_in_trouble(bench: Bench, hub: Hub, where: str, status: int) -> None:
    hub.faults = Faults(retry_after="300", **{where: status})
    found = bench.compile(hub.endpoint)
    assert f"status {status}" in found.message
    assert found.seconds < 10


def test_no_weights_and_no_hub(bench: Bench, files: dict[str, bytes]) -> None:
    with Hub({TINY: {REVISION: {name: data for name, data in files.items() if name != "model.safetensors"}}}) as hub:
        assert "no safetensors weights" in bench.compile(hub.endpoint).message
        assert bench.cached() == set()
        wrong = f"http://someone:{SECRET}@127.0.0.1:{hub.endpoint.rpartition(':')[2]}/acme/tiny/resolve/{REVISION}"
        found = bench.compile(wrong)
        assert found.exit == 4
        assert SECRET not in json.dumps(found.said) + found.printed


def test_what_is_fetched_is_what_is_locked(tmp_path: Path) -> None:
    names = ["model.safetensors", "model-00001-of-00002.safetensors", "generation_config.json", "config.json"]
    names += ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt"]
    names += ["vocab.json", "merges.txt", "spiece.model", "chat_template.jinja", "x.txt", "y.json", "CONFIG.JSON"]
    for name in (*names, *DECOYS):
        (tmp_path / name).write_bytes(b"{}")
    found = wanted([*names, *DECOYS, "onnx/config.json"])
    assert tuple(sorted(found)) == model_files(tmp_path)
    assert len(found) == 13
    assert found[-1] == "config.json"


DATA = "acme/posts"
RECORDS = b"".join(json.dumps({"id": f"r{n}", "text": f"text {n}"}).encode() + b"\n" for n in range(5))
MADE = """
hsdc: 1
run: made
kind: data
corpus:
  shapes:
    post: {fields: {id: {}, text: {}}, columns: {id: id, text: text}}
  sources:
    all: {source: "hf:acme/posts", revision: REVISION, files: FILE, format: jsonl, shapes: [post], split: train}
splits: {kind: source}
outputs: {rows: {kind: rows}}
"""


def test_a_file_of_a_data_set_is_fetched_when_compiling_and_read_without_network(bench: Bench) -> None:
    for path in (bench.root / "specs/first.yaml", bench.root / "specs/models/tiny.yaml"):
        path.unlink()

    def asks_for(file: str) -> None:
        (bench.root / "specs/made.yaml").write_text(MADE.replace("REVISION", REVISION).replace("FILE", file))

    asks_for("data/posts.jsonl")
    with Hub({DATA: {REVISION: {"data/posts.jsonl": RECORDS, "data/other.jsonl": b"{}"}}}) as hub:
        first = bench.compile(hub.endpoint)
        assert (first.exit, first.said) == (0, [])
        assert not [seen for seen in hub.seen if "other" in seen.path]
        asks_for("data/absent.jsonl")
        (fault,) = bench.compile(hub.endpoint).said
        assert (fault["code"], fault["message"].rpartition(": ")[2]) == ("E414", "it holds no 'data/absent.jsonl'")
        hub.faults.lies = {"data/other.jsonl": b"{ }"}
        asks_for("data/other.jsonl")
        (fault,) = bench.compile(hub.endpoint).said
        assert "are not those that" in fault["message"]
        endpoint = hub.endpoint
    asks_for("data/posts.jsonl")
    alone = bench.compile(endpoint)
    assert alone.files == first.files
    manifest = json.loads(first.files["generated/demo/made.lock.json"])
    (item,) = manifest["inputs"]
    digest = f"sha256:{hashlib.sha256(RECORDS).hexdigest()}"
    assert item["files"] == [{"bytes": len(RECORDS), "digest": digest, "path": "data/posts.jsonl"}]
    for name, text in first.files.items():
        (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.root / name).write_text(text)
    paths = os.pathsep.join(
        [*sys.path, *(str(Path(part).resolve()) for part in ("schemas", "compiler", "runtime", "."))]
    )
    environment = bench.environment(endpoint, PYTHONPATH=paths, HF_HUB_OFFLINE="1")
    command = [sys.executable, "-m", "hsdc", "run", "--frozen", "--allow-environment", "made"]
    done = subprocess.run(command, cwd=bench.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "  all     5     5" in done.stdout


@pytest.mark.parametrize(
    ("more", "code"),
    [("", "E408"), (f"revision: {REVISION}", "E401"), (f"revision: {REVISION}, files: ../x", "E402")],
)
def test_a_data_set_is_pinned_and_names_its_file(bench: Bench, more: str, code: str) -> None:
    for path in (bench.root / "specs/first.yaml", bench.root / "specs/models/tiny.yaml"):
        path.unlink()
    text = MADE.replace("revision: REVISION, files: FILE", more or "files: data/posts.jsonl").replace("FILE", "x")
    (bench.root / "specs/made.yaml").write_text(text)
    found = bench.compile("http://127.0.0.1:1")
    assert (found.exit, [fault["code"] for fault in found.said]) == (2, [code])
