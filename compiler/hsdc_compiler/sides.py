"""Two states of a campaign, each compiled from where it is: the working tree, or the objects of a commit.

What of a commit is needed is written to a temporary folder and compiled there like any project. An input that is not
in git is never looked for on this machine: its digest is the word of a manifest that names the same source.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from hsdc_compiler.cache import InputCache
from hsdc_compiler.compilation import Compiled
from hsdc_compiler.git import FAULTS as GIT_FAULTS
from hsdc_compiler.git import LINK, MODULE, Blobs, Entry, Repository, Tree, is_plain
from hsdc_compiler.lock import Locker, Reading
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import LOCK, SPECS
from hsdc_schemas.components import Endpoint, PretrainedModel
from hsdc_schemas.digests import digest_file, digest_json
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail
from hsdc_schemas.making import Source
from hsdc_schemas.manifest import Input, InputFile, Manifest, load_sealed
from hsdc_schemas.model_files import PATTERNS
from hsdc_schemas.places import GENERATED
from hsdc_schemas.record import Record
from hsdc_schemas.sources import parse_source

OWN, OTHER, UNKNOWN = "the manifest's word", "the other side's word", "unknown"  # whose word an input is
MOST_SPEC = (1 << 20) + 1  # one more than a spec may have, so that the parser says so
MOST_MANIFEST = 16 << 20
MOST_INPUT = 2 << 30
MOST_FILES = 20_000
MOST_TOGETHER = 256 << 20  # bytes of specs and manifests


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
    manifests: Mapping[str, Manifest]
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
        ready = [_from_git(stack, repository, commits[0], f"{old}, at the merge base" if apart else old, profile)]
        disk = _Ready(root, "the working tree")
        ready.append(_from_git(stack, repository, commits[1], new, profile) if new else disk)
        committed = [item.manifests(profile) for item in ready]
        after = _compiled(ready[1], root, profile, committed[1], committed[0].values())
        others = [*(run.manifest for run in after.runs.values()), *committed[1].values()]
        before = _compiled(ready[0], root, profile, committed[0], others)
    return before, after


@dataclass(frozen=True)
class _Ready:
    """A folder that can be compiled, and where it is from."""

    root: Path
    shown: str
    commit: str = ""
    tree: Tree | None = None
    blobs: Blobs | None = None
    faults: tuple[Diagnostic, ...] = ()

    def manifests(self, profile: str) -> dict[str, Manifest]:
        """The intact manifests in it, by run."""
        found = {}
        for path in sorted((self.root / GENERATED / profile).glob("*.lock.json")):
            try:
                found[path.name.removesuffix(".lock.json")] = load_sealed(path, path.name, Manifest)
            except (HsdcError, OSError):
                continue
        return found


def read_records(root: Path, profile: str) -> dict[str, Standing]:
    """The intact records of a folder, by run."""
    found = {}
    for path in sorted((root / GENERATED / profile).glob("*.record.json")):
        try:
            record = load_sealed(path, path.name, Record)
        except (HsdcError, OSError):
            continue
        shown = f"{GENERATED}/{profile}/{path.name}"
        found[path.name.removesuffix(".record.json")] = Standing(shown, record.digest, record.manifest)
    return found


def _from_git(stack: ExitStack, repository: Repository, commit: str, name: str | None, profile: str) -> _Ready:
    shown = f"{name} ({commit[:12]})"
    tree = Tree(repository, commit, shown)
    root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hsdc-diff-")))
    (root / SPECS).mkdir()
    blobs = stack.enter_context(Blobs(tree))
    faults: list[Diagnostic] = []
    try:
        _bring_text(tree, blobs, root, profile)
    except HsdcError as error:
        if error.exit is not Exit.SPEC:
            raise
        faults += error.diagnostics
    return _Ready(root, shown, commit, tree, blobs, tuple(faults))


def _bring_text(tree: Tree, blobs: Blobs, root: Path, profile: str) -> None:
    """Write the specs, the lock, and the manifests and records of a profile; a link among the specs is an error."""
    specs = tree.entries(SPECS)
    wanted = {path: entry for path, entry in specs.items() if path.endswith(".yaml")}
    tree.find(LOCK)
    wanted |= {path: entry for path, entry in tree.entries(LOCK.partition("/")[0]).items() if path == LOCK}
    folder = f"{GENERATED}/{profile}/"
    for path, entry in tree.entries(GENERATED).items():
        direct = path.startswith(folder) and "/" not in path.removeprefix(folder)
        if direct and path.endswith((".lock.json", ".record.json")) and entry.mode not in (LINK, MODULE):
            wanted[path] = entry
    if len(wanted) > MOST_FILES:
        raise fail("E456", Exit.ENVIRONMENT, f"{tree.shown} has {len(wanted):,} specs and manifests")
    links = [path for path, entry in specs.items() if entry.mode in (LINK, MODULE)]
    together = 0
    for path, entry in sorted(wanted.items()):
        if path not in links:
            most = MOST_SPEC if path.startswith(f"{SPECS}/") else MOST_MANIFEST
            together += min(blobs.copy(entry, root / path, most, cut=True), most)
        if together > MOST_TOGETHER:
            raise fail("E456", Exit.ENVIRONMENT, f"the specs of {tree.shown} have more than {MOST_TOGETHER >> 20} MiB")
    if links:
        message = f"a link in {tree.shown}; it is not followed"
        raise HsdcError(
            Diagnostic("E455", Exit.SPEC, message, Place(path, 1), "commit the file itself") for path in links
        )


def _compiled(ready: _Ready, root: Path, profile: str, own: Mapping[str, Manifest], others: Iterable[Manifest]) -> Side:
    cache = InputCache(ready.root) if ready.tree is None else _TreeCache(root)
    locker = _SideLocker(ready, cache, tuple(own.values()), tuple(others))
    paths = (
        ready.tree.entries(SPECS) if ready.tree else {f"{SPECS}/{p.name}": p for p in (ready.root / SPECS).iterdir()}
    )
    runs_at = (PurePosixPath(path) for path in paths if path.count("/") == 1 and path.endswith(".yaml"))
    named = frozenset(path.stem for path in runs_at)
    diagnostics, runs = ready.faults, {}
    if named and not ready.faults:
        try:
            found = compile_project(ready.root, profile=profile, check_only=True, locker=locker, partial=True)
            diagnostics = found.diagnostics
            runs = _sound({run.name: run for run in found.runs}, diagnostics, profile)
            for run in runs.values():
                sources = [run.manifest.input(name).source for name in run.not_read]
                locker.unread |= {f"{pair[0]} {pair[1]}": OWN for pair in zip(run.not_read, sources, strict=True)}
        except HsdcError as error:
            diagnostics = error.diagnostics
    files = _files(ready.root)
    records = read_records(ready.root, profile)
    return Side(ready.shown, ready.commit, runs, named, diagnostics, files, own, records, locker.unread)


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


class _TreeCache(InputCache):
    """What the project knows of rows by digest; files from git are always hashed, and nothing is written down."""

    def known(self, path: Path) -> tuple[str, int] | None:
        return digest_file(path)

    def save(self) -> None:
        return


class _SideLocker(Locker):
    """Reads inputs of the working tree where they are and those of a commit from git; takes a manifest's word else.

    `unread` says, per input name and source, whose word it is.
    """

    def __init__(
        self, ready: _Ready, cache: InputCache, own: tuple[Manifest, ...], others: tuple[Manifest, ...]
    ) -> None:
        super().__init__(ready.root, cache, None)
        self.ready, self.own, self.others = ready, own, others
        self.unread: dict[str, str] = {}

    def _split(self, reading: Reading, split: str, source: str) -> Input:
        try:
            self._bring(source)
            return super()._split(reading, split, source)
        except HsdcError as error:
            if error.exit is not Exit.ENVIRONMENT or error.diagnostics[0].code in GIT_FAULTS:
                raise
            return self._word(f"dataset.{split}", source, "", "")

    def _source(self, name: str, source: Source) -> Input:
        try:
            self._bring(source.source)
            return super()._source(name, source)
        except HsdcError as error:
            if error.exit is not Exit.ENVIRONMENT or error.diagnostics[0].code in GIT_FAULTS:
                raise
            return self._word(f"source.{name}", source.source, source.revision, "")

    def _subset(self, reading: Reading, name: str) -> Input:
        try:
            self._bring(reading.dataset.splits[reading.dataset.subsets[name].split])
            return super()._subset(reading, name)
        except HsdcError as error:
            if error.exit is not Exit.ENVIRONMENT or error.diagnostics[0].code in GIT_FAULTS:
                raise
            return self._word(f"subset.{name}", f"dataset.{reading.dataset.subsets[name].split}", "", "")

    def _model(self, model: PretrainedModel | Endpoint) -> Input:
        if isinstance(model, Endpoint):
            return super()._model(model)
        try:
            self._bring(model.source, (model.gguf,) if model.gguf else PATTERNS)
            return super()._model(model)
        except HsdcError as error:
            if error.exit is not Exit.ENVIRONMENT or error.diagnostics[0].code in GIT_FAULTS:
                raise
            return self._word("model", model.source, model.revision, model.folder)

    def _bring(self, source: str, patterns: tuple[str, ...] = ()) -> None:
        """Write a file of the commit, or those of a folder that match, to where they are looked for."""
        tree, blobs = self.ready.tree, self.ready.blobs
        if tree is None or blobs is None:
            return
        try:
            parsed = parse_source(source)
        except ValueError:
            return
        if parsed.kind != "file":
            raise fail("E403", Exit.ENVIRONMENT, f"'{source}' is not in git")
        path = PurePosixPath(parsed.path).as_posix()
        if not is_plain(path):
            return
        found = tree.find(path)
        wanted: dict[str, Entry | None] = {} if patterns else {path: found}
        if patterns and found is None:
            for name in tree.entries(path.partition("/")[0]):
                inside = name.removeprefix(f"{path}/")
                if inside != name and any(fnmatchcase(inside, pattern) for pattern in patterns) and "/" not in inside:
                    wanted[name] = tree.find(name)
        for name, entry in wanted.items():
            if entry is not None and not (self.root / name).exists():
                blobs.copy(entry, self.root / name, MOST_INPUT)

    def _word(self, name: str, source: str, revision: str, folder: str) -> Input:
        """An input by the word of a manifest that names the same source, of this side or of the other."""
        for manifests, whose in ((self.own, OWN), (self.others, OTHER)):
            for manifest in manifests:
                for item in manifest.inputs:
                    model = manifest.experiment.model
                    same_folder = name != "model" or (isinstance(model, PretrainedModel) and model.folder == folder)
                    if (item.name, item.source, item.revision) == (name, source, revision) and same_folder:
                        self.unread[f"{name} {source}"] = whose
                        return item
        self.unread[f"{name} {source}"] = UNKNOWN
        digest = digest_json(["not read", source, revision, folder])
        files = (InputFile(path="config.json", digest=digest, bytes=0),)
        return Input(name=name, source=source, revision=revision, digest=digest, files=files)
