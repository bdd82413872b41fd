"""A state of a campaign before it is compiled: what the working tree or a commit holds of specs and of what was made.

The text of the specs is read into memory; manifests and records are read when they are asked for.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hsdc_compiler.git import LINK, MODULE, Blobs, Entry, Repository, Tree
from hsdc_compiler.project import LOCK, SPECS, SUFFIX
from hsdc_compiler.stamp import MOST, read
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail
from hsdc_schemas.manifest import Manifest, unsealed
from hsdc_schemas.places import GENERATED, record_path
from hsdc_schemas.record import Record
from hsdc_schemas.spec import SLOTS

MOST_SPEC = MOST + 1  # one more than a spec may have, so that the parser says so
MOST_MANIFEST = 16 << 20
MOST_FILES = 20_000
MOST_TOGETHER = 256 << 20  # bytes of specs
KINDS = {LINK: "link", MODULE: "submodule"}
FOLDERS = {SPECS, f"{SPECS}/profiles", *(f"{SPECS}/{folder}" for folder, *_ in SLOTS.values())}
MANIFEST, RECORD = ".lock.json", ".record.json"

_T = TypeVar("_T")


@dataclass(frozen=True)
class Standing:
    """A finished record: where it is, its digest, and the manifest that it stands on."""

    path: str
    digest: str
    manifest: str


class Kept(Mapping[str, _T]):
    """What a state holds by the names of runs, each read when it is asked for; what is not intact is not there."""

    def __init__(self, names: Iterable[str], read: Callable[[str], _T]) -> None:
        self.names, self.read = sorted(names), read
        self.known: dict[str, _T | None] = dict.fromkeys(self.names)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> _T:
        if name in self.known and name not in self.asked:
            self.asked.add(name)
            try:
                self.known[name] = self.read(name)
            except (HsdcError, OSError):
                self.known[name] = None
        if (found := self.known.get(name)) is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class State:
    """A state before it is compiled: where it is from, its specs and lock by path, and what else it holds by name.

    `linked`: a link stands for a folder of specs.
    """

    root: Path
    shown: str
    named: frozenset[str]
    files: Mapping[str, bytes]
    objects: Mapping[str, str]  # git's names of these files
    manifests: Kept[Manifest]
    records: Kept[Standing]
    commit: str = ""
    tree: Tree | None = None
    blobs: Blobs | None = None
    faults: tuple[Diagnostic, ...] = ()
    linked: bool = False


def on_disk(root: Path, profile: str) -> State:
    """The working tree."""
    folder = root / GENERATED / profile
    names = [path.name.removesuffix(MANIFEST) for path in folder.glob(f"*{MANIFEST}")]
    manifests = Kept(names, lambda name: unsealed((folder / f"{name}{MANIFEST}").read_bytes(), name, Manifest))
    files, named, linked = _files(root)
    objects = {path: blob_name(data) for path, data in files.items()}
    records = read_records(root, profile)
    return State(root, "the working tree", named, files, objects, manifests, records, linked=linked)


def read_records(root: Path, profile: str) -> Kept[Standing]:
    """The intact records of a folder, by run."""
    folder = root / GENERATED / profile
    names = [path.name.removesuffix(RECORD) for path in folder.glob(f"*{RECORD}")]
    return Kept(names, lambda name: _standing(profile, name, (folder / f"{name}{RECORD}").read_bytes()))


def _standing(profile: str, name: str, data: bytes) -> Standing:
    record = unsealed(data, name, Record)
    return Standing(record_path(profile, name), record.digest, record.manifest)


def _files(root: Path) -> tuple[dict[str, bytes], frozenset[str], bool]:
    """The text of the specs and of the lock, by path; the names of runs' specs; whether a link stands for a folder.

    What is no regular file of its own has no text.
    """
    found, named, linked, folders = dict[str, bytes](), set[str](), False, [SPECS]
    for folder in folders:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                    found[path] = read(entry.path)[0]
                elif folder == SPECS and entry.is_dir():
                    folders.append(path)
                    linked = linked or entry.is_symlink()
                if folder == SPECS and entry.name.endswith(SUFFIX):
                    named.add(entry.name.removesuffix(SUFFIX))
    if (root / LOCK).is_file() and not (root / LOCK).is_symlink():
        found[LOCK] = read(str(root / LOCK))[0]
    return dict(sorted(found.items())), frozenset(named), linked


def blob_name(data: bytes) -> str:
    """What git calls a file of these bytes, in a repository that names objects by SHA-1."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def from_git(
    stack: ExitStack, repository: Repository, commit: str, name: str | None, profile: str, other: State | None
) -> State:
    """A commit. Files that another state has as well are taken from there. E456 where it has more than `MOST_FILES`."""
    shown = f"{name} ({commit[:12]})"
    tree = Tree(repository, commit, shown, (SPECS, LOCK.partition("/")[0], GENERATED))
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hsdc-diff-")))
    (root / SPECS).mkdir()
    blobs = stack.enter_context(Blobs(tree))
    specs = tree.entries(SPECS)
    wanted = {path: entry for path, entry in specs.items() if path.endswith(SUFFIX)}
    wanted |= {LOCK: lock} if (lock := tree.find(LOCK)) is not None else {}
    names = {suffix: _made(tree, profile, suffix) for suffix in (MANIFEST, RECORD)}
    if (count := len(wanted) + sum(map(len, names.values()))) > MOST_FILES:
        raise fail("E456", Exit.ENVIRONMENT, f"{tree.shown} has {count:,} specs and manifests")
    links = {path: entry for path, entry in specs.items() if entry.mode in KINDS and _counts(path)}
    faults = [_linked(path, KINDS[entry.mode], tree.shown) for path, entry in links.items()]
    wanted = {path: entry for path, entry in sorted(wanted.items()) if path not in links}
    files = _texts(blobs, wanted, other)

    def manifest(run: str) -> Manifest:
        return unsealed(blobs.read(names[MANIFEST][run], f"{run}{MANIFEST}", MOST_MANIFEST), run, Manifest)

    def record(run: str) -> Standing:
        return _standing(profile, run, blobs.read(names[RECORD][run], f"{run}{RECORD}", MOST_MANIFEST))

    objects = {path: entry.oid for path, entry in wanted.items()}
    named = frozenset(Path(path).stem for path in specs if path.count("/") == 1 and path.endswith(SUFFIX))
    kept = Kept(names[MANIFEST], manifest), Kept(names[RECORD], record)
    return State(root, shown, named, files, objects, *kept, commit, tree, blobs, tuple(faults))


def _counts(path: str) -> bool:
    """Whether hsdc reads what is at a path of a tree: a spec, or a folder of them."""
    return path.endswith(SUFFIX) or path in FOLDERS


def _linked(path: str, what: str, shown: str) -> Diagnostic:
    message = f"a {what} in {shown}; it is not followed"
    return Diagnostic("E455", Exit.SPEC, message, Place(path, 1), "commit the file itself")


def _made(tree: Tree, profile: str, suffix: str) -> dict[str, Entry]:
    """What was made in a profile, by the names of runs."""
    found, start = {}, f"{GENERATED}/{profile}/"
    for path, entry in tree.entries(GENERATED).items():
        name = path.removeprefix(start)
        if name != path and name.endswith(suffix) and "/" not in name and entry.mode not in (LINK, MODULE):
            found[name.removesuffix(suffix)] = entry
    return found


def _texts(blobs: Blobs, wanted: Mapping[str, Entry], other: State | None) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    together = 0
    for path, entry in wanted.items():
        if other is not None and other.objects.get(path) == entry.oid:
            files[path] = other.files[path]
        else:
            files[path] = blobs.read(entry, path, MOST_SPEC, cut=True)
        together += len(files[path])
        if together > MOST_TOGETHER:
            message = f"the specs of {blobs.tree.shown} have more than {MOST_TOGETHER >> 20} MiB"
            raise fail("E456", Exit.ENVIRONMENT, message)
    return files
