"""Where the values of a resolved run come from: every layer that set one, oldest first, the winner last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path as FilePath
from typing import Any

from hsdc_compiler.compilation import Resolution
from hsdc_compiler.node import Mark, Node, Path, Source, dotted
from hsdc_compiler.parse import parse
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import SPECS, Project
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.fields import Model, factor_mark
from hsdc_schemas.spec import SLOTS, Execution

DEFAULT = "default"
LAID_OVER = ("merge", "use")  # changes over what is inherited, and a component over the one that it extends
DROPPED = "dropped"  # the remark of a layer that put another section in place of the one that held the value


@dataclass(frozen=True)
class Layer:
    """One setting of a value: the operation, where it is written (no file: the schema), the value, and a remark."""

    op: str
    value: Any
    file: str = ""
    line: int = 0
    note: str = ""

    @property
    def place(self) -> str:
        """Where it is written."""
        return f"{self.file}:{self.line}" if self.file else "the schema's default"


@dataclass(frozen=True)
class Origins:
    """A run in a profile before its inputs are locked: the values, and the layers of each."""

    name: str
    profile: str
    title: str
    resolution: Resolution
    binding: Node

    @cached_property
    def values(self) -> dict[str, Any]:
        """The experiment in the schema's order, then how it is executed; prose only where it is written."""
        document = self.binding.at(("execution",))
        execution = Execution.model_validate(document.plain() if document is not None else {})
        return {**_values(self.resolution.experiment), "execution": _values(execution)}

    @cached_property
    def leaves(self) -> dict[Path, Any]:
        """Every leaf with its value."""
        return dict(_leaves(self.values, ()))

    def layers(self, path: Path) -> list[Layer]:
        """Every layer that set the value of a leaf, the winner last."""
        if path[0] == "execution":
            found = list(_history(self.binding, path))
        elif path[0] in SLOTS and (use := self._slot(path[0])):
            found = [*self._in_slot(path), *use]
        else:
            found = list(_history(self.resolution.tree, path))
        if not found or found[0].op in ("unset", "use", "bind") or found[0].note == DROPPED:
            found.insert(0, Layer(DEFAULT, self.leaves[path]))
        return found[::-1]

    def origin(self, path: Path) -> Layer:
        """The layer that won."""
        return self.layers(path)[-1]

    def _slot(self, slot: str) -> list[Layer]:
        """Which component fills a slot, newest first: the profile's binding, then what the specs name."""
        used = [
            Layer("use", layer.value, layer.file, layer.line)
            for layer in _history(self.resolution.written, (slot, "use"))
        ]
        bound = self.binding.at(("bind", slot, str(used[0].value))) if used else None
        if bound is not None:
            note = f"in place of {used[0].value}"
            used.insert(0, Layer("bind", bound.value, bound.mark.source.path, bound.mark.line, note))
        return used

    def _in_slot(self, path: Path) -> list[Layer]:
        """The component's own layers, below what runs set beside `use`; newest first."""
        found = list(_history(self.resolution.tree, path))
        known = {(layer.file, layer.line) for layer in found}
        beside = [layer for layer in _history(self.resolution.written, path) if (layer.file, layer.line) not in known]
        if beside and (beside[0].op == "unset" or beside[0].note == DROPPED):
            return found + beside
        folder = f"{SPECS}/{SLOTS[path[0]][0]}/"
        own = next((i for i, layer in enumerate(found) if layer.file.startswith(folder)), len(found))
        return found[:own] + beside + found[own:]


def resolve(root: FilePath, name: str, profile: str) -> Origins:
    """A run, resolved without reading any input; its faults are raised."""
    compilation = compile_project(root, [name], profile=profile, check_only=True, lock=False)
    if name not in compilation.resolved:
        faults = [fault for fault in compilation.diagnostics if fault.severity == "error"]
        raise HsdcError(faults) if faults else fail("E004", Exit.SPEC, f"'{name}' is no single run", None, "hsdc ls")
    project = Project(root)
    return Origins(
        name,
        profile,
        title_of(project, name),
        compilation.resolved[name],
        project.profile(profile).node,
    )


def title_of(project: Project, name: str) -> str:
    """The title of a run; of a run of a matrix, its family's."""
    family = name if name in project.runs else name.split(".")[0]
    try:
        node = project.run(family).node.at(("title",)) if family in project.runs else None
    except HsdcError:
        return ""
    return node.value if node is not None and isinstance(node.value, str) else ""


def _values(value: Any) -> Any:
    if isinstance(value, Model):
        fields = ((name, field, getattr(value, name)) for name, field in type(value).model_fields.items())
        return {name: _values(item) for name, field, item in fields if item != "" or factor_mark(field) != "prose"}
    if isinstance(value, Mapping):
        return {key: _values(item) for key, item in value.items()}
    return [_values(item) for item in value] if isinstance(value, tuple) else value


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield path, value


def _history(node: Node, rest: Path) -> Iterator[Layer]:
    """The layers of the value at `rest` below a node, newest first; what was taken out says so."""
    if not rest:
        for layer in node.layers():
            yield from _own(layer)
        return
    child = node.value.get(rest[0]) if node.is_mapping else None
    if node.op == "ref":
        yield _reference(node, rest)
    if child is not None:
        yield from _history(child, rest[1:])
    under = node.under
    if under is None:
        return
    before = under.value.get(rest[0]) if under.is_mapping else None
    if child is not None and before is not None and node.op in LAID_OVER:
        return  # the child itself remembers what it replaced
    older = list(_history(under, rest))
    if older and child is None and older[0].op != "unset" and older[0].note != DROPPED:
        yield _dropped(node, rest)
    yield from older


def _own(node: Node) -> Iterator[Layer]:
    """The layer of one node; of a reference, its line and that of the value that it names."""
    value, source = node.plain(), node.mark.source.path
    if node.op != "ref":
        yield Layer(node.op, value, source, node.mark.line)
        return
    reference = _reference(node, ())
    yield reference
    yield Layer("set", value, source, node.mark.line, reference.value["$ref"])


def _reference(node: Node, rest: Path) -> Layer:
    written = _as_written(node.key.source, node.key, None)
    target = written.value.get("$ref") if written is not None and written.is_mapping else None
    text = str(target.value) if target is not None else "…"
    note = f"its {dotted(rest)}" if rest else ""
    return Layer("ref", {"$ref": text}, node.key.source.path, node.key.line, note)


def _dropped(node: Node, rest: Path) -> Layer:
    """The layer that took a value out: `$unset`, or the section that was put in place of the one that held it."""
    if node.op not in LAID_OVER:
        return Layer(node.op, None, node.mark.source.path, node.mark.line, DROPPED)
    written = _as_written(node.mark.source, node.key, node.mark)
    while written is not None and written.is_mapping and rest and "$unset" not in written.value:
        written, rest = written.value.get(rest[0]), rest[1:]
    mark = written.mark if written is not None else node.mark
    return Layer("unset", None, mark.source.path, mark.line)


@lru_cache(maxsize=4096)
def _places(source: Source) -> dict[tuple[int, int], list[Node]]:
    """The nodes of a file as it is written, by the place of their keys."""
    found: dict[tuple[int, int], list[Node]] = {}
    waiting = [parse(source.path, source.text.encode())]
    while waiting:
        node = waiting.pop()
        found.setdefault((node.key.line, node.key.column), []).append(node)
        waiting += node.value.values() if node.is_mapping else node.value if node.is_sequence else ()
    return found


def _as_written(source: Source, key: Mark, value: Mark | None) -> Node | None:
    """The node with this key (and this place), before it was merged or resolved; a slot's key is in another file."""
    places = _places(source)
    nodes: Iterable[Node] = places.get((key.line, key.column), [])
    if key.source.path != source.path:
        nodes = (node for found in places.values() for node in found)
    there = (value.line, value.column) if value is not None else None
    return next((node for node in nodes if there in (None, (node.mark.line, node.mark.column))), None)
