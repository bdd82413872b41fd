"""The course of a training: what learns, from which rows in which steps, and what identifies it to its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from hsdc_runtime.nn.sampling import steps_of
from hsdc_runtime.nn.state import State
from hsdc_runtime.nn.step import Learner
from hsdc_schemas.encoder import Training
from hsdc_schemas.finetuning import AdapterTraining
from hsdc_schemas.spec import Execution

Metrics = Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class Course:
    """One training: the learner, what it is judged by, its plan of steps, and where its checkpoints are.

    `evaluate` gives the metrics of the weights as they are, of which `metric` chooses the best epoch: the largest, or
    with `least` the smallest. `order` gives the rows of an epoch counted from 0.
    """

    learner: Learner
    evaluate: Callable[[], Metrics]
    metric: str
    order: Callable[[int], np.ndarray]
    per_epoch: int
    total: int
    identity: str
    checkpoints: Path
    checkpoint_seconds: float
    least: bool = False

    def finished(self, state: State) -> bool:
        """Whether nothing is left to do."""
        return state.stopped_early or state.done >= self.total

    def steps(self, epoch: int) -> list[np.ndarray]:
        """Rows of each step of an epoch counted from 0."""
        steps = steps_of(self.order(epoch), self.learner.training.rows_per_step)
        return steps[: self.total - epoch * self.per_epoch]

    def better(self, metric: float | None, than: float | None) -> bool:
        """Whether a metric is a new best one; one that is undefined never is."""
        if metric is None or than is None:
            return metric is not None
        return metric < than if self.least else metric > than


def step_counts(rows: int, training: Training | AdapterTraining, execution: Execution) -> tuple[int, int]:
    """Optimizer steps of an epoch, and of the whole training under the limits; ValueError without rows."""
    if not rows:
        raise ValueError("there are no rows to train on")
    per_epoch = ceil(rows / training.rows_per_step)
    total = per_epoch * min(training.epochs, execution.limits.epochs or training.epochs)
    return per_epoch, min(total, execution.limits.steps or total)
