"""A training killed one evaluation, or one step, before something that it remembers matters: it still matters then."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hsdc_runtime.nn import loop
from hsdc_runtime.nn.checkpoint import Snapshot, tensor_digests
from hsdc_runtime.nn.encoder_training import train
from hsdc_runtime.nn.loop import Progress, Trained
from hsdc_schemas.encoder import EarlyStopping, JointOversampling, RDrop, Schedule
from hsdc_schemas.spec import Execution

FORK = multiprocessing.get_context("fork")
PER_EPOCH = 3
METRICS = (0.4, 0.9, 0.5, 0.6, 0.3, 0.2)  # best in epoch 2; with patience 3, epoch 5 is the last


class Case:
    """A training of three steps an epoch, saved after every step, whose evaluations give what is written above."""

    def __init__(self, make: SimpleNamespace, folder: Path) -> None:
        self.make, self.folder = make, folder
        self.seen: list[Progress] = []

    def run(self, evaluated: int = 0, observe: Callable[[Progress], None] | None = None) -> Trained:
        """`evaluated` says how many evaluations are over."""
        left = iter(METRICS[evaluated:])

        def score(logits: dict[str, np.ndarray]) -> dict[str, float | None]:
            return {"overall.accuracy": next(left)}

        return train(
            self.make.classifier(dropout=0.2),
            self.make.rows(24, masked=0.1),
            self.make.rows(8, seed=1),
            heads=self.make.heads(),
            sampling=JointOversampling(kind="joint_oversampling"),
            training=self.make.training(
                epochs=len(METRICS),
                r_drop=RDrop(alpha=0.5, warmup_epochs=2),
                schedule=Schedule(kind="cosine", warmup_ratio=0.2),
                early_stopping=EarlyStopping(patience=3),
            ),
            execution=Execution(checkpoint_seconds=0),
            pad_id=0,
            score=score,
            checkpoints=self.folder,
            observe=observe or self.seen.append,
            stop=lambda: False,
        )

    def run_until_killed(self, step: int, *, after_evaluation: bool) -> None:
        """In a process that is killed as soon as it has said that this step is taken, or that it is evaluated."""

        def observe(progress: Progress) -> None:
            if progress.step == step and (progress.metric is not None) == after_evaluation:
                os.kill(os.getpid(), signal.SIGKILL)

        process = FORK.Process(target=self.run, kwargs={"observe": observe})
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(make: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, list[Progress]]:
    case = Case(make, tmp_path_factory.mktemp("whole"))
    return case.run(), case.seen


def summary(trained: Trained) -> tuple[Any, ...]:
    return (tensor_digests(trained.weights)[1], trained.best_epoch, trained.best_metric, trained.counts)


def forget(field: str, value: Any) -> Callable[[Path], Snapshot | None]:
    """Checkpoints that are read without something that was written."""
    load = loop.load_checkpoint

    def forgetful(folder: Path) -> Snapshot | None:
        found = load(folder)
        return found and replace(found, state={**found.state, field: value})

    return forgetful


CASES = {  # what is remembered: the step, whether its evaluation is over, what to forget, and what comes next
    "early stopping": (4 * PER_EPOCH, True, ("waited", 0), 4 * PER_EPOCH + 1),
    "best metric": (2 * PER_EPOCH, True, ("best_metric", None), 2 * PER_EPOCH + 1),
    "schedule": (PER_EPOCH, True, ("done", 0), PER_EPOCH + 1),
    "position of the sampler": (PER_EPOCH + 2, False, ("step", 0), PER_EPOCH + 2),
    "warm-up of R-Drop": (2 * PER_EPOCH, False, ("epoch", 0), 2 * PER_EPOCH),
}


@pytest.mark.parametrize("memory", CASES)
@pytest.mark.parametrize("forgetful", [False, True], ids=["kept", "forgotten"])
def test_what_is_remembered_survives_a_kill(
    make: SimpleNamespace,
    tmp_path: Path,
    whole: tuple[Trained, list[Progress]],
    monkeypatch: pytest.MonkeyPatch,
    memory: str,
    forgetful: bool,
) -> None:
    at, evaluated, fault, following = CASES[memory]
    case = Case(make, tmp_path)
    case.run_until_killed(at, after_evaluation=evaluated)
    if forgetful:  # so the test sees what it is there to see
        monkeypatch.setattr(loop, "load_checkpoint", forget(*fault))
    done = at // PER_EPOCH if evaluated else (at - 1) // PER_EPOCH
    trained: Any = None
    try:
        trained = case.run(evaluated=done)
    except StopIteration:  # it went on for longer than there are evaluations
        assert forgetful
    same = trained is not None and summary(trained) == summary(whole[0]) and case.seen == rest(whole[1], following)
    assert same != forgetful


def rest(seen: list[Progress], following: int) -> list[Progress]:
    """What an uninterrupted training says from a step on: no more than that one step is taken again."""
    return [progress for progress in seen if progress.step >= following]


def test_the_uninterrupted_one_is_as_it_was_planned(whole: tuple[Trained, list[Progress]]) -> None:
    """Each memory matters where the cases say so."""
    trained, seen = whole
    assert (trained.best_epoch, trained.counts["epochs_run"], trained.counts["stopped_early"]) == (2, 5, True)
    taken = {progress.step: progress for progress in seen if progress.metric is None}
    padded = [taken[step].padded_tokens - taken[step - 1].padded_tokens for step in range(2, 5 * PER_EPOCH + 1)]
    assert min(padded[2 * PER_EPOCH - 1 :]) > 1.3 * max(padded[: 2 * PER_EPOCH - 1]), "R-Drop takes two copies"
    assert len({round(progress.learning_rate, 12) for progress in taken.values()}) > 3 * PER_EPOCH
