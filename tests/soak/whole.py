"""What must hold whenever a process was killed, looked at without the project's own readers of what it wrote."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GENERATED, STORE, LEDGER, HEAD = "generated/demo", ".hsdc/store", ".hsdc/ledger.jsonl", ".hsdc/ledger.head"


@dataclass(frozen=True)
class Expected:
    """What the uninterrupted project wrote: bytes of manifests with provenance, outputs of stages, scores, facts."""

    manifests: dict[str, bytes]
    outputs: dict[str, Any]
    scores: Any
    facts: dict[str, Any]


def expected(root: Path, run: str = "base") -> Expected:
    """Of a finished project."""
    record = _record(root, run)
    return Expected(manifests(root), _outputs(record), record["scores"], _facts(record))


def manifests(root: Path) -> dict[str, bytes]:
    """All that compiling wrote under a name, which a temporary file, its name beginning with a dot, has not."""
    return {
        path.name: path.read_bytes()
        for path in sorted((root / GENERATED).glob("[!.]*"))
        if not path.name.endswith(".record.json")
    }


def temporary(root: Path) -> list[Path]:
    """Temporary files that a kill left."""
    return [path for folder in ("generated", ".hsdc") for path in (root / folder).rglob(".*.part") if path.is_file()]


def at_any_time(root: Path, wanted: Expected) -> Iterator[str]:
    """Faults in what a kill left: each thing is whole or absent."""
    for name, data in manifests(root).items():
        if wanted.manifests.get(name) != data:
            yield f"{name} is neither absent nor that of the reference"
    yield from _objects(root)
    yield from _chain(root, torn_allowed=True)
    yield from held(root)


def once_finished(root: Path, wanted: Expected, run: str = "base") -> Iterator[str]:
    """Faults in a finished run: it must be, bit by bit, the uninterrupted one."""
    record = _record(root, run)
    if manifests(root) != wanted.manifests:
        yield "the manifests are not those of the reference"
    for stage, outputs in wanted.outputs.items():
        if _outputs(record).get(stage) != outputs:
            yield f"outputs of {stage} are not those of the reference"
        for digest, object_name, _ in outputs.values():
            if not _object(root, object_name).is_file():
                yield f"an output of {stage} is not in the store: {digest}"
    if record["scores"] != wanted.scores:
        yield "the scores are not those of the reference"
    if _facts(record) != wanted.facts:
        yield "what stages say of themselves is not what they said in the reference"
    if list(root.glob(f"{STORE}/checkpoints/*/*")):
        yield "checkpoints of a finished stage are left"
    yield from _objects(root)
    yield from _chain(root, torn_allowed=False)
    entries = [json.loads(line) for line in (root / LEDGER).read_bytes().splitlines()]
    told = [entry for entry in entries if entry["event"] in ("run finished", "run checked")]
    if not told or any(entry["record"] != record["digest"] for entry in told):
        yield "the ledger does not name the record"
    yield from held(root)


def _record(root: Path, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / GENERATED / f"{run}.record.json").read_bytes())
    return found


def chain(root: Path) -> Iterator[str]:
    """Faults in a ledger after an append: every line whole, each naming the one before it."""
    return _chain(root, torn_allowed=False)


def _outputs(record: dict[str, Any]) -> dict[str, Any]:
    return {
        stage["name"]: {
            name: (output["digest"], output["object"], output["bytes"]) for name, output in stage["outputs"].items()
        }
        for stage in record["stages"]
    }


def _facts(record: dict[str, Any]) -> dict[str, Any]:
    return {stage["name"]: _untimed(stage["facts"]) for stage in record["stages"]}


def _untimed(facts: Any) -> Any:
    """Facts without how long something took, or how fast it was."""
    if not isinstance(facts, dict):
        return facts
    timed = ("_per_second", "seconds")
    return {name: _untimed(value) for name, value in facts.items() if not name.endswith(timed)}


def _object(root: Path, digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return root / STORE / "objects" / name[:2] / name[2:]


def _objects(root: Path) -> Iterator[str]:
    """Every file below `objects` is named by its bytes, and every action names what is there."""
    objects = root / STORE / "objects"
    for path in objects.rglob("*"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != path.parent.name + path.name:
            yield f"{path.relative_to(root)} is no object, or a damaged one"
    for path in (root / STORE / "actions").glob("[!.]*"):
        try:
            outputs = json.loads(path.read_bytes())["outputs"]
        except ValueError:
            yield f"{path.relative_to(root)} is half written"
            continue
        if any(not _object(root, output["object"]).is_file() for output in outputs.values()):
            yield f"{path.relative_to(root)} names an object that is not there"


def _chain(root: Path, *, torn_allowed: bool) -> Iterator[str]:
    try:
        data = (root / LEDGER).read_bytes()
    except FileNotFoundError:
        return
    whole = data.rfind(b"\n") + 1
    if whole < len(data) and not torn_allowed:
        yield "the ledger ends with a torn line"
    previous = b""
    for number, line in enumerate(data[:whole].splitlines(), 1):
        try:
            names = json.loads(line)["previous"]
        except ValueError:
            yield f"line {number} of the ledger is no entry"
            return
        if names != f"sha256:{hashlib.sha256(previous).hexdigest()}":
            yield f"line {number} of the ledger does not follow the one before it"
            return
        previous = line
    yield from _head(root, data[:whole].splitlines())


def _head(root: Path, lines: list[bytes]) -> Iterator[str]:
    """The head names a line that is there, and at most the last one came after it."""
    try:
        head = json.loads((root / HEAD).read_bytes())
    except FileNotFoundError:
        head = {"lines": 0, "last": f"sha256:{hashlib.sha256().hexdigest()}"}
    named = hashlib.sha256(lines[head["lines"] - 1] if 0 < head["lines"] <= len(lines) else b"").hexdigest()
    if not len(lines) - 1 <= head["lines"] <= len(lines) or head["last"] != f"sha256:{named}":
        yield "the ledger's head does not name its end"


def held(root: Path) -> Iterator[str]:
    """Locks that somebody holds though nobody is left; the files themselves may stay."""
    for path in (root / ".hsdc").rglob("*.lock"):
        with path.open("r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"{path.relative_to(root)} is held by the dead"
