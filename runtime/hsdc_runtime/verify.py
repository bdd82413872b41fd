"""What exists, hashed again: nothing is executed, nothing is set aside, nothing is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from hsdc_runtime.inputs import verify_inputs
from hsdc_runtime.ledger import LEDGER, read_only
from hsdc_runtime.store import STORE, Damaged, Store
from hsdc_runtime.tensor_files import first_that_differs, tensors_in
from hsdc_schemas.digests import PREFIX, canonical, digest_bytes, digest_file, digest_json, short
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import GENERATED, manifest_path, record_path
from hsdc_schemas.record import Artifact, Record, StageRecord

State = Literal["ok", "missing", "damaged", "changed"]
ABSENT = {"E403", "E406", "E407", "E409", "E411"}  # what says that an input is not on this machine

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_M = TypeVar("_M", Manifest, Record)


@dataclass(frozen=True)
class Finding:
    """What was looked at, and how it is; `note` says more, and `code` has a page where it has to be there."""

    kind: str
    name: str
    state: State
    note: str = ""
    code: str = ""

    @property
    def contradicts(self) -> bool:
        """Whether it is something else than what is written of it; what is absent contradicts nothing by itself."""
        return self.state in ("damaged", "changed") or bool(self.code)


def verify_run(root: Path, profile: str, run: str) -> tuple[Finding, ...]:
    """The manifest and record of a run, the objects that the record names, the inputs as locked, the ledger."""
    manifest, record, both = documents(root, profile, run)
    found = [*both]
    if record is not None:
        found += _objects(Store(root), record)
    if manifest is not None:
        found += _inputs(root, manifest)
    return (*found, _ledger(root, record))


def documents(root: Path, profile: str, run: str) -> tuple[Manifest | None, Record | None, tuple[Finding, Finding]]:
    """The manifest and the record of a run, None where one cannot be read, and how both are."""
    manifest, plan = _sealed(root, manifest_path(profile, run), Manifest)
    record, happened = _sealed(root, record_path(profile, run), Record)
    if record is not None:
        happened = _belongs(happened, manifest, record, (profile, run))
    return manifest, record, (plan, happened)


def verify_store(root: Path) -> tuple[Finding, ...]:
    """Every object and action of the store, every manifest and record that is generated, and the ledger."""
    store = Store(root)
    found = [_named_by_its_bytes(path) for path in sorted(store.objects.glob("*/*"))]
    found += [_action(store, path) for path in sorted(store.actions.glob("*.json"))]
    generated = root / GENERATED
    for path in sorted(generated.rglob("*.lock.json")):
        found.append(_sealed(root, path.relative_to(root).as_posix(), Manifest)[1])
    for path in sorted(generated.rglob("*.record.json")):
        found.append(_sealed(root, path.relative_to(root).as_posix(), Record)[1])
    return (*found, _ledger(root, None))


def _sealed(root: Path, shown: str, model: type[_M]) -> tuple[_M | None, Finding]:
    kind = model.__name__.lower()
    try:
        loaded = load_sealed(root / shown, shown, model)
    except HsdcError as error:
        fault = error.diagnostics[0]
        if fault.code == "E501":
            return None, Finding(kind, shown, "missing", "there is none")
        return None, Finding(kind, shown, "damaged", fault.message.removeprefix(f"{shown} "))
    except OSError as error:
        return None, Finding(kind, shown, "damaged", _unreadable(error))
    return loaded, Finding(kind, shown, "ok", short(loaded.digest))


def _unreadable(error: OSError) -> str:
    return f"it cannot be read: {error.strerror}"


def _belongs(found: Finding, manifest: Manifest | None, record: Record, place: tuple[str, str]) -> Finding:
    """A record against its place and its manifest, and its scores against the object that it says they are in."""
    reason = ""
    if (record.profile, record.run) != place:
        reason = f"it is the record of {record.run} in profile {record.profile}"
    elif manifest is not None and record.manifest != manifest.digest:
        reason = f"it belongs to manifest {short(record.manifest)}, not to {short(manifest.digest)}"
    elif manifest is not None and _keys(record.stages) != {stage.name: stage.key for stage in manifest.stages}:
        reason = "its stages have other keys than the manifest's"
    else:
        scores = next((stage.outputs.get("scores") for stage in record.stages if stage.name == "score"), None)
        if scores is not None and scores.object != digest_bytes(canonical(record.scores) + b"\n"):
            reason = "its scores are not those of the object that it names"
    return Finding(found.kind, found.name, "changed", reason) if reason else found


def _keys(stages: tuple[StageRecord, ...]) -> Mapping[str, str]:
    return {stage.name: stage.key for stage in stages}


def _objects(store: Store, record: Record) -> Iterator[Finding]:
    for stage in record.stages:
        for name, artifact in stage.outputs.items():
            state, note = _object(store, artifact, stage.outputs.get("tensors"))
            yield Finding("object", f"{stage.name}/{name}", state, note)


def _object(store: Store, artifact: Artifact, listed: Artifact | None) -> tuple[State, str]:
    """An object against its name, its size, and the digest of its content where that is not the file's own."""
    if not _DIGEST.fullmatch(artifact.object):
        return "changed", "the record names no digest"
    path = store.path(artifact.object)
    try:
        digest, size = digest_file(path)
        if digest != artifact.object:
            return "damaged", f"its bytes have changed: {short(artifact.object)} → {short(digest)}"
        if size != artifact.bytes:
            return "changed", f"it has {size} bytes, and the record says {artifact.bytes}"
        if artifact.digest == artifact.object:
            return "ok", short(digest)
        return _content(store, path, artifact, listed)
    except FileNotFoundError:
        return "missing", f"{short(artifact.object)} is not in the store"
    except OSError as error:
        return "damaged", _unreadable(error)


def _content(store: Store, path: Path, artifact: Artifact, listed: Artifact | None) -> tuple[State, str]:
    """Tensors against the recorded root, and against the list of them that training wrote beside."""
    try:
        tensors = tensors_in(path)
    except ValueError:
        return "changed", "the record gives it another digest than its bytes have"
    try:
        written = json.loads(store.look(listed.object).read_bytes()) if listed is not None else tensors
        differs = first_that_differs(written, tensors)
    except (Damaged, ValueError, TypeError, KeyError):
        written, differs = None, None
    if differs is not None:
        return "changed", f"tensor {differs} is not the one that was listed"
    root = digest_json(tensors)
    if root != artifact.digest:
        return "changed", f"its tensors are {short(root)}, and the record says {short(artifact.digest)}"
    return "ok", f"{short(artifact.object)}, {len(tensors)} tensors as recorded ({short(root)})"


def _inputs(root: Path, manifest: Manifest) -> Iterator[Finding]:
    for item in manifest.inputs:
        try:
            verify_inputs(manifest.model_copy(update={"inputs": (item,)}), root)
        except HsdcError as error:
            state: State = "missing" if {fault.code for fault in error.diagnostics} <= ABSENT else "changed"
            yield Finding("input", item.name, state, "; ".join(fault.message for fault in error.diagnostics))
        except OSError as error:
            yield Finding("input", item.name, "missing", _unreadable(error))
        else:
            yield Finding("input", item.name, "ok", f"{item.source} is as locked")


def _ledger(root: Path, record: Record | None) -> Finding:
    """The chain. A last line that was left half is no damage: a killed writer leaves one, and the next cuts it off."""
    try:
        entries, half = read_only(root)
    except FileNotFoundError:
        return Finding("ledger", LEDGER, "missing", "nothing was run here")
    except HsdcError as error:
        return Finding("ledger", LEDGER, "damaged", error.diagnostics[0].message)
    except OSError as error:
        return Finding("ledger", LEDGER, "damaged", _unreadable(error))
    note = f"{len(entries)} lines, each after the one before it"
    if half:
        note += f"; a last line of {half} bytes was left half by a writer that was stopped"
    if record is not None:
        # A run that was killed between its record and this line is only noted when it is checked.
        noted = ("run finished", "run checked")
        lines = [
            number
            for number, entry in enumerate(entries, 1)
            if entry.get("event") in noted and entry.get("record") == record.digest
        ]
        note += f"; line {lines[0]} notes this record" if lines else "; this record was not written here"
    return Finding("ledger", LEDGER, "ok", note)


def _named_by_its_bytes(path: Path) -> Finding:
    name = f"{path.parent.name}{path.name}"
    try:
        digest, size = digest_file(path)
    except OSError as error:
        return Finding("object", name[:12], "damaged", _unreadable(error))
    if digest.removeprefix(PREFIX) != name:
        where = f"{STORE}/objects/{path.parent.name}/{path.name}"
        return Finding("object", name[:12], "damaged", f"its bytes are {short(digest)}: {where}")
    return Finding("object", name[:12], "ok", f"{size} bytes")


def _action(store: Store, path: Path) -> Finding:
    action = store.action(f"{PREFIX}{path.stem}")
    if action is None:
        return Finding("action", path.stem[:12], "damaged", f"it is not as it was sealed: {STORE}/actions/{path.name}")
    gone = [name for name, artifact in action.outputs.items() if not store.path(artifact.object).is_file()]
    if gone:
        return Finding("action", path.stem[:12], "missing", f"{action.stage}: {', '.join(gone)} not in the store")
    return Finding("action", path.stem[:12], "ok", action.stage)
