"""Pass 2: a run with a `matrix` becomes one run per combination, with names that stay when an axis grows.

matrix:
  axes: {training.seed: [13, 42], training.learning_rate: [2.0e-5, 3.0e-5]}
  zip: [[training.seed, training.learning_rate]]    # axes that advance together
  exclude: [{training.seed: 13}]                    # combinations that are left out
  replicate: [training.seed]                        # does not count as a change; results are pooled
  max_runs: 64
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from typing import NamedTuple, TypeAlias

from hsdc_compiler.merge import MAX_FAULTS, Report, merge
from hsdc_compiler.node import Mark, Node, kind_of
from hsdc_compiler.project import Document
from hsdc_schemas.errors import Diagnostic, Exit, did_you_mean
from hsdc_schemas.factors import is_free
from hsdc_schemas.manifest import Matrix

MAX_RUNS = 64
MAX_AXES = 16
MAX_EXCLUSIONS = 1000
LONGEST_NAME = 128
KEYS = ("axes", "zip", "exclude", "replicate", "max_runs")


class _Axis(NamedTuple):
    """A path that varies: where it is named, and its values."""

    path: str
    named: Mark
    values: tuple[Node, ...]

    @property
    def keys(self) -> list[str]:
        return self.path.split(".")


Axes: TypeAlias = Mapping[str, _Axis]
Step: TypeAlias = tuple[tuple[str, Node], ...]  # axes of one zipped group with their values at one position
Values: TypeAlias = frozenset[tuple[str, Hashable]]


def expand(document: Document, report: Report) -> list[Document]:
    """The runs of a document: itself, or one for each combination of its matrix; none where the matrix is wrong."""
    matrix = document.node.value.get("matrix")
    if matrix is None:
        return [document]
    faults: list[Diagnostic] = []
    axes = _axes(matrix, faults.append)
    groups = _groups(matrix, axes, faults.append)
    replicate = _replicate(matrix, axes, faults.append)
    exclude = _exclude(matrix, axes, faults.append)
    limit = _limit(matrix, faults.append)
    count = 1
    for group in groups:
        count *= len(group)
    if not faults and count > limit:
        message = f"the matrix has {count:,} combinations; max_runs is {limit}"
        faults.append(_fault("E332", message, matrix, "shorten an axis, or raise max_runs"))
    names = _short_names(axes)
    found: list[Document] = []
    for combination in product(*groups) if not faults else ():
        values = {path: node for step in combination for path, node in step}
        here: Values = frozenset((path, node.comparable()) for path, node in values.items()) if exclude else frozenset()
        if not faults and not any(rule <= here for rule in exclude):
            found.append(_document(document, values, axes, names, replicate, faults.append))
    for fault in faults:
        report(fault)
    return [] if faults else _distinct(found, matrix, report)


def _document(
    document: Document,
    values: Mapping[str, Node],
    axes: Axes,
    names: Mapping[str, str],
    replicate: Sequence[str],
    report: Report,
) -> Document:
    node = document.node._replace(value={key: item for key, item in document.node.value.items() if key != "matrix"})
    top = ["change"] if "extends" in node.value else []
    for path, value in values.items():
        axis = axes[path]
        node = _laid(node, [*top, *axis.keys], value._replace(op="matrix", key=axis.named), axis, report)
    name = ".".join([document.name, *(f"{names[path]}-{_slug(value)}" for path, value in values.items())])
    free = tuple(tuple(axes[path].keys) for path in values if path in replicate)
    shown = {names[path]: value.plain() for path, value in values.items()}
    matrix = Matrix(run=document.name, axes=shown, replicate=tuple(names[path] for path in replicate))
    return replace(document, name=name, node=node, matrix=matrix, free=free)


def _laid(node: Node, keys: list[str], value: Node, axis: _Axis, report: Report) -> Node:
    """What a run says, with an axis' value in its place; operators are kept for what the run extends."""
    if not node.is_mapping or any(key.startswith("$") for key in node.value):
        message = f"the axis '{axis.path}' lies below what the run itself says whole"
        related = (("it is said here", node.mark.place()),)
        hint = "name it in the run as a mapping without operators, or vary all of it"
        report(Diagnostic("E331", Exit.SPEC, message, axis.named.place(), hint, related))
        return node
    before = node.value.get(keys[0])
    if len(keys) > 1:
        below = before if before is not None else Node({}, value.mark, axis.named)
        after = _laid(below, keys[1:], value, axis, report)
    elif before is not None and _is_plain(before) and _is_plain(value):
        after = merge(before, value, _ignored)
    else:
        after = value
    return node._replace(value={**node.value, keys[0]: after})


def _is_plain(node: Node) -> bool:
    return node.is_mapping and not any(key.startswith("$") for key in node.value)


def _ignored(_: Diagnostic) -> None:
    """An axis value that repeats what the run says is no fault: the other values of the axis differ."""


def _axes(matrix: Node, report: Report) -> dict[str, _Axis]:
    if not matrix.is_mapping:
        report(
            _fault("E331", f"'matrix' is {kind_of(matrix)}, not a mapping", matrix, "matrix: {axes: {PATH: [VALUES]}}")
        )
        return {}
    for key, item in islice(matrix.value.items(), MAX_FAULTS):
        if key not in KEYS:
            report(Diagnostic("E201", Exit.SPEC, f"unknown key '{key}'", item.key.place(), did_you_mean(key, KEYS)))
    axes = matrix.value.get("axes")
    if axes is None or not axes.is_mapping or not axes.value:
        report(_fault("E331", "a matrix needs axes", axes or matrix, "axes: {training.seed: [13, 42]}"))
        return {}
    if len(axes.value) > MAX_AXES:
        message = f"the matrix has {len(axes.value):,} axes; {MAX_AXES} are the most"
        report(_fault("E332", message, axes, "zip them, or split it"))
        return {}
    found = {path: _Axis(path, values.key, values.value) for path, values in axes.value.items()}
    for axis in found.values():
        node = axes.value[axis.path]
        above = next((path for path in found if axis.path.startswith(f"{path}.")), None)
        if not all(axis.keys):
            report(_at(axis, f"'{axis.path}' is no path", "an axis is a path, as in training.seed"))
        elif above is not None:
            report(_at(axis, f"the axis '{axis.path}' lies below the axis '{above}'", "vary one of the two"))
        elif not node.is_sequence or not node.value:
            report(_fault("E331", f"the axis '{axis.path}' is not a list of values", node, f"{axis.path}: [13, 42]"))
    return {path: axis for path, axis in found.items() if axes.value[path].is_sequence}


def _at(axis: _Axis, message: str, hint: str) -> Diagnostic:
    return Diagnostic("E331", Exit.SPEC, message, axis.named.place(), hint)


def _entries(matrix: Node, key: str, most: int, example: str, report: Report) -> tuple[Node, ...]:
    """The entries of one of a matrix' lists."""
    node = matrix.value.get(key) if matrix.is_mapping else None
    if node is None:
        return ()
    if not node.is_sequence:
        report(_fault("E331", f"'{key}' is {kind_of(node)}, not a list", node, f"{key}: {example}"))
        return ()
    if len(node.value) > most:
        message = f"'{key}' has {len(node.value):,} entries; {most:,} are the most"
        report(_fault("E332", message, node, "write fewer, or split the matrix"))
        return ()
    entries: tuple[Node, ...] = node.value
    return entries


def _groups(matrix: Node, axes: Axes, report: Report) -> list[list[Step]]:
    """Axes that advance together, in the order of the axes."""
    zipped: list[list[str]] = []
    example = f"[[{', '.join(islice(axes, 2))}]]"
    for group in _entries(matrix, "zip", MAX_AXES, example, report):
        if not group.is_sequence or len(group.value) > MAX_AXES:
            report(
                _fault("E331", "an entry of 'zip' is a list of axes that advance together", group, f"zip: {example}")
            )
            continue
        paths = [path for item in group.value if (path := _known(item, axes, report))]
        lengths = {path: len(axes[path].values) for path in paths}
        again = [path for path in lengths if paths.count(path) > 1 or any(path in other for other in zipped)]
        if again:
            hint = "put all that advances together into one list"
            report(_fault("E333", f"the axis '{again[0]}' is zipped twice", group, hint))
        elif len(set(lengths.values())) > 1:
            hint = ", ".join(f"{path} has {length}" for path, length in lengths.items())
            report(_fault("E333", "axes that are zipped have the same number of values", group, hint))
        else:
            zipped.append(paths)
    groups: list[list[Step]] = []
    for path, axis in axes.items():
        members = next((names for names in zipped if path in names), [path])
        if members[0] == path:
            groups.append([tuple((name, axes[name].values[i]) for name in members) for i in range(len(axis.values))])
    return groups


def _replicate(matrix: Node, axes: Axes, report: Report) -> list[str]:
    entries = _entries(matrix, "replicate", MAX_AXES, "[training.seed]", report)
    paths = [(path, item) for item in entries if (path := _known(item, axes, report))]
    for path, item in paths:
        if not is_free(tuple(path.split("."))):
            message = f"'{path}' counts as a change, so its values are no replicates"
            report(_fault("E336", message, item, "replicate seeds"))
    return list(dict.fromkeys(path for path, _ in paths))


def _known(item: Node, axes: Axes, report: Report) -> str:
    """The axis that an entry names, whole or by the last part of its path."""
    if isinstance(item.value, str):
        if item.value in axes:
            return item.value
        short = [path for path in axes if path.rsplit(".", 1)[-1] == item.value]
        if len(short) == 1:
            return short[0]
    named = str(item.value)[:60] if not (item.is_mapping or item.is_sequence) else kind_of(item)
    report(_fault("E334", f"'{named}' is no axis", item, did_you_mean(named, axes)))
    return ""


def _exclude(matrix: Node, axes: Axes, report: Report) -> list[Values]:
    rules = []
    values = {path: {item.comparable() for item in axis.values} for path, axis in axes.items()}
    for item in _entries(matrix, "exclude", MAX_EXCLUSIONS, "[{training.seed: 13}]", report):
        if not item.is_mapping or not item.value:
            hint = "exclude: [{training.seed: 13}]"
            report(_fault("E331", "an exclusion is a mapping of axes to values", item, hint))
            continue
        named = {_known(value._replace(value=key), axes, report): value for key, value in item.value.items()}
        for path, value in named.items():
            if path and value.comparable() not in values[path]:
                shown = [str(choice.plain())[:60] for choice in axes[path].values[:20]]
                hint = f"it has {', '.join(shown)}{', …' * (len(axes[path].values) > 20)}"
                message = f"{str(value.plain())[:60]!r} is no value of the axis '{path}'"
                report(_fault("E334", message, value, hint))
        rules.append(frozenset((path, value.comparable()) for path, value in named.items()))
    return rules


def _limit(matrix: Node, report: Report) -> int:
    node = matrix.value.get("max_runs") if matrix.is_mapping else None
    if node is None:
        return MAX_RUNS
    if type(node.value) is not int or not 1 <= node.value <= 10_000:
        report(_fault("E331", "'max_runs' is a whole number from 1 to 10,000", node, f"max_runs: {MAX_RUNS}"))
        return MAX_RUNS
    return node.value


def _short_names(axes: Mapping[str, object]) -> dict[str, str]:
    """The last part of each path, with as many parts before it as it takes to tell the axes apart.

    The `use` of a slot is called as the slot is.
    """
    names = {}
    for path in axes:
        parts = _named(path)
        length = 1
        while any(
            other != path and other.removesuffix(".use").split(".")[-length:] == parts[-length:] for other in axes
        ):
            length += 1
        names[path] = "_".join(parts[-length:])
    return names


def _named(path: str) -> list[str]:
    return path.removesuffix(".use").split(".")


def _slug(node: Node) -> str:
    """A value as part of a name: a function of the value alone."""
    value = node.plain()
    text = "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if isinstance(value, dict):
        text = "-".join(f"{key}-{item}" for key, item in value.items())
    return re.sub(r"[^a-z0-9_+]+", "-", text.lower()).strip("-") or "empty"


def _distinct(found: list[Document], matrix: Node, report: Report) -> list[Document]:
    seen: set[str] = set()
    for document in found:
        if document.name in seen or len(document.name) > LONGEST_NAME:
            problem = "twice" if document.name in seen else f"longer than {LONGEST_NAME} characters"
            message = f"the matrix gives the name '{document.name[:160]}' {problem}"
            report(_fault("E335", message, matrix, "values of an axis differ in letters and digits"))
            return []
        seen.add(document.name)
    if not found:
        report(_fault("E331", "the matrix excludes every combination", matrix, "leave one in"))
    return found


def _fault(code: str, message: str, node: Node, hint: str) -> Diagnostic:
    return Diagnostic(code, Exit.SPEC, message, node.mark.place(), hint)
