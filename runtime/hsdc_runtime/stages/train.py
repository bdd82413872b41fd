"""Stage train: from pretrained weights and prepared rows to the weights of the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from hsdc_runtime.nn.acceleration import require_device
from hsdc_runtime.nn.checkpoint import tensor_digests
from hsdc_runtime.nn.decisions import decide
from hsdc_runtime.nn.encoder_training import train as learn
from hsdc_runtime.nn.group import Group, forsake, joined
from hsdc_runtime.nn.loop import Progress, Trained
from hsdc_runtime.nn.model import Classifier, initialise
from hsdc_runtime.nn.pretrained import pretrained_classifier
from hsdc_runtime.nn.reporting import Counter, told
from hsdc_runtime.nn.tensors import MASKED, load_rows
from hsdc_runtime.work import Made, Work
from hsdc_runtime.workers import Workers
from hsdc_schemas.adapters import adapter_of
from hsdc_schemas.digests import canonical
from hsdc_schemas.encoder import Encoder, Head, HeadShape, JointOversampling, Shuffle, Training
from hsdc_schemas.scores import Confusion, figure, known_metrics, parse_metric
from hsdc_schemas.spec import Execution
from hsdc_schemas.stages import typed


def train(work: Work) -> Made:
    """Train on split `train`, choose the epoch on the fit split, write its weights and the history."""
    with Workers("train", work, forsake) as workers:
        counter = Counter(work)
        trained = _learn(work, Group(0, workers.size), workers, counter)
    return _made(work, trained, counter.rates())


def join(work: Work, rank: int, met: Callable[[], None]) -> None:
    """Train as one of the other processes, which writes nothing."""
    _learn(work, Group(rank, work.execution["processes"]), _Leader(met, work.watch.doing), lambda progress: None)


@dataclass(frozen=True)
class _Leader:
    """What a worker knows of the others: `met` says that it has read its inputs, `doing` what it does."""

    met: Callable[[], None]
    doing: Callable[[str], None]

    def blame(self) -> None:
        """Whoever leads knows who died."""


def _learn(work: Work, group: Group, others: Workers | _Leader, observe: Callable[[Progress], None]) -> Trained:
    """Train with a group, once everybody has read the inputs."""
    experiment, execution = work.experiment, typed(Execution, work.execution)
    require_device(execution)
    heads = {name: typed(Head, head) for name, head in experiment["heads"].items()}
    training = typed(Training, experiment["training"])
    fit = experiment["evaluation"]["fit_split"]
    work.watch.doing("reading the prepared rows")
    rows, pad_id = load_rows(work.needs["prepare"]["rows"].path, "train", heads)
    validation, _ = load_rows(work.needs["prepare"]["rows"].path, fit, heads)
    work.watch.doing("reading the model")
    classifier = _classifier(work, heads)
    initialise(classifier, training.seed)
    sampling = experiment["sampling"]
    work.watch.doing("waiting for the other processes to start")
    others.met()
    with told(), joined(group, execution.device, work.folder / "meeting", others.blame):
        return learn(
            classifier,
            rows,
            validation,
            heads=heads,
            sampling=typed(JointOversampling if sampling["kind"] == "joint_oversampling" else Shuffle, sampling),
            training=training,
            execution=execution,
            pad_id=pad_id,
            score=_scorer(heads, validation.targets),
            checkpoints=work.checkpoints,
            observe=observe,
            stop=work.stop,
            doing=others.doing,
            group=group,
            lora=adapter_of(work.experiment),
        )


def _classifier(work: Work, heads: Mapping[str, Head]) -> Classifier:
    experiment = work.experiment
    execution = typed(Execution, work.execution)
    shape, encoder = typed(HeadShape, experiment["head"]), typed(Encoder, experiment["encoder"])
    classes = {name: len(head.labels) for name, head in heads.items()}
    recompute = execution.gradient_checkpointing
    return pretrained_classifier(work.inputs.model, execution, encoder, shape, classes, recompute=recompute)


def _scorer(
    heads: Mapping[str, Head], targets: Mapping[str, np.ndarray]
) -> Callable[[dict[str, np.ndarray]], Mapping[str, float | None]]:
    metrics = [parse_metric(name) for name in known_metrics({name: head.labels for name, head in heads.items()})]

    def score(logits: dict[str, np.ndarray]) -> Mapping[str, float | None]:
        confusions = {
            name: Confusion.of(
                head.labels, [None if t == MASKED else t for t in targets[name].tolist()], decide(logits[name]).tolist()
            )
            for name, head in heads.items()
        }
        return {str(metric): figure(metric, confusions).value for metric in metrics}

    return score


def _made(work: Work, trained: Trained, rates: dict[str, float]) -> Made:
    files: dict[str, Path] = {
        "weights": work.folder / "weights.safetensors",
        "tensors": work.folder / "tensors.json",
        "history": work.folder / "history.json",
    }
    if (lora := adapter_of(work.experiment)) is not None:
        from hsdc_runtime.nn.adapted_encoder import encoder_config

        files["config"], model = work.folder / "config.json", work.experiment["model"]
        files["config"].write_bytes(encoder_config(lora, trained.weights, model["source"], model["revision"]))
    tensors, root = tensor_digests(trained.weights)
    # One key of metadata: several are written in an order of their own, which would change the file's bytes.
    save_file(trained.weights, files["weights"], metadata={"train": work.keys["train"]})
    files["tensors"].write_bytes(canonical(tensors) + b"\n")
    files["history"].write_bytes(canonical(trained.history) + b"\n")
    facts = {
        **trained.counts,
        **rates,
        "best_epoch": trained.best_epoch,
        "best_metric": trained.best_metric,
        "parameters": sum(tensor.numel() for tensor in trained.weights.values()),
    }
    return Made(files, facts, {"weights": root})
