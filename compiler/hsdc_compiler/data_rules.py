"""What no single field of a data run can say: each rule has its code, and points at the value that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hsdc_compiler.faults import fault
from hsdc_compiler.node import Node, Path
from hsdc_compiler.prompt_rules import examples_of, template, templates_of
from hsdc_schemas.errors import Diagnostic, did_you_mean
from hsdc_schemas.making import (
    AtLeast,
    Between,
    ChatOutput,
    DataExperiment,
    DrawnSplits,
    Expect,
    FieldShape,
    GivenSplits,
    Length,
    PairsOutput,
    Shape,
    SourceSplits,
    Take,
)
from hsdc_schemas.patterns import pattern_fault
from hsdc_schemas.rows import REASONS

NUMBERS = ("number", "integer")
NONE = "allows nothing: its minimum is more than its maximum"
_SINGLE = ("text", *NUMBERS, "truth")
_KINDS = {"text": "texts", "number": "numbers", "integer": "integers", "truth": "truths", "texts": "lists of texts"}


def shapes(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Sources have shapes that exist, every shape gives the same columns, and takes them from fields that it has."""
    names = sorted({column for shape in experiment.corpus.shapes.values() for column in shape.columns})
    for name, shape in experiment.corpus.shapes.items():
        for column in names:
            if column not in shape.columns:
                message = f"the shape '{name}' gives no column '{column}', which another one does"
                yield fault(
                    tree, "E732", message, ("corpus", "shapes", name, "columns"), f"add '{column}'", at_key=True
                )
        for column, taken in shape.columns.items():
            yield from _taken(tree, ("corpus", "shapes", name, "columns", column), taken, tuple(shape.fields))
    for name, source in experiment.corpus.sources.items():
        for wanted in source.shapes:
            if wanted not in experiment.corpus.shapes:
                path = ("corpus", "sources", name, "shapes")
                hint = did_you_mean(wanted, experiment.corpus.shapes)
                yield fault(tree, "E732", f"there is no shape '{wanted}'", path, hint)


def fields(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Bounds are of numbers, lists of texts are of texts, and no field stands inside another."""
    for name, shape in experiment.corpus.shapes.items():
        for path, field in shape.fields.items():
            place = ("corpus", "shapes", name, "fields", path)
            if why := _contradiction(field):
                yield fault(tree, "E738", f"'{path}' of the shape '{name}' {why}", place, "mend its 'type'")
            above = next((other for other in shape.fields if path.startswith(f"{other}.")), None)
            if above is not None:
                message = f"'{path}' stands inside '{above}', which holds {_KINDS[shape.fields[above].type]}"
                yield fault(tree, "E738", message, place, f"take '{above}' out", at_key=True)


def _contradiction(field: FieldShape) -> str:
    if field.allowed and field.type != "text":
        return f"lists texts that are allowed, and holds {_KINDS[field.type]}"
    if (field.minimum is not None or field.maximum is not None) and field.type not in NUMBERS:
        return f"has bounds, and holds {_KINDS[field.type]}"
    return "" if _met(field.minimum, field.maximum) else NONE


def types(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """A column has one type in all shapes, id and text are texts, and filters fit what they look at."""
    found: dict[str, str] = {}
    for name, shape in experiment.corpus.shapes.items():
        for column in shape.columns:
            kind = _type(shape, column)
            known = found.setdefault(column, kind)
            if kind != known and not {kind, known} <= {*NUMBERS}:
                message = f"'{column}' holds {_KINDS[kind]} in the shape '{name}', and {_KINDS[known]} in another one"
                yield fault(
                    tree, "E738", message, ("corpus", "shapes", name, "columns", column), "take the same of both"
                )
    for slot, column in (("id", experiment.id), ("text", experiment.text)):
        if found.get(column, "text") in (*NUMBERS, "truth"):
            message = f"'{column}' holds {_KINDS[found[column]]}, and no texts"
            first = next(name for name, shape in experiment.corpus.shapes.items() if column in shape.columns)
            taken: Path = ("corpus", "shapes", first, "columns", column)
            place = (slot,) if tree.at((slot,)) is not None else taken
            hint = f"name a column of texts, or take it as a text: {column}: {{path: …, pattern: '(.+)'}}"
            yield fault(tree, "E738", message, place, hint)
    written = tree.at(("filters",))
    for position, item in enumerate(experiment.filters):
        wanted = NUMBERS if isinstance(item, AtLeast) else ("text",) if isinstance(item, Length) else _SINGLE
        if found.get(item.column, wanted[0]) not in (*wanted, "texts"):
            node = written.value[position] if written is not None and written.is_sequence else tree
            message = (
                f"'{item.kind}' looks at {_KINDS[wanted[0]]}, and '{item.column}' holds {_KINDS[found[item.column]]}"
            )
            yield fault(node, "E738", message, ("column",), "name another column, or mend the field's 'type'")
        if isinstance(item, Length) and not _met(item.minimum, item.maximum):
            node = written.value[position] if written is not None and written.is_sequence else tree
            yield fault(node, "E738", f"'{item.kind}' {NONE}", ("minimum",), "exchange the two")


def _type(shape: Shape, column: str) -> str:
    taken = shape.columns[column]
    take = Take(path=taken) if isinstance(taken, str) else taken
    if take.path is None or take.pattern is not None or take.path not in shape.fields:
        return "text"
    kind = shape.fields[take.path].type
    return "text" if take.values else kind


def rejects(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Records are rejected for reasons that exist."""
    known = (*REASONS, "E616")
    for code in experiment.corpus.rejects:
        if code not in known:
            message = f"no record is rejected for '{code}'"
            yield fault(
                tree, "E739", message, ("corpus", "rejects", code), f"known are {', '.join(known)}", at_key=True
            )


def _taken(tree: Node, path: Path, taken: str | Take, fields: tuple[str, ...]) -> Iterator[Diagnostic]:
    take = Take(path=taken) if isinstance(taken, str) else taken
    if (take.path is None) == (take.value is None):
        yield fault(tree, "E732", f"'{path[-1]}' is taken from a path, or is a value", path, "write one of the two")
    if take.values and take.value is not None:
        yield fault(tree, "E732", f"'{path[-1]}' is one value, and none becomes another", path, "take 'values' out")
    if take.path is not None and take.path not in fields:
        yield fault(tree, "E732", f"the shape has no field '{take.path}'", path, did_you_mean(take.path, fields))
    why, hint = pattern_fault(take.pattern) if take.pattern is not None else ("", "")
    if why:
        yield fault(tree, "E732", f"the pattern of '{path[-1]}' {why}", (*path, "pattern"), hint)


def columns(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """What is named as a column is one, and holds no lists."""
    known = tuple(dict.fromkeys(column for shape in experiment.corpus.shapes.values() for column in shape.columns))
    kinds = {column: _type(shape, column) for shape in experiment.corpus.shapes.values() for column in shape.columns}
    for path, column in _named(experiment):
        if column not in known:
            yield fault(tree, "E733", f"no shape gives a column '{column}'", path, did_you_mean(column, known))
        elif kinds[column] == "texts":
            message = f"'{column}' holds lists of texts, and one value is looked at here"
            yield fault(tree, "E738", message, path, "name another column, or take one text out of it by a pattern")


def _named(experiment: DataExperiment) -> Iterator[tuple[Path, str]]:
    """Where columns are named, but for filters' types."""
    yield from ((("id",), experiment.id), (("text",), experiment.text))
    yield from ((("filters",), item.column) for item in experiment.filters)
    yield ("leakage", "column"), experiment.leakage.column
    for path, expect in _expected(experiment):
        yield from (((*path, "counts", column), column) for column in expect.counts)
        yield from (((*path, "shares", column), column) for column in expect.shares)
    match experiment.splits:
        case GivenSplits(column=column):
            yield ("splits", "column"), column
        case DrawnSplits(stratify=stratify, group=group):
            yield from ((("splits", "stratify"), column) for column in stratify)
            yield from ((("splits", "group"), column) for column in (group,) if column is not None)
    if experiment.sample is not None and experiment.sample.stratify is not None:
        yield ("sample", "stratify"), experiment.sample.stratify
    if experiment.task is not None:
        yield ("task", "target"), experiment.task.target


def splits(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Shares add up, sources say their split where it is theirs to say, and expectations are about splits."""
    if isinstance(experiment.splits, DrawnSplits) and abs(sum(experiment.splits.shares.values()) - 1) > 1e-9:
        total = sum(experiment.splits.shares.values())
        yield fault(tree, "E734", f"the shares of the splits add up to {total:g}", ("splits", "shares"), "to 1")
    names = experiment.split_names
    if isinstance(experiment.splits, SourceSplits):
        for name, source in experiment.corpus.sources.items():
            if source.split is None:
                message = f"the source '{name}' does not say which split its rows belong to"
                yield fault(tree, "E734", message, ("corpus", "sources", name), "add 'split'", at_key=True)
    for name, source in experiment.corpus.sources.items():
        if source.split is not None and source.split not in names and isinstance(experiment.splits, GivenSplits):
            message = f"the source '{name}' is for the split '{source.split}', which no value of the column names"
            yield fault(tree, "E734", message, ("corpus", "sources", name, "split"), did_you_mean(source.split, names))
    for path, expect in _expected(experiment):
        for name in expect.rows:
            if name not in (*names, "all"):
                message, hint = f"no split '{name}' is made", did_you_mean(name, names)
                yield fault(tree, "E734", message, (*path, "rows", name), hint, at_key=True)
        for place, bounds in _bounds(path, expect):
            if not _met(bounds.minimum, bounds.maximum):
                yield fault(tree, "E734", f"'{place[-1]}' {NONE}", place, "exchange the two")
            elif "shares" in place and not _met(bounds.minimum, 1.0):
                message = f"'{place[-1]}' would be more than all: shares are from 0 to 1"
                yield fault(tree, "E734", message, place, "write 0.9 for 90 %")


def _met(least: float | None, most: float | None) -> bool:
    """Whether something can be within bounds."""
    return least is None or most is None or least <= most


def _bounds(path: Path, expect: Expect) -> Iterator[tuple[Path, Between]]:
    yield from (((*path, "rows", name), bounds) for name, bounds in expect.rows.items())
    for kind, table in (("counts", expect.counts), ("shares", expect.shares)):
        for column, values in table.items():
            yield from (((*path, kind, column, value), bounds) for value, bounds in values.items())


def _expected(experiment: DataExperiment) -> tuple[tuple[Path, Expect], ...]:
    """What is expected, and where that is written."""
    return (("expect",), experiment.expect), (("corpus", "expect"), experiment.corpus.expect)


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


def templates(experiment: DataExperiment, tree: Node) -> Iterator[Diagnostic]:
    """What asks can be rendered and shows answers that are allowed; pairs are over columns."""
    if experiment.prompt is not None:
        yield from templates_of(experiment.prompt, tree)
    if experiment.prompt is not None and experiment.task is not None:
        yield from examples_of(experiment.prompt, experiment.task.labels, tree)
    known = sorted({column for shape in experiment.corpus.shapes.values() for column in shape.columns})
    for name, output in experiment.outputs.items():
        if isinstance(output, PairsOutput):
            for part in ("prompt", "response"):
                yield from template(getattr(output, part), known, tree, ("outputs", name, part))[1]


RULES: tuple[Callable[[DataExperiment, Node], Iterator[Diagnostic]], ...] = (
    shapes,
    fields,
    columns,
    types,
    rejects,
    splits,
    outputs,
    templates,
)
