"""What no single field of an encoder run can say: each rule has its code, and points at the value that breaks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from hsdc_compiler import adapter_rules
from hsdc_compiler.faults import fault, metrics
from hsdc_compiler.node import Node
from hsdc_schemas.encoder import BalancedWeights, EncoderExperiment, JointOversampling
from hsdc_schemas.errors import Diagnostic, did_you_mean
from hsdc_schemas.scores import OVERALL


def boosts(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """A boost names a head and one of its labels."""
    if not isinstance(experiment.sampling, JointOversampling):
        return
    for name, factors in experiment.sampling.boosts.items():
        path = ("sampling", "boosts", name)
        if name not in experiment.heads:
            hint = did_you_mean(name, experiment.heads)
            yield fault(tree, "E701", f"a boost for '{name}', which is no head", path, hint, at_key=True)
            continue
        labels = dict.fromkeys(experiment.heads[name].labels)
        for label in factors:
            if label not in labels:
                message = f"a boost for '{label}', which is no label of '{name}'"
                yield fault(tree, "E701", message, (*path, label), did_you_mean(label, labels), at_key=True)


def class_weights(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """A class weight names one of the head's labels."""
    for name, head in experiment.heads.items():
        if isinstance(head.class_weights, BalancedWeights):
            known = frozenset(head.labels)
            for label in head.class_weights.multipliers:
                if label not in known:
                    path = ("heads", name, "class_weights", "multipliers", label)
                    message = f"a class weight for '{label}', which is no label of '{name}'"
                    yield fault(tree, "E702", message, path, did_you_mean(label, head.labels), at_key=True)


def labels(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Labels of a head are distinct, and the data set has what the head learns."""
    for name, head in experiment.heads.items():
        if name == OVERALL:
            yield fault(
                tree, "E703", "'overall' is the mean of all heads", ("heads", name), "rename the head", at_key=True
            )
        if len(set(head.labels)) < len(head.labels):
            twice = Counter(head.labels).most_common(1)[0][0]
            message = f"'{twice}' is more than once a label of '{name}'"
            yield fault(tree, "E703", message, ("heads", name, "labels"), "write every label once")
        target = head.target or name
        if target not in experiment.dataset.labels:
            hint = did_you_mean(target, experiment.dataset.labels)
            message = f"the data set has no label '{target}' for the head '{name}'"
            path = ("heads", name) if head.target is None else ("heads", name, "target")
            yield fault(tree, "E703", message, path, hint, at_key=head.target is None)


def head_norms(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """A gradient norm of its own belongs to a head."""
    for name in experiment.training.head_max_grad_norm or {}:
        if name not in experiment.heads:
            path = ("training", "head_max_grad_norm", name)
            hint = did_you_mean(name, experiment.heads)
            yield fault(tree, "E704", f"a gradient norm for '{name}', which is no head", path, hint, at_key=True)


def splits(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Train, fit and score are three splits, and the data set has them."""
    evaluation, known = experiment.evaluation, experiment.dataset.splits
    for field in ("fit_split", "score_split"):
        split = getattr(evaluation, field)
        path = ("evaluation", field)
        if split not in known:
            yield fault(tree, "E706", f"the data set has no split '{split}'", path, did_you_mean(split, known))
        if split == "train":
            doing = "chosen and calibrated" if field == "fit_split" else "scored"
            yield fault(tree, "E707", f"the split that is trained on would also be {doing}", path, "name another split")
    if "train" not in known:
        hint = "name the split that is learnt from 'train'"
        yield fault(tree, "E706", "the data set has no split 'train'", ("dataset", "splits"), hint, at_key=True)
    if evaluation.fit_split == evaluation.score_split != "train":
        message = f"'{evaluation.score_split}' would be fitted on (checkpoint, calibration, thresholds) and scored"
        written = [tree.at(("evaluation", field)) for field in ("fit_split", "score_split")]
        newest = [node for node in written if node is not None and node.mark.source.path == tree.mark.source.path]
        field = "score_split" if newest and newest[0] is not written[0] else "fit_split"
        yield fault(tree, "E705", message, ("evaluation", field), "fit on validation, score on test")


def metric(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """The metric that chooses the checkpoint is one that is computed."""
    if OVERALL in experiment.heads:  # a fault of its own, above
        return
    known = metrics(experiment)
    name = experiment.training.best_metric
    if name not in known:
        yield fault(
            tree,
            "E708",
            f"'{name}' is not a metric of this run",
            ("training", "best_metric"),
            did_you_mean(name, known),
        )


def warmup(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """R-Drop that never starts is a mistake."""
    training = experiment.training
    if training.r_drop is not None and training.r_drop.warmup_epochs >= training.epochs:
        message = f"R-Drop waits for {training.r_drop.warmup_epochs:.10g} epochs, and there are {training.epochs}"
        yield fault(
            tree, "E710", message, ("training", "r_drop", "warmup_epochs"), "shorten the warm-up, or set r_drop: null"
        )


def thresholds(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """A grid runs upwards."""
    grid = experiment.evaluation.thresholds
    if grid.kind == "grid" and grid.low >= grid.high:
        yield fault(
            tree,
            "E712",
            f"the grid runs from {grid.low} to {grid.high}",
            ("evaluation", "thresholds", "low"),
            "low is less than high",
        )


RULES: tuple[Callable[[EncoderExperiment, Node], Iterator[Diagnostic]], ...] = (
    boosts,
    class_weights,
    labels,
    head_norms,
    splits,
    metric,
    warmup,
    thresholds,
    adapter_rules.targets,
    adapter_rules.saved,
)
