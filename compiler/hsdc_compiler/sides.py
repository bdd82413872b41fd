"""Two states of a campaign, each compiled from where it is: the working tree, or the objects of a commit.

The specs of a commit are read into memory and compiled as if they were on disk; what both states have in common is
compiled once, or not at all where it stands as the last compilation left it. An input that is not in git is never
looked for on this machine: its digest is the word of a manifest that names the same source.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from hsdc_compiler.cache import InputCache
from hsdc_compiler.compilation import Compilation, Compiled, reached
from hsdc_compiler.git import Repository
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import LOCK, SPECS, spec_of
from hsdc_compiler.side_inputs import OTHER, OWN, SideLocker, TreeCache, Words
from hsdc_compiler.state import Standing, State, from_git, on_disk
from hsdc_compiler.untouched import untouched
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.manifest import Manifest


@dataclass(frozen=True)
class Side:
    """One state of a campaign in one profile. `runs` are those that compile, `named` the spec files of all."""

    shown: str
    commit: str
    runs: Mapping[str, Compiled]
    named: frozenset[str]
    diagnostics: tuple[Diagnostic, ...]
    files: Mapping[str, bytes]
    manifests: Mapping[str, Manifest]  # of runs that differ, as are the records
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
    commits = [repository.commit(name) for name in ((old, new) if new else (old,))]
    if apart:
        commits[0] = repository.merge_base(*commits)
    with ExitStack() as stack:
        if new:
            after = from_git(stack, repository, commits[1], new, profile, _here(root, profile))
        else:
            after = on_disk(root, profile)
        shown = f"{old}, at the merge base" if apart else old
        before = from_git(stack, repository, commits[0], shown, profile, after)
        return Sides(root, profile, before, after).compiled()


def _here(root: Path, profile: str) -> State | None:
    """The working tree where two commits are compared: a shorter way to the texts that they have in common with it."""
    try:
        return on_disk(root, profile)
    except OSError:
        return None


class _Found(NamedTuple):
    """The sound runs of a side, and what its compilation had to say."""

    runs: Mapping[str, Compiled]
    diagnostics: tuple[Diagnostic, ...]


class Sides:
    """Compiles two states: of the later one what was not left as it is on both, of the earlier one what differs.

    Where a side has faults, which others of its files may have a part in, nothing is taken to be as it was left.
    """

    def __init__(self, root: Path, profile: str, before: State, after: State) -> None:
        self.root, self.profile, self.before, self.after = root, profile, before, after

    def compiled(self) -> tuple[Side, Side]:
        """Both sides, with those of their manifests and records whose runs differ."""
        lockers = self._lockers()
        left = untouched(self.root, self.profile, (self.before, self.after), lockers)
        made = self._compile(lockers, left)
        if left and any(item.severity == "error" for side in made for item in side.diagnostics):
            lockers = self._lockers()
            made = self._compile(lockers, {})
        digests = [{name: run.digest for name, run in side.runs.items()} for side in made]
        differ = {name for name in {**digests[0], **digests[1]} if digests[0].get(name) != digests[1].get(name)}
        sides = zip((self.before, self.after), lockers, made, strict=True)
        old, new = (_side(state, locker, found, differ) for state, locker, found in sides)
        return old, new

    def _lockers(self) -> tuple[SideLocker, SideLocker]:
        before, after = self.before.manifests.values, self.after.manifests.values
        words = ((before, OWN),), ((after, OWN), (before, OTHER))
        old, new = (self._locker(state, words) for state, words in zip((self.before, self.after), words, strict=True))
        return old, new

    def _locker(self, state: State, words: Words) -> SideLocker:
        cache = InputCache(state.root) if state.tree is None else TreeCache(self.root)
        return SideLocker(state.root, cache, state.tree, state.blobs, words)

    def _compile(self, lockers: tuple[SideLocker, SideLocker], left: Mapping[str, Compiled]) -> tuple[_Found, _Found]:
        """The runs of both sides; those that are `left` as they were need no compiling."""
        new = self._runs(self.after, lockers[1], _by_spec(left), left)
        before, after = self.before.manifests.values, self.after.manifests.values
        lockers[0].words = (before, OWN), (lambda: (run.manifest for run in new.runs.values()), OTHER), (after, OTHER)
        settled = _by_spec(left) | self._settled(new, left, lockers[0])
        return self._runs(self.before, lockers[0], settled, {**new.runs, **left}), new

    def _runs(
        self, state: State, locker: SideLocker, settled: Mapping[str, tuple[str, ...]], others: Mapping[str, Compiled]
    ) -> _Found:
        """The sound runs of one side; those of the specs that are settled are among `others`."""
        if not state.named or state.faults:
            return _Found({}, state.faults)
        overlay = state.files if state.tree is not None else None
        try:
            found = compile_project(
                state.root,
                profile=self.profile,
                check_only=True,
                locker=locker,
                partial=True,
                overlay=overlay,
                settled=settled,
            )
        except HsdcError as error:
            return _Found({}, error.diagnostics)
        made = {run.name: run for run in found.runs}
        made |= {name: _resolved(others[name], found) for names in settled.values() for name in names}
        runs = _sound(dict(sorted(made.items())), found.diagnostics, self.profile)
        for run in found.runs:
            for name in run.not_read if run.name in runs else ():
                locker.unread[f"{name} {run.manifest.input(name).source}"] = OWN
        return _Found(runs, found.diagnostics)

    def _settled(self, new: _Found, left: Mapping[str, Compiled], locker: SideLocker) -> dict[str, tuple[str, ...]]:
        """The specs that both states have in common with all that they are made from, and their runs."""
        before, after = self.before.objects, self.after.objects
        apart = {path for path in {**before, **after} if before.get(path) != after.get(path)}
        apart |= {item.place.path if item.place else LOCK for item in new.diagnostics}
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
        for name, run in new.runs.items():
            for other in run.made.runs:
                above[other].append(name)
        first = [name for name, run in new.runs.items() if name not in left and not same(run)]
        first += [name for name in above if name not in new.runs]
        first += [maker for run in new.runs.values() for maker in run.made.makers]  # whoever takes rows asks them
        moved = reached(first, above)
        return {spec: names for spec, names in _by_spec(new.runs).items() if moved.isdisjoint(names)}


def _by_spec(runs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names of runs by the specs that declare them."""
    specs = defaultdict(list)
    for name in runs:
        specs[spec_of(name)].append(name)
    return {spec: tuple(names) for spec, names in specs.items()}


def _resolved(run: Compiled, found: Compilation) -> Compiled:
    """A run that needed no compiling; where others stand on it, with its values as they were resolved for them."""
    known = found.resolved.get(run.name)
    if known is None:
        return run
    experiment = {"experiment": known.experiment}
    return msgspec.structs.replace(run, tree=known.tree, typed=lambda: run.typed().model_copy(update=experiment))


def _side(state: State, locker: SideLocker, found: _Found, differ: Iterable[str]) -> Side:
    texts = {path: data for path, data in state.files.items() if path.count("/") < 3}
    manifests = {name: state.manifests[name] for name in differ if name in state.manifests}
    records = {name: state.records[name] for name in differ if name in state.records}
    about = state.shown, state.commit, found.runs, state.named, found.diagnostics, texts
    return Side(*about, manifests, records, locker.unread)


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
