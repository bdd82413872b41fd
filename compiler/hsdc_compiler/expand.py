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
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, TypeAlias

from hsdc_compiler.merge import Report, merge
from hsdc_compiler.node import Node, kind_of
from hsdc_compiler.project import Document
from hsdc_schemas.errors import Diagnostic, Exit, did_you_mean
from hsdc_schemas.factors import is_free
from hsdc_schemas.manifest import Matrix

MAX_RUNS = 64
MAX_AXES = 16
LONGEST_NAME = 128
KEYS = ("axes", "zip", "exclude", "replicate", "max_runs")

Step: TypeAlias = tuple[tuple[str, Node], ...]  # axes of one zipped group with their values at one position


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
    if faults:
        for fault in faults:
            report(fault)
        return []
    names = _short_names(axes)
    found = []
    for combination in product(*groups):
        values = {path: node for step in combination for path, node in step}
        if not any(_excluded(values, rule) for rule in exclude):
            found.append(_document(document, values, names, replicate))
    return _distinct(found, matrix, report)


def _document(
    document: Document, values: Mapping[str, Node], names: Mapping[str, str], replicate: Sequence[str]
) -> Document:
    entries = {key: item for key, item in document.node.value.items() if key != "matrix"}
    node = document.node._replace(value=entries)
    derived = "extends" in entries
    for path, value in values.items():
        keys = path.split(".")
        overlay = value._replace(op="matrix")
        for key in reversed(["change", *keys] if derived else keys):
            overlay = Node({key: overlay}, value.mark, value.key)
        node = merge(node, overlay, _ignored)
    name = ".".join([document.name, *(f"{names[path]}-{_slug(value)}" for path, value in values.items())])
    free = tuple(tuple(path.split(".")) for path in values if path in replicate)
    shown = {names[path]: value.plain() for path, value in values.items()}
    matrix = Matrix(run=document.name, axes=shown, replicate=tuple(names[path] for path in replicate))
    return replace(document, name=name, node=node, matrix=matrix, free=free)


def _ignored(_: Diagnostic) -> None:
    """An axis value that repeats what the run says is no fault: the other values of the axis differ."""


def _axes(matrix: Node, report: Report) -> dict[str, tuple[Node, ...]]:
    if not matrix.is_mapping:
        report(
            _fault("E331", f"'matrix' is {kind_of(matrix)}, not a mapping", matrix, "matrix: {axes: {PATH: [VALUES]}}")
        )
        return {}
    for key, item in matrix.value.items():
        if key not in KEYS:
            report(Diagnostic("E201", Exit.SPEC, f"unknown key '{key}'", item.key.place(), did_you_mean(key, KEYS)))
    axes = matrix.value.get("axes")
    if axes is None or not axes.is_mapping or not axes.value:
        report(_fault("E331", "a matrix needs axes", axes or matrix, "axes: {training.seed: [13, 42]}"))
        return {}
    if len(axes.value) > MAX_AXES:
        report(
            _fault(
                "E332",
                f"the matrix has {len(axes.value):,} axes; {MAX_AXES} are the most",
                axes,
                "zip them, or split it",
            )
        )
        return {}
    found = {}
    for path, values in axes.value.items():
        if not values.is_sequence or not values.value:
            report(_fault("E331", f"the axis '{path}' is not a list of values", values, f"{path}: [13, 42]"))
            continue
        found[path] = values.value
    return found


def _groups(matrix: Node, axes: Mapping[str, tuple[Node, ...]], report: Report) -> list[list[Step]]:
    """Axes that advance together, in the order of the axes."""
    zipped: list[list[str]] = []
    node = matrix.value.get("zip") if matrix.is_mapping else None
    for group in node.value if node is not None and node.is_sequence else ():
        paths = [_known(item, axes, report) for item in (group.value if group.is_sequence else (group,))]
        lengths = {len(axes[path]) for path in paths if path}
        if len(lengths) > 1:
            report(_fault("E333", "axes that are zipped have the same number of values", group, ""))
            continue
        zipped.append([path for path in paths if path])
    groups: list[list[Step]] = []
    for path in axes:
        group = next((names for names in zipped if path in names), [path])
        if group[0] == path:
            groups.append([tuple((name, axes[name][i]) for name in group) for i in range(len(axes[path]))])
    return groups


def _replicate(matrix: Node, axes: Mapping[str, Any], report: Report) -> list[str]:
    node = matrix.value.get("replicate") if matrix.is_mapping else None
    if node is None:
        return []
    if not node.is_sequence:
        report(_fault("E331", "'replicate' is a list of axes", node, "replicate: [training.seed]"))
        return []
    paths = [path for item in node.value if (path := _known(item, axes, report))]
    for path in paths:
        if not is_free(tuple(path.split("."))):
            report(
                _fault("E336", f"'{path}' counts as a change, so its values are no replicates", node, "replicate seeds")
            )
    return paths


def _known(item: Node, axes: Mapping[str, Any], report: Report) -> str:
    """The axis that an entry names, whole or by the last part of its path."""
    if item.value in axes:
        return str(item.value)
    short = [path for path in axes if path.rsplit(".", 1)[-1] == item.value]
    if len(short) == 1:
        return short[0]
    report(_fault("E334", f"'{item.value}' is no axis", item, did_you_mean(str(item.value), axes)))
    return ""


def _exclude(matrix: Node, axes: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
    node = matrix.value.get("exclude") if matrix.is_mapping else None
    rules = []
    for item in node.value if node is not None and node.is_sequence else ():
        if not item.is_mapping:
            report(
                _fault("E331", "an exclusion is a mapping of axes to values", item, "exclude: [{training.seed: 13}]")
            )
            continue
        named = {_known(value._replace(value=key), axes, report): value for key, value in item.value.items()}
        for path, value in named.items():
            if path and value.plain() not in [choice.plain() for choice in axes[path]]:
                report(_fault("E334", f"{value.plain()!r} is no value of the axis '{path}'", value, ""))
        rules.append({path: value.plain() for path, value in named.items()})
    return rules


def _excluded(values: Mapping[str, Node], rule: Mapping[str, Any]) -> bool:
    return all(path in values and values[path].plain() == value for path, value in rule.items())


def _limit(matrix: Node, report: Report) -> int:
    node = matrix.value.get("max_runs") if matrix.is_mapping else None
    if node is None:
        return MAX_RUNS
    if type(node.value) is not int or not 1 <= node.value <= 10_000:
        report(_fault("E331", "'max_runs' is a whole number from 1 to 10,000", node, ""))
        return MAX_RUNS
    return node.value


def _short_names(axes: Mapping[str, Any]) -> dict[str, str]:
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
        report(_fault("E331", "the matrix excludes every combination", matrix, ""))
    return found


def _fault(code: str, message: str, node: Node, hint: str) -> Diagnostic:
    return Diagnostic(code, Exit.SPEC, message, node.mark.place(), hint)
