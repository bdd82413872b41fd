"""Two states of a campaign, each compiled from where it is: the working tree, or the objects of a commit.

The specs of a commit are read into memory and compiled as if they were on disk; what both states have in common is
compiled once. An input that is not in git is never looked for on this machine: its digest is the word of a manifest
that names the same source.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hsdc_compiler.cache import InputCache
from hsdc_compiler.compilation import Compiled, reached
from hsdc_compiler.git import LINK, MODULE, Blobs, Entry, Repository, Tree
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import LOCK, SPECS, spec_of
from hsdc_compiler.side_inputs import OTHER, OWN, SideLocker, TreeCache, Words
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail
from hsdc_schemas.manifest import Manifest, unsealed
from hsdc_schemas.places import GENERATED
from hsdc_schemas.record import Record

MOST_SPEC = (1 << 20) + 1  # one more than a spec may have, so that the parser says so
MOST_MANIFEST = 16 << 20
MOST_FILES = 20_000
MOST_TOGETHER = 256 << 20  # bytes of specs and records


@dataclass(frozen=True)
class Standing:
    """A finished record: where it is, its digest, and the manifest that it stands on."""

    path: str
    digest: str
    manifest: str


@dataclass(frozen=True)
class Side:
    """One state of a campaign in one profile. `runs` are those that compile, `named` the spec files of all."""

    shown: str
    commit: str
    runs: Mapping[str, Compiled]
    named: frozenset[str]
    diagnostics: tuple[Diagnostic, ...]
    files: Mapping[str, bytes]
    manifests: Mapping[str, Manifest]  # of runs that differ
    records: Mapping[str, Standing]
    unread: Mapping[str, str]

    @property
    def faults(self) -> tuple[Diagnostic, ...]:
        """The errors among the diagnostics."""
        return tuple(item for item in self.diagnostics if item.severity == "error")


def read_sides(root: Path, old: str, new: str | None, profile: str, *, apart: bool = False) -> tuple[Side, Side]:
    """The old and the new side; `new` None is the working tree. With `apart`, old is where the two commits parted.

    Raises HsdcError where git has no such commit; what is wrong with specs is told in each side's diagnostics.
    """
    repository = Repository(root)
    commits = [repository.commit(name) for name in (old, new or "HEAD")]
    if apart:
        commits[0] = repository.merge_base(*commits)
    with ExitStack() as stack:
        after = _from_git(stack, repository, commits[1], new, profile) if new else _on_disk(root, profile)
        before = _from_git(stack, repository, commits[0], f"{old}, at the merge base" if apart else old, profile, after)
        sides = Sides(root, profile, before, after)
        return sides.compiled()


@dataclass(frozen=True)
class _State:
    """A state before it is compiled: where it is from, its specs and lock by path, and what else it holds by name."""

    root: Path
    shown: str
    named: frozenset[str]
    files: Mapping[str, bytes]
    objects: Mapping[str, str]  # git's names of these files
    manifests: Manifests
    records: Mapping[str, Standing]
    commit: str = ""
    tree: Tree | None = None
    blobs: Blobs | None = None
    faults: tuple[Diagnostic, ...] = ()


class Manifests(Mapping[str, Manifest]):
    """The intact manifests of a state, each read when it is asked for."""

    def __init__(self, names: Iterable[str], read: Callable[[str], bytes]) -> None:
        self.names, self.read = sorted(names), read
        self.known: dict[str, Manifest | None] = {}

    def __getitem__(self, name: str) -> Manifest:
        if name not in self.known:
            try:
                self.known[name] = unsealed(self.read(name), name, Manifest) if name in self.names else None
            except (HsdcError, OSError):
                self.known[name] = None
        if (found := self.known[name]) is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def read_records(root: Path, profile: str) -> dict[str, Standing]:
    """The intact records of a folder, by run."""
    paths = sorted((root / GENERATED / profile).glob("*.record.json"))
    return _standing(profile, {path.name.removesuffix(".record.json"): path.read_bytes for path in paths})


def _standing(profile: str, files: Mapping[str, Callable[[], bytes]]) -> dict[str, Standing]:
    found = {}
    for name, read in files.items():
        try:
            record = unsealed(read(), name, Record)
        except (HsdcError, OSError):
            continue
        found[name] = Standing(f"{GENERATED}/{profile}/{name}.record.json", record.digest, record.manifest)
    return found


def _on_disk(root: Path, profile: str) -> _State:
    files = _files(root)
    folder = root / GENERATED / profile
    names = [path.name.removesuffix(".lock.json") for path in folder.glob("*.lock.json")]
    manifests = Manifests(names, lambda name: (folder / f"{name}.lock.json").read_bytes())
    objects = {path: blob_name(data) for path, data in files.items()}
    named = _named(f"{SPECS}/{path.name}" for path in (root / SPECS).iterdir())
    return _State(root, "the working tree", named, files, objects, manifests, read_records(root, profile))


def _named(paths: Iterable[str]) -> frozenset[str]:
    """The names of the runs' specs among some paths."""
    return frozenset(Path(path).stem for path in paths if path.count("/") == 1 and path.endswith(".yaml"))


def blob_name(data: bytes) -> str:
    """What git calls a file of these bytes, in a repository that names objects by SHA-1."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def _from_git(
    stack: ExitStack, repository: Repository, commit: str, name: str | None, profile: str, other: _State | None = None
) -> _State:
    shown = f"{name} ({commit[:12]})"
    tree = Tree(repository, commit, shown)
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hsdc-diff-")))
    (root / SPECS).mkdir()
    blobs = stack.enter_context(Blobs(tree))
    specs = tree.entries(SPECS)
    tree.find(LOCK)
    wanted = {path: entry for path, entry in specs.items() if path.endswith(".yaml")}
    wanted |= {path: entry for path, entry in tree.entries(LOCK.partition("/")[0]).items() if path == LOCK}
    kept: dict[str, dict[str, Entry]] = {".lock.json": {}, ".record.json": {}}
    for path, entry in tree.entries(GENERATED).items():
        folder, _, file = path.rpartition("/")
        for suffix, entries in kept.items():
            if folder == f"{GENERATED}/{profile}" and file.endswith(suffix) and entry.mode not in (LINK, MODULE):
                entries[file.removesuffix(suffix)] = entry
    if (count := len(wanted) + sum(map(len, kept.values()))) > MOST_FILES:
        raise fail("E456", Exit.ENVIRONMENT, f"{tree.shown} has {count:,} specs and manifests")
    links = [path for path, entry in specs.items() if entry.mode in (LINK, MODULE)]
    message = f"a link in {tree.shown}; it is not followed"
    faults = [Diagnostic("E455", Exit.SPEC, message, Place(path, 1), "commit the file itself") for path in links]
    wanted = {path: entry for path, entry in sorted(wanted.items()) if path not in links}
    files = _texts(blobs, wanted, other)
    manifests = Manifests(
        kept[".lock.json"], lambda name: blobs.read(kept[".lock.json"][name], f"{name}.lock.json", MOST_MANIFEST)
    )
    reading = {n: partial(blobs.read, e, f"{n}.record.json", MOST_MANIFEST) for n, e in kept[".record.json"].items()}
    objects = {path: entry.oid for path, entry in wanted.items()}
    records = _standing(profile, reading)
    return _State(root, shown, _named(specs), files, objects, manifests, records, commit, tree, blobs, tuple(faults))


def _texts(blobs: Blobs, wanted: Mapping[str, Entry], other: _State | None) -> dict[str, bytes]:
    """Files of a commit; those that another state has as well are taken from there."""
    files: dict[str, bytes] = {}
    together = 0
    for path, entry in wanted.items():
        shared = other is not None and other.objects.get(path) == entry.oid
        files[path] = (
            other.files[path] if other is not None and shared else blobs.read(entry, path, MOST_SPEC, cut=True)
        )
        together += len(files[path])
        if together > MOST_TOGETHER:
            message = f"the specs of {blobs.tree.shown} have more than {MOST_TOGETHER >> 20} MiB"
            raise fail("E456", Exit.ENVIRONMENT, message)
    return files


class Sides:
    """Compiles two states, the later one whole, of the earlier one what differs."""

    def __init__(self, root: Path, profile: str, before: _State, after: _State) -> None:
        self.root, self.profile, self.before, self.after = root, profile, before, after

    def compiled(self) -> tuple[Side, Side]:
        """Both sides, with those of their manifests whose runs differ."""
        before, after = self.before.manifests, self.after.manifests
        new = self._compile(self.after, ((after.values, OWN), (before.values, OTHER)), {})
        others = (lambda: (run.manifest for run in new.runs.values()), OTHER), (after.values, OTHER)
        old = self._compile(self.before, ((before.values, OWN), *others), new.runs, new.diagnostics)
        digests = [{name: run.digest for name, run in side.runs.items()} for side in (old, new)]
        differ = {name for name in {**digests[0], **digests[1]} if digests[0].get(name) != digests[1].get(name)}
        found = [{name: side.manifests[name] for name in differ if name in side.manifests} for side in (old, new)]
        return replace(old, manifests=found[0]), replace(new, manifests=found[1])

    def _compile(
        self, state: _State, words: Words, others: Mapping[str, Compiled], said: Iterable[Diagnostic] = ()
    ) -> Side:
        """One side; `others` are runs of the other side, about which it has `said` something."""
        cache = InputCache(state.root) if state.tree is None else TreeCache(self.root)
        locker = SideLocker(state.root, cache, state.tree, state.blobs, words)
        diagnostics, runs = state.faults, dict[str, Compiled]()
        if state.named and not state.faults:
            try:
                settled = self._settled(others, locker, said) if others else {}
                found = compile_project(
                    state.root,
                    profile=self.profile,
                    check_only=True,
                    locker=locker,
                    partial=True,
                    overlay=state.files if state.tree is not None else None,
                    settled=settled,
                )
                diagnostics = found.diagnostics
                made = {run.name: run for run in found.runs}
                made |= {name: others[name] for names in settled.values() for name in names}
                runs = _sound(made, diagnostics, self.profile)
                for run in found.runs:
                    for name in run.not_read if run.name in runs else ():
                        locker.unread[f"{name} {run.manifest.input(name).source}"] = OWN
            except HsdcError as error:
                diagnostics = error.diagnostics
        texts = {path: data for path, data in state.files.items() if path.count("/") < 3}
        return Side(
            state.shown,
            state.commit,
            runs,
            state.named,
            diagnostics,
            texts,
            state.manifests,
            state.records,
            locker.unread,
        )

    def _settled(
        self, runs: Mapping[str, Compiled], locker: SideLocker, said: Iterable[Diagnostic]
    ) -> dict[str, tuple[str, ...]]:
        """The specs that both states have in common with all that they are made from, and their runs."""
        before, after = self.before.objects, self.after.objects
        apart = {path for path in {**before, **after} if before.get(path) != after.get(path)}
        apart |= {item.place.path if item.place else LOCK for item in said}
        if apart & {LOCK, f"{SPECS}/profiles/{self.profile}.yaml"}:
            return {}
        inputs: dict[tuple[int, ...], bool] = {}

        def same(run: Compiled) -> bool:
            if run.made.makers or not apart.isdisjoint(run.made.sources):
                return False
            key = tuple(map(id, run.manifest.inputs))
            if key not in inputs:
                found = locker.lock(run.manifest.experiment)
                inputs[key] = not found.faults and found.inputs == run.manifest.inputs
            return inputs[key]

        above = defaultdict(list)
        for name, run in runs.items():
            for other in run.made.runs:
                above[other].append(name)
        first = [name for name, run in runs.items() if not same(run)] + [name for name in above if name not in runs]
        first += [maker for run in runs.values() for maker in run.made.makers]  # whoever takes rows asks them
        moved = reached(first, above)
        specs = defaultdict(list)
        for name in runs:
            specs[spec_of(name)].append(name)
        return {spec: tuple(names) for spec, names in specs.items() if moved.isdisjoint(names)}


def _sound(runs: dict[str, Compiled], diagnostics: Iterable[Diagnostic], profile: str) -> dict[str, Compiled]:
    """The runs that no faulty file of a spec or of the profile has a part in."""
    faults = [item for item in diagnostics if item.exit is Exit.SPEC and item.severity == "error"]
    faulty = {item.place.path for item in faults if item.place}
    if f"{SPECS}/profiles/{profile}.yaml" in faulty:
        return {}
    kept = {}
    for name, run in runs.items():
        lineage, current = {name}, run.parent
        while current is not None and current not in lineage:
            lineage.add(current)
            current = runs[current].parent if current in runs else None
        if not faulty & {spec_path(item) for item in lineage}:
            kept[name] = run
    return kept


def spec_path(run: str) -> str:
    """The file that declares a run; those of a matrix share one."""
    return f"{SPECS}/{run.partition('.')[0]}.yaml"


def _files(root: Path) -> dict[str, bytes]:
    """The text of the specs and of the lock, by path; what is no regular file of its own is left out."""
    paths = [*root.glob(f"{SPECS}/*.yaml"), *root.glob(f"{SPECS}/*/*.yaml"), root / LOCK]
    found = {}
    for path in sorted(paths):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                found[path.relative_to(root).as_posix()] = file.read(MOST_SPEC)
    return found
