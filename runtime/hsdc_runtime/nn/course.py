"""The course of a training: what learns, from which rows in which steps, and what identifies it to its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.group import Group
from hsdc_runtime.nn.losses import head_losses
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import adamw
from hsdc_runtime.nn.sampling import epoch_order, joint_weights, steps_of
from hsdc_runtime.nn.state import State
from hsdc_runtime.nn.step import Learner
from hsdc_schemas.digests import digest_bytes, digest_json
from hsdc_schemas.encoder import Head, JointOversampling, Shuffle, Training
from hsdc_schemas.spec import Execution
from hsdc_schemas.stages import for_keys


@dataclass(frozen=True, eq=False)
class Course:
    """One training: the learner, what it is validated on, its plan of steps, and where its checkpoints are."""

    learner: Learner
    validation: Rows
    row_weights: np.ndarray | None
    bfloat16: bool
    per_epoch: int
    total: int
    identity: str
    checkpoints: Path
    checkpoint_seconds: float

    def finished(self, state: State) -> bool:
        """Whether nothing is left to do."""
        return state.stopped_early or state.done >= self.total

    def steps(self, epoch: int) -> list[np.ndarray]:
        """Rows of each step of an epoch counted from 0."""
        training = self.learner.training
        order = epoch_order(len(self.learner.data), self.row_weights, training.seed, epoch)
        return steps_of(order, training.rows_per_step)[: self.total - epoch * self.per_epoch]


def course(
    classifier: Classifier,
    data: Rows,
    validation: Rows,
    heads: Mapping[str, Head],
    sampling: Shuffle | JointOversampling,
    training: Training,
    execution: Execution,
    pad_id: int,
    checkpoints: Path,
    group: Group,
) -> Course:
    """The course that a training takes; ValueError without rows, RuntimeError where the device is not here."""
    if not len(data):
        raise ValueError("there are no rows to train on")
    accelerator = accelerator_for(execution)
    classifier.to(accelerator.device)
    losses = head_losses(heads, data.targets, accelerator.device)
    optimizer = adamw(classifier, training)
    learner = Learner(
        classifier, optimizer, accelerator, losses, data, pad_id, training, group, elastic=execution.elastic
    )
    per_epoch = ceil(len(data) / training.rows_per_step)
    total = per_epoch * min(training.epochs, execution.limits.epochs or training.epochs)
    specs = [part.model_dump(mode="json") for part in (training, sampling, *(heads[n] for n in sorted(heads)))]
    specs.append(for_keys(execution.model_dump(mode="json")))
    return Course(
        learner=learner,
        validation=validation,
        row_weights=joint_weights(data.targets, heads, sampling) if isinstance(sampling, JointOversampling) else None,
        bfloat16=execution.precision == "bfloat16",
        per_epoch=per_epoch,
        total=min(total, execution.limits.steps or total),
        identity=digest_json([specs, sorted(heads), pad_id, _identity(data), _identity(validation)]),
        checkpoints=checkpoints,
        checkpoint_seconds=execution.checkpoint_seconds,
    )


def _identity(rows: Rows) -> list[Any]:
    arrays = [rows.tokens, rows.offsets, *(rows.targets[name] for name in sorted(rows.targets))]
    return [list(rows.ids), [digest_bytes(array.tobytes()) for array in arrays]]
