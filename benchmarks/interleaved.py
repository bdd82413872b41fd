"""hsdc's real run and the padded way, step by step in turn in one process, over the same rows."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
from torch import nn

from benchmarks.counts import Both, Work, steps
from benchmarks.padded import PaddedWay
from hsdc_runtime.events import Event, StageProgress, StageStarted
from hsdc_runtime.inputs import verify_inputs
from hsdc_runtime.nn import encoder_training, loop
from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.encoder_learner import r_drop_alpha
from hsdc_runtime.nn.model import Classifier, initialise, load_encoder
from hsdc_runtime.nn.tensors import load_rows
from hsdc_runtime.run import run
from hsdc_runtime.store import Store
from hsdc_runtime.work import Interrupted
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.spec import Limits

WARM_UP = 1
"""Steps of each way that are taken first and not counted."""


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of this process, all threads."""

    user: float
    system: float

    @classmethod
    def now(cls) -> Cpu:
        """What it has used so far."""
        used = getrusage(RUSAGE_SELF)
        return cls(used.ru_utime, used.ru_stime)

    def __sub__(self, before: Cpu) -> Cpu:
        return Cpu(self.user - before.user, self.system - before.system)

    @property
    def total(self) -> float:
        """User and system together."""
        return self.user + self.system


@dataclass(frozen=True)
class Prepared:
    """What the stage `prepare` made of a manifest's data, and where its model is."""

    manifest: Manifest
    train: Rows
    validation: Rows
    pad_id: int
    model: Path

    def classifier(self, *, recompute: bool = False) -> Classifier:
        """The classifier as the stage `train` makes it; `recompute` is gradient checkpointing."""
        experiment = self.manifest.experiment
        encoder = load_encoder(self.model, self.manifest.execution.attention)
        classes = {name: len(head.labels) for name, head in experiment.heads.items()}
        classifier = Classifier(encoder, experiment.encoder, experiment.head, classes, recompute=recompute)
        initialise(classifier, experiment.training.seed)
        return classifier


@dataclass(frozen=True)
class Measured:
    """CPU time of each measured step in both ways, the work in them, and what the data are."""

    prepared: Prepared
    padded: list[Cpu]
    ours: list[Cpu]
    work: Both

    def times_less(self, *, user_alone: bool = False) -> float:
        """CPU time of all measured steps in the padded way, divided by hsdc's."""
        theirs, ours = (sum(c.user if user_alone else c.total for c in way) for way in (self.padded, self.ours))
        return theirs / ours


def interleave(root: Path, manifest: Manifest, wanted: int) -> Measured:
    """Run a manifest until `wanted` measured steps are taken in both ways, then stop it. Only the first epoch."""
    watcher = _Watcher(root, manifest, wanted + WARM_UP)
    with suppress(Interrupted):
        run(root, manifest, observe=watcher, stop=watcher.enough, allow_environment=True)
    prepared = watcher.prepared
    if prepared is None:
        raise RuntimeError(f"{manifest.run} was stopped before it trained")
    return Measured(prepared, watcher.padded[WARM_UP:], watcher.ours[WARM_UP:], watcher.work())


@dataclass
class _Watcher:
    """Sees a run's events; after each of its steps it takes the same step in the padded way."""

    root: Path
    manifest: Manifest
    wanted: int
    prepared: Prepared | None = None
    padded: list[Cpu] = field(default_factory=list)
    ours: list[Cpu] = field(default_factory=list)
    padded_tokens: list[int] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    mark: Cpu = field(default_factory=Cpu.now)

    def enough(self) -> bool:
        """Whether every wanted step is taken."""
        return len(self.ours) >= self.wanted

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == "train":
            self.prepared = prepared(self.root, self.manifest)
            experiment = self.manifest.experiment
            classifier = self.prepared.classifier()
            self.way = PaddedWay(classifier, self.prepared.train, self.prepared.pad_id, experiment)
            self.planned = steps(self.prepared.train, experiment, 0)
            self.alpha = r_drop_alpha(experiment.training, 0)
        elif isinstance(event, StageProgress) and event.stage == "train" and not self.enough():
            self.ours.append(Cpu.now() - self.mark)
            self.figures.append(event.figures)
            self._padded_step(event)
        self.mark = Cpu.now()

    def _padded_step(self, event: StageProgress) -> None:
        rows: np.ndarray = self.planned[event.done - 1]
        start = Cpu.now()
        step = self.way.step(rows, self.alpha, event.done - 1, event.total)
        self.padded.append(Cpu.now() - start)
        self.padded_tokens.append(step.padded_tokens)
        self.passes.append(step.passes)
        took = f"padded {self.padded[-1].total:.2f} CPU s, hsdc {self.ours[-1].total:.2f}"
        print(f"  {event.run} step {event.done}: {took}", file=sys.stderr, flush=True)

    def work(self) -> Both:
        """The work of the measured steps, as both ways counted it while they worked; hsdc counts no passes."""
        first, last = self.figures[WARM_UP - 1], self.figures[-1]
        rows, real, ours = (last[name] - first[name] for name in ("rows", "real_tokens", "padded_tokens"))
        padded = Work(rows, real, sum(self.padded_tokens[WARM_UP:]), sum(self.passes[WARM_UP:]))
        return Both(padded, Work(rows, real, ours, 0))


def prepared(root: Path, manifest: Manifest) -> Prepared:
    """What the stage `prepare` of a manifest left in the store."""
    store, experiment = Store(root), manifest.experiment
    key = next(stage.key for stage in manifest.stages if stage.name == "prepare")
    action = store.action(key)
    if action is None:
        raise RuntimeError(f"{manifest.run} is not prepared")
    file = store.take(action.outputs["rows"].object)
    train, pad_id = load_rows(file, "train", experiment.heads)
    validation, _ = load_rows(file, experiment.evaluation.fit_split, experiment.heads)
    return Prepared(manifest, train, validation, pad_id, verify_inputs(manifest, root).model)


def losses_without_dropout(prepared: Prepared, checkpoints: Path, wanted: int) -> list[tuple[float, float]]:
    """Losses of the first steps, (padded way, hsdc), each way updating weights of its own; all dropout is off.

    The first step is at rate 0 and the second at the full one, so that the third tells whether the gradients agree.
    """
    experiment, execution = prepared.manifest.experiment, prepared.manifest.execution
    ours, theirs = (without_dropout(prepared.classifier()) for _ in range(2))
    way = PaddedWay(theirs, prepared.train, prepared.pad_id, experiment)
    planned, alpha = steps(prepared.train, experiment, 0), r_drop_alpha(experiment.training, 0)
    pairs: list[tuple[float, float]] = []

    def observe(at: loop.Progress) -> None:
        pairs.append((way.step(planned[at.step - 1], alpha, at.step - 1, at.steps).loss, at.loss))

    with suppress(loop.Interrupted):
        encoder_training.train(
            ours,
            prepared.train,
            prepared.validation,
            heads=experiment.heads,
            sampling=experiment.sampling,
            training=experiment.training,
            execution=execution.model_copy(update={"limits": Limits(steps=wanted + 1)}),
            pad_id=prepared.pad_id,
            score=lambda logits: {},
            checkpoints=checkpoints,
            observe=observe,
            stop=lambda: len(pairs) >= wanted,
        )
    return pairs


def without_dropout(classifier: Classifier) -> Classifier:
    """The same classifier, its dropout switched off."""
    for module in classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return classifier
