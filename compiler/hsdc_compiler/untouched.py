"""The runs that are on both sides of a comparison what the last compilation of the working tree made of them.

What a run was made from is held against both sides by content: specs and components, the profile, the lock, and the
inputs as each side locks them. Whatever cannot be told for sure is compiled.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import msgspec

from hsdc_compiler import stamp
from hsdc_compiler.compilation import Compiled, reached
from hsdc_compiler.known import Known, read_known
from hsdc_compiler.project import spec_of
from hsdc_compiler.recompile import as_left
from hsdc_compiler.side_inputs import SideLocker
from hsdc_compiler.stamp import LOCAL, Seen
from hsdc_compiler.state import MANIFEST, State
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import GENERATED, manifest_path

_NONE = msgspec.Raw(b"null")


class _Experiment(msgspec.Struct):
    model: msgspec.Raw = _NONE


class _Inputs(msgspec.Struct):
    """What of a manifest says which inputs a run has, as its bytes say it."""

    inputs: msgspec.Raw
    experiment: _Experiment


def untouched(
    root: Path, profile: str, states: tuple[State, State], lockers: tuple[SideLocker, SideLocker]
) -> dict[str, Compiled]:
    """The runs that need no compiling, by name: all runs of a spec or none."""
    found = read_known(root, profile)
    if found is None or not all(map(_is_plain, states)):
        return {}
    last = _Last(root, profile, *found, states)
    if not last.stands():
        return {}
    inputs = last.inputs()
    for state, locker in zip(states, lockers, strict=True):
        inputs = last.there(inputs) if state.tree is None else last.locked(inputs, locker)
    return {name: as_left(root, profile, last.known, name) for name in last.whole(inputs)}


class _Last:
    """The last compilation, held against two states."""

    def __init__(self, root: Path, profile: str, known: Known, since: int, states: tuple[State, State]) -> None:
        self.root, self.profile, self.known, self.since, self.states = root, profile, known, since, states
        self.moved = {path for path, was in known.sources.items() if not self._is_everywhere(path, was)}

    def _is_everywhere(self, path: str, was: Seen) -> bool:
        one, other = (state.files.get(path) for state in self.states)
        if path == LOCAL[1]:  # in no commit; where the inputs of one come from is seen when they are locked
            disk = any(state.tree is None for state in self.states)
            return not disk or stamp.seen(str(self.root), path)[3] == was[3]
        return _digest(one) == was[3] and (one is other or one == other)

    def stands(self) -> bool:
        """Whether what all runs depend on is the same on both sides."""
        everywhere = set(self.known.everywhere)
        return everywhere <= self.known.sources.keys() and everywhere.isdisjoint(self.moved)

    def inputs(self) -> dict[str, bytes]:
        """The runs whose specs and components stand, and their inputs as their manifests, which stand too, say it."""
        found = {}
        for name, run in self.known.runs.items():
            if self.moved.isdisjoint(run.sources) and (said := self._said(name)) is not None:
                found[name] = said
        return found

    def _said(self, name: str) -> bytes | None:
        try:
            data, seen = stamp.read(f"{self.root}/{GENERATED}/{self.profile}/{name}{MANIFEST}")
            if seen[:3] != self.known.outputs.get(f"{name}{MANIFEST}") or seen[1] >= self.since:
                return None
            read = msgspec.json.decode(data, type=_Inputs)
        except (OSError, msgspec.MsgspecError, RecursionError):
            return None
        return bytes(read.inputs) + bytes(read.experiment.model)

    def there(self, inputs: dict[str, bytes]) -> dict[str, bytes]:
        """Those of the runs whose inputs are on disk, and have not changed."""
        stand = [all(map(self._input_stands, paths)) for paths in self.known.lists]
        return {name: said for name, said in inputs.items() if stand[self.known.runs[name].inputs]}

    def _input_stands(self, path: str) -> bool:
        try:
            return stamp.inputs_stand({path: self.known.inputs[path]}, self.since)
        except (OSError, KeyError):
            return False

    def locked(self, inputs: dict[str, bytes], locker: SideLocker) -> dict[str, bytes]:
        """Those of the runs that a commit has the same inputs for; runs that say the same of theirs are alike."""
        same: dict[bytes, bool] = {}
        for name, said in inputs.items():
            if said not in same:
                path = manifest_path(self.profile, name)
                try:
                    same[said] = locker.comes_to(load_sealed(self.root / path, path, Manifest))
                except HsdcError:
                    same[said] = False
        return {name: said for name, said in inputs.items() if same[said]}

    def whole(self, names: dict[str, bytes]) -> list[str]:
        """The runs that stand on none that does not, and are all of their specs."""
        runs = self.known.runs
        above = defaultdict(list)
        for name, run in runs.items():
            for other in (*run.runs, *run.makers):
                above[other].append(name)
        first = [name for name in (*runs, *above) if name not in names]
        first += [maker for run in runs.values() for maker in run.makers]  # whoever takes rows asks them
        moved = reached(first, above)
        specs = {spec_of(name) for name in runs if name in moved}
        return [name for name in runs if name not in moved and spec_of(name) not in specs]


def _is_plain(state: State) -> bool:
    """Whether nothing is amiss that only a compilation of all would come across."""
    return not state.faults and not state.linked and all(path.isprintable() for path in state.files)


def _digest(data: bytes | None) -> str:
    """As a stamp has it of a file."""
    return hashlib.sha256(data).hexdigest() if data is not None else ""
