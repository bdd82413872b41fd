"""One optimizer step: its micro-batches, the gradients they add up to, the clipping and the update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hsdc_runtime.nn.group import Gradients, Group
from hsdc_runtime.nn.randomness import derive_seed
from hsdc_schemas.encoder import Training
from hsdc_schemas.finetuning import AdapterTraining


class NonFiniteLoss(ArithmeticError):  # noqa: N818 - named for what it tells
    """The loss or its gradient is NaN or infinite; epoch and step count from 1, `rows` are the ids of the rows."""

    def __init__(self, epoch: int, step: int, rows: tuple[str, ...], what: str = "loss") -> None:
        self.epoch, self.step, self.rows, self.what = epoch, step, rows, what
        super().__init__(f"the {what} is not finite at step {step} (epoch {epoch}), rows {', '.join(rows)}")


@dataclass(frozen=True, eq=False)
class Share:
    """A micro-batch's share of its step's loss, detached: each row's [N], and that of each of the learner's heads."""

    rows: Tensor
    heads: Tensor


@dataclass(frozen=True, eq=False)
class Portion:
    """What a step computes: its micro-batches, and the function that takes one of them forward and back.

    The function adds to the parameters' gradients. Tokens count every copy of a row, and padded ones include the real.
    """

    batches: list[np.ndarray]
    backward: Callable[[np.ndarray], Share]
    real_tokens: int
    padded_tokens: int


class Named(Protocol):
    """Rows that have names."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Their names, in their order."""


class Learner(Protocol):
    """What learns: a module of which some parameters are trained, the loss of rows, and who shares the work.

    With `elastic`, gradients are added up micro-batch by micro-batch; without, process by process.
    """

    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    training: Training | AdapterTraining
    group: Group
    elastic: bool

    @property
    def module(self) -> nn.Module:
        """The module that computes the loss."""

    @property
    def data(self) -> Named:
        """The rows that are learnt from."""

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the parts that the loss is also shown in."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the losses."""

    def portion(self, rows: np.ndarray, epoch: int) -> Portion:
        """How the rows of a step are learnt, in an epoch counted from 0."""

    def clip(self) -> dict[str, float]:
        """Scale gradients in place as the training says; the norms before, by part."""

    def weights(self) -> dict[str, Tensor]:
        """A copy of what is trained, on the CPU, by name."""

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what `weights` gave."""


@dataclass(frozen=True)
class Step:
    """One step's figures; tokens count every copy of a row, and padded tokens include the real ones."""

    loss: float
    head_losses: dict[str, float]
    gradient_norms: dict[str, float]
    rows: int
    real_tokens: int
    padded_tokens: int


def take_step(learner: Learner, rows: np.ndarray, epoch: int, step: int, number: int) -> Step:
    """Learn from the rows of one step; epoch and step (within it) count from 0, `number` counts all steps from 1.

    The learning rate must be set. NonFiniteLoss is raised before anything is updated.
    """
    group, portion = learner.group, learner.portion(rows, epoch)
    parts = portion.batches
    gradients = Gradients(learner.module.parameters(), group)
    kind = {"dtype": learner.dtype, "device": learner.accelerator.device}
    by_row = [torch.zeros(len(part), **kind) for part in parts]
    by_head = torch.zeros(len(parts), len(learner.heads), **kind)
    learner.optimizer.zero_grad(set_to_none=True)
    for turn in range(0, len(parts), group.size):  # in a turn each process takes one micro-batch, as many as there are
        index, taken = turn + group.rank, min(group.size, len(parts) - turn)
        if index < len(parts):
            torch.manual_seed(derive_seed(learner.training.seed, "micro", epoch, step, index))
            share = portion.backward(parts[index])
            by_row[index], by_head[index] = share.rows, share.heads
        if learner.elastic:
            gradients.add(taken)
    if not learner.elastic:
        gradients.add(min(group.size, len(parts)))
    gradients.put()
    loss = _finite_loss(group.united(torch.cat(by_row)), parts, learner.data, epoch, number)
    norms = learner.clip()
    if not all(map(isfinite, norms.values())):
        raise NonFiniteLoss(epoch + 1, number, _names(learner.data, rows), "gradient")
    learner.optimizer.step()
    heads = dict(zip(learner.heads, group.united(by_head).sum(dim=0).tolist(), strict=True))
    return Step(loss, heads, norms, len(rows), portion.real_tokens, portion.padded_tokens)


def _finite_loss(rows: Tensor, parts: list[np.ndarray], data: Named, epoch: int, number: int) -> float:
    """The step's loss; asked once a step, because each question waits for the device."""
    loss = float(rows.sum())
    if not isfinite(loss):
        order = np.concatenate(parts)
        spoilt = ~torch.isfinite(rows).cpu().numpy()
        raise NonFiniteLoss(epoch + 1, number, _names(data, order[spoilt] if spoilt.any() else order))
    return loss


def _names(data: Named, rows: np.ndarray) -> tuple[str, ...]:
    return tuple(data.ids[row] for row in dict.fromkeys(rows.tolist()))
