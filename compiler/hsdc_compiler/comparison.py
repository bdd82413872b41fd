"""Two sides, run by run: every value that differs, where it is written, and why it differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from hsdc_compiler.compilation import Compiled
from hsdc_compiler.node import Node, Path, dotted
from hsdc_compiler.parse import parse
from hsdc_compiler.project import LOCK, SPECS
from hsdc_compiler.side_inputs import UNKNOWN
from hsdc_compiler.sides import Side, spec_path
from hsdc_compiler.state import Standing
from hsdc_schemas.factors import ABSENT, changed_leaves, essence
from hsdc_schemas.manifest import Input, Manifest
from hsdc_schemas.places import manifest_path
from hsdc_schemas.spec import SLOTS


@dataclass(frozen=True)
class Cause:
    """Why a value differs: `own`, `inherited`, `component`, `profile`, `bytes`, `packages` or `schema`; and whose."""

    kind: str
    name: str = ""


@dataclass(frozen=True)
class Change:
    """One difference of a run; a place is `file:line`, empty where the schema's default stands."""

    kind: str
    path: str
    before: Any
    after: Any
    before_place: str
    after_place: str
    cause: Cause


@dataclass(frozen=True)
class Budget:
    """Factors that differ from the parent, of those that the run allows itself, before and after."""

    before: str
    after: str
    before_place: str
    after_place: str


@dataclass(frozen=True)
class RunDiff:
    """What happens to one run. `status` is changed, renamed, added or removed; `void` is its record that is lost."""

    run: str
    status: str
    was: str
    parent: str | None
    changes: tuple[Change, ...]
    budget: Budget | None
    again: tuple[str, ...]
    reused: tuple[str, ...]
    void: Standing | None

    @property
    def inherited_from(self) -> str:
        """The one run that all changes are inherited from; empty where there is something else."""
        causes = {change.cause for change in self.changes}
        only = next(iter(causes)) if len(causes) == 1 else Cause("")
        return only.name if self.status == "changed" and only.kind == "inherited" else ""


class _Stage(msgspec.Struct):
    key: str


class _Stages(msgspec.Struct):
    stages: tuple[_Stage, ...]


class Comparison:
    """Compares runs that are on both sides; `pairs` maps a run of the new side to what it is on the old one."""

    def __init__(self, old: Side, new: Side, profile: str, pairs: Mapping[str, str]) -> None:
        self.old, self.new, self.profile, self.pairs = old, new, profile, pairs
        self._leaves: dict[str, dict[Path, tuple[Any, Any]]] = {}
        self._trees: dict[tuple[str, str], Node | None] = {}

    def same(self, name: str) -> bool:
        """Whether nothing at all happens to a run that is on both sides."""
        old, new = self.old.runs[self.pairs[name]], self.new.runs[name]
        return self.pairs[name] == name and old.digest == new.digest and _counted(old) == _counted(new)

    def leaves(self, name: str) -> Mapping[Path, tuple[Any, Any]]:
        """The values of a run that differ, before and after."""
        if name not in self._leaves:
            old, new = self.old.runs[self.pairs[name]], self.new.runs[name]
            if old.experiment_digest == new.experiment_digest:
                self._leaves[name] = {}
            else:
                found = changed_leaves(essence(old.manifest.experiment), essence(new.manifest.experiment))
                self._leaves[name] = {path: (before, after) for path, before, after in found}
        return self._leaves[name]

    def run(self, name: str) -> RunDiff:
        """A run that is on both sides."""
        was = self.pairs[name]
        before, after = self.old.runs[was].manifest, self.new.runs[name].manifest
        changes = (*self._values(name), *self._header(name), *self._around(before, after))
        keys = {stage.name: stage.key for stage in before.stages}
        again = tuple(stage.name for stage in after.stages if keys.get(stage.name) != stage.key)
        reused = tuple(stage.name for stage in after.stages if stage.name not in again)
        status = "changed" if was == name else "renamed"
        return RunDiff(name, status, was, after.extends, changes, self._budget(was, name), again, reused, None)

    def added(self, name: str) -> RunDiff:
        """A new run, by what it changes of its parent."""
        run = self.new.runs[name]
        parent = self.new.runs.get(run.parent or "")
        changes = []
        if parent is not None:
            values = changed_leaves(essence(parent.manifest.experiment), essence(run.manifest.experiment))
            for path, before, after in values:
                place = _place(parent.tree, path), _place(run.tree, path)
                changes.append(Change("value", dotted(path), before, after, *place, Cause("own", name)))
        again = tuple(stage.name for stage in run.manifest.stages if stage.key not in self._keys)
        reused = tuple(stage.name for stage in run.manifest.stages if stage.key in self._keys)
        budget = self._budget("", name)
        return RunDiff(name, "added", "", run.parent, tuple(changes), budget, again, reused, None)

    @cached_property
    def _keys(self) -> frozenset[str]:
        """The keys of all stages on the old side, from the bytes of its manifests: nothing else is wanted of them."""
        texts = (run.texts[manifest_path(self.profile, name)] for name, run in self.old.runs.items())
        read = (msgspec.json.decode(bytes(text), type=_Stages) for text in texts)
        return frozenset(stage.key for found in read for stage in found.stages)

    def removed(self, name: str) -> RunDiff:
        """A run that is gone."""
        return RunDiff(name, "removed", name, self.old.runs[name].parent, (), None, (), (), None)

    def _values(self, name: str) -> Iterator[Change]:
        old, new = self.old.runs[self.pairs[name]], self.new.runs[name]
        for path, (before, after) in self.leaves(name).items():
            place = _place(old.tree, path), _place(new.tree, path)
            yield Change("value", dotted(path), before, after, *place, self._cause(name, path))
        known = {item.name: item for item in old.manifest.inputs}
        for item in (*new.manifest.inputs, *(i for i in old.manifest.inputs if not _has(new.manifest, i.name))):
            was, now = known.get(item.name), item if _has(new.manifest, item.name) else None
            if was is None or now is None or was.digest != now.digest:
                path = _declared(item)
                same = was is not None and now is not None and was.source == now.source
                same = same and (bool(item.files) or not self._changed(name, path))  # what has no files is its values
                cause = Cause("bytes", item.source) if same else self._cause(name, path)
                places = _place(old.tree, path), _place(new.tree, path)
                yield Change("input", item.name, _input(self.old, was), _input(self.new, now), *places, cause)

    def _header(self, name: str) -> Iterator[Change]:
        """The claim, the parent, and which component a slot names and gets."""
        was = self.pairs[name]
        before, after = self.old.runs[was].manifest, self.new.runs[name].manifest
        for path, one, other in changed_leaves(essence(before.reproduces), essence(after.reproduces)):
            whole = ("reproduces", *path)
            places = self._written(self.old, was, whole), self._written(self.new, name, whole)
            yield Change("claim", dotted(whole), one, other, *places, Cause("own", name))
        if before.extends != after.extends:
            places = self._written(self.old, was, ("extends",)), self._written(self.new, name, ("extends",))
            renamed = before.extends is not None and before.extends == self.pairs.get(after.extends or "")
            cause = Cause("inherited", after.extends or "") if renamed else Cause("own", name)
            yield Change("parent", "extends", before.extends, after.extends, *places, cause)
        for slot in sorted({*before.components, *after.components}):
            one, other = (_component(item, slot) for item in (before, after))
            if one != other:
                places = _place(self.old.runs[was].tree, (slot,)), _place(self.new.runs[name].tree, (slot,))
                yield Change("component", slot, one, other, *places, self._of_component(name, slot))

    def _around(self, before: Manifest, after: Manifest) -> Iterator[Change]:
        """What the profile and the lock of the environment decide."""
        path = f"{SPECS}/profiles/{self.profile}.yaml"
        trees = self._tree(self.old, path), self._tree(self.new, path)
        for leaf, one, other in changed_leaves(essence(before.execution), essence(after.execution)):
            first, last = (_place(tree, ("execution", *leaf)) if tree else "" for tree in trees)
            cause = Cause("profile", self.profile) if first or last else Cause("schema")
            yield Change("execution", dotted(leaf), one, other, first, last, cause)
        for name in sorted({*before.packages, *after.packages}):
            one, other = before.packages.get(name, ABSENT), after.packages.get(name, ABSENT)
            if one != other:
                first, last = (_pinned(side.files.get(LOCK, b""), name) for side in (self.old, self.new))
                yield Change("package", name, one, other, first, last, Cause("packages", LOCK))

    def _budget(self, was: str, name: str) -> Budget | None:
        sides = ((self.old, was), (self.new, name))
        texts = [_counted(side.runs.get(run)) for side, run in sides]
        if texts[0] == texts[1]:
            return None
        places = [self._written(side, run, ("budget",)) if run else "" for side, run in sides]
        return Budget(*texts, *places)

    def _cause(self, name: str, path: Path) -> Cause:
        """The nearest reason for a changed value: the run itself, else the oldest ancestor in which it changed too."""
        was = self.pairs[name]
        old, new = self.old.runs[was], self.new.runs[name]
        files = {_place(run.tree, path).rpartition(":")[0] for run in (old, new)} - {""}
        if files & {spec_path(was), spec_path(name)}:
            return Cause("own", name)
        if path[0] in SLOTS and all(file.startswith(f"{SPECS}/{SLOTS[path[0]][0]}/") for file in files):
            cause = self._of_component(name, path[0])
            bases = {file.rpartition("/")[2].removesuffix(".yaml") for file in files}  # it may extend another one
            return Cause("component", *bases) if cause.kind == "component" and len(bases) == 1 else cause
        return self._above(name, lambda parent: self._cause(parent, path) if self._changed(parent, path) else None)

    def _of_component(self, name: str, slot: str) -> Cause:
        before = self.old.runs[self.pairs[name]].manifest.components.get(slot)
        after = self.new.runs[name].manifest.components.get(slot)
        if before is not None and before == after:
            return Cause("component", before.used)
        if before is not None and after is not None and before.named == after.named:
            return Cause("profile", self.profile)

        def found(parent: str) -> Cause | None:
            sides = self.old.runs[self.pairs[parent]].manifest, self.new.runs[parent].manifest
            same = [item.components.get(slot) for item in sides] == [before, after]
            return self._of_component(parent, slot) if same else None

        return self._above(name, found)

    def _above(self, name: str, find: Callable[[str], Cause | None]) -> Cause:
        """The cause that the parent has, as what this run inherits; its own where it changed parents."""
        parent = self.new.runs[name].parent
        if parent is not None and self.pairs.get(parent) == self.old.runs[self.pairs[name]].parent:
            above = find(parent)
            if above is not None:
                return Cause("inherited", above.name) if above.kind == "own" else above
            return Cause("schema")
        compared = parent is None or parent in self.new.runs
        return Cause("own", name) if compared else Cause("inherited", parent or "")

    def _changed(self, name: str, path: Path) -> bool:
        return any(leaf[: len(path)] == path or path[: len(leaf)] == leaf for leaf in self.leaves(name))

    def _written(self, side: Side, run: str, path: Path) -> str:
        tree = self._tree(side, spec_path(run))
        return _place(tree, path) if tree else ""

    def _tree(self, side: Side, path: str) -> Node | None:
        """A spec as it is written; it compiled, so it can be parsed."""
        key = (side.shown, path)
        if key not in self._trees:
            self._trees[key] = parse(path, side.files[path]) if path in side.files else None
        return self._trees[key]


def _place(tree: Node, path: Path) -> str:
    node = tree.at(path)
    return f"{node.mark.source.path}:{node.mark.line}" if node is not None else ""


def _declared(item: Input) -> Path:
    """Where an input is named in an experiment."""
    kind, _, name = item.name.partition(".")
    sections = {"dataset": ("dataset", "splits"), "subset": ("dataset", "subsets"), "source": ("corpus", "sources")}
    return (*sections[kind], name) if kind in sections else (kind,)


def _has(manifest: Manifest, name: str) -> bool:
    return any(item.name == name for item in manifest.inputs)


def _input(side: Side, item: Input | None) -> Any:
    if item is None:
        return ABSENT
    if side.unread.get(f"{item.name} {item.source}") == UNKNOWN:  # its digest is made of its source, to tell it apart
        return {"source": item.source, "digest": None, "rows": None, "bytes": None}
    return {"source": item.source, "digest": item.digest, "rows": item.rows, "bytes": sum(f.bytes for f in item.files)}


def _component(manifest: Manifest, slot: str) -> Any:
    found = manifest.components.get(slot)
    return ABSENT if found is None else essence(found)


def _counted(run: Compiled | None) -> str:
    if run is None or run.parent is None:
        return ""
    return f"{len(run.factors)} of {run.budget if run.budget is not None else 0}"


def _pinned(lock: bytes, name: str) -> str:
    """Where the lock pins a package."""
    for number, line in enumerate(lock.decode(errors="replace").splitlines(), 1):
        if line.partition("==")[0].strip().lower().replace("_", "-") == name:
            return f"{LOCK}:{number}"
    return ""
