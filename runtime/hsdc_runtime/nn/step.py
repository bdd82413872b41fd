"""One optimizer step: its micro-batches, the gradients they add up to, the clipping and the update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.group import ALONE, Gradients, Group
from hsdc_runtime.nn.losses import HeadLoss, StepLoss, step_loss
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import clip_gradients
from hsdc_runtime.nn.randomness import derive_seed
from hsdc_runtime.nn.sampling import MASKED, micro_batches
from hsdc_schemas.encoder import Training


class NonFiniteLoss(ArithmeticError):  # noqa: N818 - named for what it tells
    """The loss or its gradient is NaN or infinite; epoch and step count from 1, `rows` are the ids of the rows."""

    def __init__(self, epoch: int, step: int, rows: tuple[str, ...], what: str = "loss") -> None:
        self.epoch, self.step, self.rows, self.what = epoch, step, rows, what
        super().__init__(f"the {what} is not finite at step {step} (epoch {epoch}), rows {', '.join(rows)}")


@dataclass(frozen=True, eq=False)
class Learner:
    """What an optimizer step needs: the model with its losses, the data that it learns from, and who shares the work.

    With `elastic`, gradients are added up micro-batch by micro-batch; without, process by process.
    """

    classifier: Classifier
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    losses: Mapping[str, HeadLoss]
    data: Rows
    pad_id: int
    training: Training
    group: Group = ALONE
    elastic: bool = False


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
    training, data, group, device = learner.training, learner.data, learner.group, learner.accelerator.device
    alpha = r_drop_alpha(training, epoch)
    copies = 1 if alpha is None else 2
    labelled = {name: int((data.targets[name][rows] != MASKED).sum()) for name in learner.losses}
    gradients = Gradients(learner.classifier.parameters(), group)
    parts = micro_batches(rows, data.lengths, training.tokens_per_micro_batch, copies)
    kind = {"dtype": next(learner.classifier.parameters()).dtype, "device": device}
    by_row = [torch.zeros(len(part), **kind) for part in parts]
    by_head = torch.zeros(len(parts), len(learner.losses), **kind)
    learner.optimizer.zero_grad(set_to_none=True)
    for turn in range(0, len(parts), group.size):  # in a turn each process takes one micro-batch, as many as there are
        index, taken = turn + group.rank, min(group.size, len(parts) - turn)
        if index < len(parts):
            torch.manual_seed(derive_seed(training.seed, "micro", epoch, step, index))
            share = _backward(learner, parts[index], labelled, alpha)
            by_row[index], by_head[index] = share.rows, torch.stack([share.heads[name] for name in learner.losses])
        if learner.elastic:
            gradients.add(taken)
    if not learner.elastic:
        gradients.add(min(group.size, len(parts)))
    gradients.put()
    loss = _finite_loss(group.united(torch.cat(by_row)), parts, data, epoch, number)
    norms = clip_gradients(learner.classifier, training)
    if not all(map(isfinite, norms.values())):
        raise NonFiniteLoss(epoch + 1, number, _names(data, rows), "gradient")
    learner.optimizer.step()
    heads = dict(zip(learner.losses, group.united(by_head).sum(dim=0).tolist(), strict=True))
    padded = sum(len(part) * int(data.lengths[part].max()) for part in parts) * copies
    return Step(loss, heads, norms, len(rows), int(data.lengths[rows].sum()) * copies, padded)


def r_drop_alpha(training: Training, epoch: int) -> float | None:
    """Weight of R-Drop's divergence in an epoch counted from 0, or None where it is off."""
    if training.r_drop is None or epoch < training.r_drop.warmup_epochs:
        return None
    return training.r_drop.alpha


def _backward(learner: Learner, part: np.ndarray, labelled: Mapping[str, int], alpha: float | None) -> StepLoss:
    """One micro-batch forward and back: its gradients are added to those of the parameters."""
    data, device = learner.data, learner.accelerator.device
    tokens, mask = data.pad(part, learner.pad_id, 1 if alpha is None else 2)
    targets = {name: torch.from_numpy(data.targets[name][part]).to(device) for name in learner.losses}
    with learner.accelerator.autocast():
        logits = learner.classifier(tokens.to(device), mask.to(device))
    share = step_loss(logits, targets, learner.losses, labelled, alpha)
    learner.accelerator.backward(share.total)
    return share


def _finite_loss(rows: Tensor, parts: list[np.ndarray], data: Rows, epoch: int, number: int) -> float:
    """The step's loss; asked once a step, because each question waits for the device."""
    loss = float(rows.sum())
    if not isfinite(loss):
        order = np.concatenate(parts)
        spoilt = ~torch.isfinite(rows).cpu().numpy()
        raise NonFiniteLoss(epoch + 1, number, _names(data, order[spoilt] if spoilt.any() else order))
    return loss


def _names(data: Rows, rows: np.ndarray) -> tuple[str, ...]:
    return tuple(data.ids[row] for row in dict.fromkeys(rows.tolist()))
