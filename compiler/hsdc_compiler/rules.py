"""Pass 6: what no single field can say: the rules of every kind of run, those of its own kind first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from hsdc_compiler import adapter_rules, data_rules, encoder_rules, finetune_rules, prompt_rules
from hsdc_compiler.faults import fault, metrics
from hsdc_compiler.node import Node, Path
from hsdc_schemas.components import PretrainedModel
from hsdc_schemas.encoder import Evaluation
from hsdc_schemas.errors import Diagnostic, did_you_mean
from hsdc_schemas.gates import GateError, needed_rows, parse_gate
from hsdc_schemas.manifest import Input
from hsdc_schemas.spec import Execution, Experiment, Reproduces

MAX_FAULTS = 100  # of one rule


def rules(experiment: Experiment, tree: Node, execution: Execution) -> list[Diagnostic]:
    """All faults that rules across fields find."""
    found = [fault for rule in OF_KIND[experiment.kind] for fault in islice(rule(experiment, tree), MAX_FAULTS)]
    found += [fault for rule in RULES for fault in islice(rule(experiment, tree), MAX_FAULTS)]
    # By kind, here and below: to ask a model for its class is a call of Python where the answer is no.
    if (experiment.kind == "prompt" or experiment.kind == "finetune") and not found:
        found += prompt_rules.profile(experiment, execution, tree)
    return found


def claim(experiment: Experiment, reproduces: Reproduces, header: Node, runs: Collection[str]) -> Iterator[Diagnostic]:
    """What a run says it reproduces exists, and is something that it computes."""
    own = header.value["run"].value
    if reproduces.run == own or reproduces.run not in runs:
        hint = did_you_mean(reproduces.run, [name for name in runs if name != own])
        message = f"there is no other run '{reproduces.run}' to reproduce"
        yield fault(header, "E309", message, ("reproduces", "run"), hint)
    known = metrics(experiment)
    if reproduces.metric is not None and reproduces.metric not in known:
        hint = did_you_mean(reproduces.metric, known)
        message = f"'{reproduces.metric}' is not a metric of this run"
        yield fault(header, "E708", message, ("reproduces", "metric"), hint)


def held_against(experiment: Experiment, tree: Node, runs: Collection[str]) -> Iterator[Diagnostic]:
    """The run that gates compare with exists."""
    against = None if experiment.kind == "data" else experiment.evaluation.against
    if against is not None and against not in runs:
        message = f"there is no run '{against}' to hold gates against"
        yield fault(tree, "E309", message, ("evaluation", "against"), did_you_mean(against, runs))


def pinned_model(experiment: Experiment, tree: Node) -> Iterator[Diagnostic]:
    """A model that others can change is pinned, the more so where its own code runs."""
    model = experiment.model
    if not isinstance(model, PretrainedModel):
        return
    if model.source.startswith(("hf:", "package:")) and not model.revision:
        hint = "add 'revision': the full commit of a hub repository, or the version of a package"
        yield fault(tree, "E709", f"the model source '{model.source}' is not pinned", ("model", "source"), hint)
        if model.remote_code:
            message = "the model's own code would run, and no revision pins it"
            yield fault(tree, "E722", message, ("model", "remote_code"), hint)


def columns(experiment: Experiment, tree: Node) -> Iterator[Diagnostic]:
    """Every column that is given a meaning is declared."""
    if experiment.kind == "data":
        return
    dataset, declared = experiment.dataset, frozenset(experiment.dataset.columns)
    named: list[tuple[Path, str]] = [(("dataset", "id"), dataset.id), (("dataset", "text"), dataset.text)]
    named += [(("dataset", "labels", name), column) for name, column in dataset.labels.items()]
    named += [(("dataset", "groups", name, "column"), group.column) for name, group in dataset.groups.items()]
    named += [(("dataset", "fields", name), column) for name, column in dataset.fields.items()]
    named += [(("dataset", "cluster"), dataset.cluster)] if dataset.cluster is not None else []
    for path, column in named:
        if column not in declared:
            hint = did_you_mean(column, dataset.columns)
            yield fault(tree, "E711", f"'{column}' is not among the declared columns", path, hint)


def meanings(experiment: Experiment, tree: Node) -> Iterator[Diagnostic]:
    """A value counts as a label that the run knows."""
    if experiment.kind == "data" or not experiment.dataset.values:
        return
    dataset = experiment.dataset
    known = dict(experiment.tasks.values())
    for name, values in dataset.values.items():
        if name not in dataset.labels:
            hint = did_you_mean(name, dataset.labels)
            yield fault(
                tree, "E727", f"'{name}' is no label of the data set", ("dataset", "values", name), hint, at_key=True
            )
        for value, label in values.items():
            if name in known and label is not None and label not in known[name]:
                message = f"'{value}' counts as '{label}', which is no label of this run"
                yield fault(tree, "E727", message, ("dataset", "values", name, value), did_you_mean(label, known[name]))


def gates(experiment: Experiment, tree: Node) -> Iterator[Diagnostic]:
    """A gate is an inequality over a figure that the run has; a difference is taken against something."""
    if experiment.kind == "data" or not experiment.evaluation.gates:
        return
    heads = {name: labels for name, (_, labels) in experiment.tasks.items()}
    for position, text in enumerate(experiment.evaluation.gates):
        path = ("evaluation", "gates")
        written = tree.at(path)
        node = written.value[position] if written is not None and written.is_sequence else tree
        try:
            gate = parse_gate(text, heads, experiment.numbers)
        except GateError as error:
            yield fault(node, "E723", str(error), (), error.hint)
            continue
        group = (gate.metric.slice or "").removeprefix("group=")
        if (
            gate.metric.slice is not None
            and gate.metric.slice.startswith("group=")
            and group not in experiment.dataset.groups
        ):
            hint = did_you_mean(group, experiment.dataset.groups)
            yield fault(node, "E723", f"the data set has no group '{group}'", (), hint)
        if gate.delta and experiment.evaluation.against is None and experiment.kind != "finetune":
            message = "a difference is taken against another run, and none is named"
            yield fault(node, "E725", message, (), "add 'against: RUN' under 'evaluation'")
        if gate.metric.name == "mae" and gate.metric.label not in experiment.dataset.fields:
            message = f"the rows have no field '{gate.metric.label}' to hold the number against"
            hint = did_you_mean(gate.metric.label or "", experiment.dataset.fields)
            yield fault(node, "E723", message, (), hint or "declare it under 'fields' of the data set")


def locked(
    experiment: Experiment,
    inputs: Sequence[Input],
    execution: Execution,
    tree: Node,
    modules: Callable[[Experiment, Sequence[Input]], Sequence[str] | None],
) -> Iterator[Diagnostic]:
    """What only the locked inputs tell; `modules` reads those of the model."""
    yield from _unresolved(experiment, inputs, execution, tree)
    if experiment.kind == "finetune":
        yield from finetune_rules.warmed(experiment, inputs, execution, tree)
    if experiment.kind == "prompt" or experiment.kind == "data" or experiment.adapter is None:
        return
    if (names := modules(experiment, inputs)) is not None:
        yield from adapter_rules.adaptable(experiment.adapter, names, tree)


def _unresolved(
    experiment: Experiment, inputs: Iterable[Input], execution: Execution, tree: Node
) -> Iterator[Diagnostic]:
    """Gates that so many rows cannot tell from their bound."""
    if experiment.kind == "data" or not experiment.evaluation.gates:
        return
    evaluation = experiment.evaluation
    split = evaluation.score_split if isinstance(evaluation, Evaluation) else evaluation.split
    named = f"subset.{experiment.subset}" if experiment.subset else f"dataset.{split}"
    rows = next((item.rows for item in inputs if item.name == named), None)
    rows = min(rows, execution.limits.rows or rows) if rows else None
    heads = {name: labels for name, (_, labels) in experiment.tasks.items()}
    written = tree.at(("evaluation", "gates"))
    for position, text in enumerate(evaluation.gates):
        gate = parse_gate(text, heads, experiment.numbers)
        need = needed_rows(gate, rows, experiment.numbers) if rows and gate.metric.slice is None else None
        if need is not None and not need.enough:
            node = written.value[position] if written is not None and written.is_sequence else tree
            yield fault(
                node,
                "W724",
                f"{rows:,} rows cannot resolve this gate: {need.message}",
                (),
                "ask for more, or score more rows",
            )


def subsets(experiment: Experiment, tree: Node) -> Iterator[Diagnostic]:
    """A subset is drawn from a split that is there, by a label that is decided."""
    if experiment.kind == "data" or not experiment.dataset.subsets:
        return
    dataset = experiment.dataset
    targets = [target for target, _ in experiment.tasks.values()]
    for name, subset in dataset.subsets.items():
        path = ("dataset", "subsets", name)
        if subset.split not in dataset.splits:
            hint = did_you_mean(subset.split, dataset.splits)
            yield fault(tree, "E721", f"the data set has no split '{subset.split}'", (*path, "split"), hint)
        if name == experiment.subset and subset.stratify is not None and subset.stratify not in targets:
            message = f"the draw keeps the shares of '{subset.stratify}', which this run does not decide"
            yield fault(tree, "E721", message, (*path, "stratify"), did_you_mean(subset.stratify, targets))


OF_KIND: dict[str, tuple[Callable[[Any, Node], Iterator[Diagnostic]], ...]] = {
    "encoder": encoder_rules.RULES,
    "prompt": prompt_rules.RULES,
    "finetune": finetune_rules.RULES,
    "data": data_rules.RULES,
}
RULES: tuple[Callable[[Experiment, Node], Iterator[Diagnostic]], ...] = (
    pinned_model,
    columns,
    meanings,
    subsets,
    gates,
)
