"""What no single field of a data run can say: each rule has its code, and points at the value that breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from hsdc_compiler.faults import fault
from hsdc_compiler.node import Node, Path
from hsdc_schemas.errors import Diagnostic, did_you_mean
from hsdc_schemas.making import ChatOutput, DataExperiment, DrawnSplits, GivenSplits, SourceSplits, Take


def shapes(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Sources have shapes that exist, every shape gives the same columns, and takes them from fields that it has."""
    names = sorted({column for shape in experiment.shapes.values() for column in shape.columns})
    for name, shape in experiment.shapes.items():
        for column in names:
            if column not in shape.columns:
                message = f"the shape '{name}' gives no column '{column}', which another one does"
                yield fault(tree, "E732", message, ("shapes", name, "columns"), f"add '{column}'", at_key=True)
        for column, taken in shape.columns.items():
            yield from _taken(tree, ("shapes", name, "columns", column), taken, tuple(shape.fields))
    for name, source in experiment.sources.items():
        for wanted in source.shapes:
            if wanted not in experiment.shapes:
                path = ("sources", name, "shapes")
                hint = did_you_mean(wanted, experiment.shapes)
                yield fault(tree, "E732", f"there is no shape '{wanted}'", path, hint)


def _taken(tree: Node, path: Path, taken: str | Take, fields: tuple[str, ...]) -> Iterator[Diagnostic]:
    take = Take(path=taken) if isinstance(taken, str) else taken
    if (take.path is None) == (take.value is None):
        yield fault(tree, "E732", f"'{path[-1]}' is taken from a path, or is a value", path, "write one of the two")
    if take.path is not None and take.path not in fields:
        yield fault(tree, "E732", f"the shape has no field '{take.path}'", path, did_you_mean(take.path, fields))
    if take.pattern is not None:
        try:
            groups = re.compile(take.pattern).groups
        except re.error as error:
            yield fault(tree, "E732", f"the pattern of '{path[-1]}' cannot be read: {error}", path, "mend it")
        else:
            if groups != 1:
                message = f"the pattern of '{path[-1]}' has {groups} groups; the one group is what is taken"
                yield fault(tree, "E732", message, path, "put one pair of parentheses around what is meant")


def columns(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """What is named as a column is one."""
    known = tuple(dict.fromkeys(column for shape in experiment.shapes.values() for column in shape.columns))
    named: list[tuple[Path, str]] = [(("id",), experiment.id), (("text",), experiment.text)]
    named += [(("filters",), item.column) for item in experiment.filters]
    named += [(("leakage", "column"), experiment.leakage.column)]
    named += [(("expect", "counts", column), column) for column in experiment.expect.counts]
    named += [(("expect", "shares", column), column) for column in experiment.expect.shares]
    match experiment.splits:
        case GivenSplits(column=column):
            named.append((("splits", "column"), column))
        case DrawnSplits(stratify=stratify, group=group):
            named += [(("splits", "stratify"), column) for column in stratify]
            named += [(("splits", "group"), group)] if group is not None else []
    if experiment.sample is not None and experiment.sample.stratify is not None:
        named.append((("sample", "stratify"), experiment.sample.stratify))
    if experiment.task is not None:
        named.append((("task", "target"), experiment.task.target))
    for path, column in named:
        if column not in known:
            yield fault(tree, "E733", f"no shape gives a column '{column}'", path, did_you_mean(column, known))


def splits(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Shares add up, sources say their split where it is theirs to say, and expectations are about splits."""
    if isinstance(experiment.splits, DrawnSplits) and abs(sum(experiment.splits.shares.values()) - 1) > 1e-9:
        total = sum(experiment.splits.shares.values())
        yield fault(tree, "E734", f"the shares of the splits add up to {total:g}", ("splits", "shares"), "to 1")
    if isinstance(experiment.splits, SourceSplits):
        for name, source in experiment.sources.items():
            if source.split is None:
                message = f"the source '{name}' does not say which split its rows belong to"
                yield fault(tree, "E734", message, ("sources", name), "add 'split'", at_key=True)
    for name in experiment.expect.rows:
        if name not in (*experiment.split_names, "all"):
            hint = did_you_mean(name, experiment.split_names)
            yield fault(tree, "E734", f"no split '{name}' is made", ("expect", "rows", name), hint, at_key=True)


def outputs(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Conversations need a prompt and a task, and a limit of tokens needs a tokenizer."""
    for name, output in experiment.outputs.items():
        if isinstance(output, ChatOutput) and (experiment.prompt is None or experiment.task is None):
            message = f"'{name}' writes conversations, and the run has no prompt or no task"
            hint = "add 'prompt: {use: …}' and 'task: {target: …, labels: […]}'"
            yield fault(tree, "E735", message, ("outputs", name), hint, at_key=True)
    if experiment.length is not None and experiment.model is None:
        message = "tokens are counted, and no model names the tokenizer"
        yield fault(tree, "E735", message, ("length",), "add 'model: {use: …}'", at_key=True)


RULES: tuple[Callable[[DataExperiment, Node], Iterator[Diagnostic]], ...] = (shapes, columns, splits, outputs)
