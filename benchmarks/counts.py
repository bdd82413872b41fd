"""Exact counts of an epoch's work in both ways, from the plan of its steps; nothing is computed."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from benchmarks.padded import BATCH
from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.sampling import epoch_order, joint_weights, micro_batches, steps_of
from hsdc_schemas.encoder import JointOversampling
from hsdc_schemas.spec import Experiment


@dataclass(frozen=True)
class Work:
    """Rows, tokens (every copy of a row counts; padded ones include the real ones) and forward passes."""

    rows: int
    real_tokens: int
    padded_tokens: int
    passes: int

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Both:
    """The same rows in the padded way and in hsdc's."""

    padded: Work
    ours: Work

    def __add__(self, other: Both) -> Both:
        return Both(self.padded + other.padded, self.ours + other.ours)

    @property
    def fewer(self) -> float:
        """How many times fewer padded tokens hsdc's way has."""
        return self.padded.padded_tokens / self.ours.padded_tokens


def steps(data: Rows, experiment: Experiment, epoch: int) -> list[np.ndarray]:
    """The rows of every optimizer step of an epoch counted from 0."""
    sampling, training = experiment.sampling, experiment.training
    weights = None
    if isinstance(sampling, JointOversampling):
        weights = joint_weights(data.targets, experiment.heads, sampling)
    return steps_of(epoch_order(len(data), weights, training.seed, epoch), training.rows_per_step)


def count(data: Rows, planned: list[np.ndarray], experiment: Experiment, copies: int) -> Both:
    """The work of some steps, each row `copies` times."""
    budget, longest = experiment.training.tokens_per_micro_batch, experiment.encoder.max_length
    parts = [part for rows in planned for part in micro_batches(rows, data.lengths, budget, copies)]
    rows = sum(map(len, planned))
    real = sum(int(data.lengths[step].sum()) for step in planned) * copies
    passes = sum(-(-len(step) // BATCH) for step in planned) * copies
    ours = sum(len(part) * int(data.lengths[part].max()) for part in parts) * copies
    return Both(Work(rows, real, rows * longest * copies, passes), Work(rows, real, ours, len(parts)))


def count_validation(data: Rows, experiment: Experiment) -> Both:
    """One pass over validation rows."""
    budget, longest = experiment.training.tokens_per_micro_batch, experiment.encoder.max_length
    parts = micro_batches(np.arange(len(data)), data.lengths, budget)
    real, ours = int(data.lengths.sum()), sum(len(part) * int(data.lengths[part].max()) for part in parts)
    padded = Work(len(data), real, len(data) * longest, -(-len(data) // BATCH))
    return Both(padded, Work(len(data), real, ours, len(parts)))
