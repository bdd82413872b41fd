"""`python -m benchmarks.trainer.child ROOT JSON FILE`: what is done in a process of its own; it answers in a file."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import nn

from benchmarks.counts import Both, Work, count, steps
from benchmarks.interleaved import Cpu, Prepared, prepared, without_dropout
from benchmarks.trainer.library import Batches, train_with_the_library
from benchmarks.trainer.way import BATCH, Way
from hsdc.api import load_manifest
from hsdc_runtime.environment import peak_memory
from hsdc_runtime.events import Event, StageStarted
from hsdc_runtime.nn import encoder_training, loop
from hsdc_runtime.nn.products import Linear
from hsdc_runtime.run import run
from hsdc_runtime.work import Interrupted
from hsdc_schemas.manifest import Manifest

RUN = "run4"


@dataclass
class Steps:
    """What is seen at the end of each step; the time of a step is that since the one before."""

    losses: list[float] = field(default_factory=list)
    marks: list[Cpu] = field(default_factory=list)
    padded_tokens: list[int] = field(default_factory=list)
    peak: int = 0

    def end(self, loss: float, padded_tokens: int) -> None:
        """Note a step that has ended, with all its padded tokens so far."""
        self.losses.append(loss)
        self.marks.append(Cpu.now())
        self.peak = peak_memory()
        self.padded_tokens.append(padded_tokens)

    def answer(self) -> dict[str, Any]:
        """As `Taken` reads it."""
        apart = [after - before for before, after in pairwise(self.marks)]
        return {
            "losses": self.losses,
            "seconds": [(cpu.user, cpu.system) for cpu in apart],
            "padded_tokens": [after - before for before, after in pairwise(self.padded_tokens)],
            "peak": self.peak,
        }


def main() -> None:
    """Do what is asked."""
    torch.set_num_threads(1)
    root, asked, answer = Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
    manifest = load_manifest(RUN, root, asked["profile"])
    if "way" in asked:
        found = _take(prepared(root, manifest), Way(**asked["way"]), asked["steps"] + 1, root)
    else:
        found = _prepare(root, manifest)
    answer.write_text(json.dumps(found), "utf-8")


def _prepare(root: Path, manifest: Manifest) -> dict[str, Any]:
    """Run the stages before `train`; the work of the first epoch by each kind of padding."""
    seen: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, StageStarted):
            seen.append(event.stage)

    with suppress(Interrupted):
        run(root, manifest, observe=observe, stop=lambda: "train" in seen, allow_environment=True)
    made = prepared(root, manifest)
    planned = steps(made.train, manifest.experiment, 0)
    both: Both = count(made.train, planned, manifest.experiment, 1)
    longest = sum(
        len(part) * int(made.train.lengths[part].max())
        for rows in planned
        for part in (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    )
    work = Work(both.padded.rows, both.padded.real_tokens, longest, both.padded.passes)
    counts = {"limit": both.padded, "longest": work, "length": both.ours}
    return {"steps": len(planned), **{padded: asdict(one) for padded, one in counts.items()}}


def _take(made: Prepared, way: Way, wanted: int, root: Path) -> dict[str, Any]:
    classifier = made.classifier(recompute=way.checkpointing)
    if not way.dropout:
        without_dropout(classifier)
    if way.by == "Trainer" or not way.own_products:
        for module in classifier.modules():
            if isinstance(module, Linear):
                module.__class__ = nn.Linear
    seen = Steps()
    if way.by == "hsdc":
        _train(classifier, made, way, wanted, Path(mkdtemp(dir=root)), seen)
    else:
        experiment, limit = made.manifest.experiment, made.manifest.execution.limits.epochs
        planned = steps(made.train, experiment, 0)
        total = len(planned) * min(experiment.training.epochs, limit or experiment.training.epochs)
        longest = None if way.padded == "longest" else experiment.encoder.max_length
        batches = Batches(made.train, made.pad_id, planned[:wanted], longest)
        train_with_the_library(classifier, batches, experiment, total, root / "library", seen.end)
    return seen.answer()


def _train(classifier: Any, made: Prepared, way: Way, wanted: int, checkpoints: Path, seen: Steps) -> None:
    def observe(at: loop.Progress) -> None:
        seen.end(at.loss, at.padded_tokens)
        if way.alternate:
            torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled())

    experiment = made.manifest.experiment
    with suppress(loop.Interrupted):
        encoder_training.train(
            classifier,
            made.train,
            made.validation,
            heads=experiment.heads,
            sampling=experiment.sampling,
            training=experiment.training,
            execution=made.manifest.execution,
            pad_id=made.pad_id,
            score=lambda logits: {},
            checkpoints=checkpoints,
            observe=observe,
            stop=lambda: len(seen.losses) >= wanted,
        )


if __name__ == "__main__":
    main()
