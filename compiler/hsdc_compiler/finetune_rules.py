"""What no single field of a fine-tuning run can say: each rule has its code, and points at the value that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil

from hsdc_compiler import adapter_rules, prompt_rules
from hsdc_compiler.faults import fault
from hsdc_compiler.node import Node
from hsdc_schemas.errors import Diagnostic, did_you_mean
from hsdc_schemas.finetuning import FinetuneExperiment
from hsdc_schemas.manifest import Input
from hsdc_schemas.prompting import TextAnswer
from hsdc_schemas.spec import Execution


def splits(experiment: FinetuneExperiment, tree: Node) -> Iterator[Diagnostic]:
    """What is learnt, what chooses the epoch and what is scored are three splits."""
    evaluation, known = experiment.evaluation, experiment.dataset.splits
    for field in ("train_split", "fit_split"):
        split = getattr(evaluation, field)
        if split not in known:
            hint = did_you_mean(split, known)
            yield fault(tree, "E706", f"the data set has no split '{split}'", ("evaluation", field), hint)
    if evaluation.split == evaluation.train_split:
        message = "the split that is trained on would also be scored"
        yield fault(tree, "E707", message, ("evaluation", "split"), "name another split")
    if evaluation.fit_split == evaluation.train_split:
        message = "the split that is trained on would also choose the best epoch"
        yield fault(tree, "E707", message, ("evaluation", "fit_split"), "name another split")
    elif evaluation.fit_split == evaluation.split:
        message = f"'{evaluation.split}' would choose the best epoch and be scored"
        yield fault(tree, "E705", message, ("evaluation", "fit_split"), "choose on validation, score on test")


def schedule(experiment: FinetuneExperiment, tree: Node) -> Iterator[Diagnostic]:
    """The warm-up is said once."""
    chosen = experiment.training.schedule
    if chosen.warmup_ratio and chosen.warmup_steps:
        message = "the warm-up is a share of the steps or a number of them, and both are given"
        path = ("training", "schedule", "warmup_steps")
        yield fault(tree, "E729", message, path, "take one of them out", at_key=True)


def answers(experiment: FinetuneExperiment, tree: Node) -> Iterator[Diagnostic]:
    """A text to learn is a field of the rows."""
    form, fields = experiment.prompt.format, experiment.dataset.fields
    if isinstance(form, TextAnswer) and form.field not in fields:
        message = f"the rows have no field '{form.field}' to learn answers from"
        hint = did_you_mean(form.field, fields) or "declare it under 'fields' of the data set"
        yield fault(tree, "E731", message, ("prompt", "format", "field"), hint)


def warmed(
    experiment: FinetuneExperiment, inputs: Sequence[Input], execution: Execution, tree: Node
) -> Iterator[Diagnostic]:
    """The warm-up ends before the training does, as far as the number of rows is known."""
    training, name = experiment.training, f"dataset.{experiment.evaluation.train_split}"
    rows = next((item.rows for item in inputs if item.name == name), None)
    if not rows:
        return
    limits = execution.limits
    epochs = min(training.epochs, limits.epochs or training.epochs)
    steps = ceil(min(rows, limits.rows or rows) / training.rows_per_step) * epochs
    steps = min(steps, limits.steps or steps)
    if training.schedule.warmup_steps >= steps:
        warmup = training.schedule.warmup_steps
        message = f"the rate never reaches its peak: {warmup} steps of warm-up, and the training has {steps}"
        path = ("training", "schedule", "warmup_steps")
        yield fault(tree, "W741", message, path, "write 'warmup_ratio', or train for longer")


RULES: tuple[Callable[[FinetuneExperiment, Node], Iterator[Diagnostic]], ...] = (
    *prompt_rules.RULES,
    splits,
    schedule,
    adapter_rules.targets,
    answers,
)
