"""What the store holds and nobody needs: no manifest's stages, and no record's outputs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hsdc_runtime.ledger import Ledger
from hsdc_runtime.leftovers import leftovers
from hsdc_runtime.locks import alone
from hsdc_runtime.rerun import AREA
from hsdc_runtime.store import Store
from hsdc_runtime.work import Busy
from hsdc_schemas.digests import PREFIX
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, fail
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import GENERATED
from hsdc_schemas.record import Record

_M = TypeVar("_M", Manifest, Record)


@dataclass(frozen=True)
class Surplus:
    """Something that nobody needs: what it is, its path below the root, its size, and what it was."""

    kind: str
    path: str
    bytes: int
    why: str


@dataclass(frozen=True)
class Needed:
    """What is kept: actions by their keys, objects by their digests, checkpoints by their folder's name.

    `done` are the folders of stages whose objects are all there; `anything` is whether somebody needs anything at all.
    """

    keys: frozenset[str]
    objects: frozenset[str]
    resumable: frozenset[str]
    done: frozenset[str]
    anything: bool


def surplus(root: Path) -> tuple[tuple[Surplus, ...], str]:
    """What could be removed, and who works on something now, which would forbid it; nothing is removed.

    Raises HsdcError where a manifest or record cannot be read, so that nobody knows what it needs.
    """
    if not Store(root).folder.is_dir():
        return tuple(_left(root)), ""
    try:
        with alone(root):
            return _surplus(root), ""
    except Busy as busy:
        return _surplus(root), str(busy)


def collect(root: Path) -> tuple[Surplus, ...]:
    """Remove what nobody needs, while nobody works; raises Busy where somebody does, and HsdcError as `surplus`."""
    if not Store(root).folder.is_dir():
        found = tuple(_left(root))
        for item in found:
            _remove(root / item.path)
        return found
    with alone(root):
        found = _surplus(root)
        if found:
            Ledger(root).entries()  # a broken one would not take the note of what is removed
        for item in found:  # actions come first: none ever names an object that is gone
            _remove(root / item.path)
        for folder in Store(root).objects.glob("*"):
            with suppress(OSError):  # most are not empty
                folder.rmdir()
        if found:
            Ledger(root).append("collected", entries=len(found), bytes=sum(item.bytes for item in found))
        return found


def _surplus(root: Path) -> tuple[Surplus, ...]:
    needed, store = _needed(root), Store(root)
    found = [*_actions(root, store, needed), *_objects(root, store, needed), *_checkpoints(root, store, needed)]
    rest = (
        ("work", store.folder / "work", "what a stage had begun to write"),
        ("quarantine", store.quarantine, "damaged; made anew where it is needed"),
        ("verification", root / AREA, "of a verification that was stopped"),
    )
    for kind, folder, why in rest:
        found += [_item(root, kind, path, why) for path in _inside(folder)]
    if found and not needed.anything:
        message = f"{GENERATED}/ holds no manifest and no record, so nothing says what of the store is needed"
        raise fail("E521", Exit.ENVIRONMENT, message, None, "hsdc compile, or take the records back from git")
    return (*found, *_left(root))


def _left(root: Path) -> Iterator[Surplus]:
    for path in leftovers(root):
        yield _item(root, "leftover", path, "half written by a process that was killed")


def _needed(root: Path) -> Needed:
    """What the manifests and records in the profiles' folders name; superseded records need nothing any more."""
    manifests = tuple(_all(root, "*/*.lock.json", Manifest))
    records = tuple(_all(root, "*/*.record.json", Record))
    planned = {stage.key for manifest in manifests for stage in manifest.stages}
    keys = planned | {stage.key for record in records for stage in record.stages}
    objects = {item.object for record in records for stage in record.stages for item in stage.outputs.values()}
    store = Store(root)
    actions = [action for key in keys if (action := store.action(key)) is not None]
    objects |= {item.object for action in actions for item in action.outputs.values()}
    done = (
        action.key for action in actions if all(store.path(item.object).is_file() for item in action.outputs.values())
    )
    return Needed(
        keys=frozenset(keys),
        objects=frozenset(objects),
        resumable=frozenset(map(_folder_name, planned)),
        done=frozenset(map(_folder_name, done)),
        anything=bool(manifests or records),
    )


def _all(root: Path, pattern: str, model: type[_M]) -> Iterator[_M]:
    faults: list[Diagnostic] = []
    for path in sorted((root / GENERATED).glob(pattern)):
        try:
            yield load_sealed(path, path.relative_to(root).as_posix(), model)
        except HsdcError as error:
            faults += error.diagnostics
    if faults:
        raise HsdcError(faults)


def _folder_name(key: str) -> str:
    return key.removeprefix(PREFIX)[:32]


def _actions(root: Path, store: Store, needed: Needed) -> Iterator[Surplus]:
    former = _superseded(root)
    for path in _inside(store.actions):
        if path.name.startswith("."):
            yield _item(root, "action", path, "half written by a process that was killed")
        elif (key := f"{PREFIX}{path.stem}") not in needed.keys:
            action = store.action(key)
            stage = action.stage if action is not None else "damaged"
            yield _item(root, "action", path, f"{stage}{former.get(key, '')}")


def _objects(root: Path, store: Store, needed: Needed) -> Iterator[Surplus]:
    former = _superseded(root)
    made = _made_by(store)
    for folder in _inside(store.objects):
        for path in _inside(folder) if folder.is_dir() else (folder,):
            digest = f"{PREFIX}{folder.name}{path.name}"
            if digest not in needed.objects:
                yield _item(root, "object", path, f"{made.get(digest, 'no action names it')}{former.get(digest, '')}")


def _made_by(store: Store) -> dict[str, str]:
    actions = (store.action(f"{PREFIX}{path.stem}") for path in _inside(store.actions))
    return {
        item.object: f"{action.stage}/{name}"
        for action in actions
        if action is not None
        for name, item in action.outputs.items()
    }


def _superseded(root: Path) -> dict[str, str]:
    """Of what superseded run a key or an object was."""
    found: dict[str, str] = {}
    for path in (root / GENERATED).glob("*/superseded/*.record.json"):
        with suppress(HsdcError):
            record = load_sealed(path, path.name, Record)
            for stage in record.stages:
                for name in (stage.key, *(item.object for item in stage.outputs.values())):
                    found[name] = f" of {record.run}, superseded in profile {record.profile}"
    return found


def _checkpoints(root: Path, store: Store, needed: Needed) -> Iterator[Surplus]:
    """Checkpoints of keys that no manifest has, or whose stage is done: nothing resumes from them."""
    for path in _inside(store.folder / "checkpoints"):
        name, _, run = path.name.partition(".")
        if name not in needed.resumable:
            yield _item(root, "checkpoint", path, "of a stage that no manifest has")
        elif name in needed.done and not run:
            yield _item(root, "checkpoint", path, "of a stage that is done")


def _inside(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _item(root: Path, kind: str, path: Path, why: str) -> Surplus:
    return Surplus(kind, path.relative_to(root).as_posix(), _size(path), why)


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed, what has gone meanwhile has none."""
    if path.is_dir() and not path.is_symlink():
        return sum(_size(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
