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
from hsdc_runtime.nn.losses import HeadLoss, step_loss
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
    """What an optimizer step needs: the model with its losses, and the data that it learns from."""

    classifier: Classifier
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    losses: Mapping[str, HeadLoss]
    data: Rows
    pad_id: int
    training: Training


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
    training, data, device = learner.training, learner.data, learner.accelerator.device
    alpha = r_drop_alpha(training, epoch)
    copies = 1 if alpha is None else 2
    labelled = {name: int((data.targets[name][rows] != MASKED).sum()) for name in learner.losses}
    parts = micro_batches(rows, data.lengths, training.tokens_per_micro_batch, copies)
    padded, by_row, by_head = 0, [], []
    learner.optimizer.zero_grad(set_to_none=True)
    for index, part in enumerate(parts):
        torch.manual_seed(derive_seed(training.seed, "micro", epoch, step, index))
        tokens, mask = data.pad(part, learner.pad_id, copies)
        targets = {name: torch.from_numpy(data.targets[name][part]).to(device) for name in learner.losses}
        with learner.accelerator.autocast():
            logits = learner.classifier(tokens.to(device), mask.to(device))
        share = step_loss(logits, targets, learner.losses, labelled, alpha)
        learner.accelerator.backward(share.total)
        by_row.append(share.rows)
        by_head.append(torch.stack([share.heads[name] for name in learner.losses]))
        padded += tokens.numel()
    loss = _finite_loss(by_row, parts, data, epoch, number)
    norms = clip_gradients(learner.classifier, training)
    if not all(map(isfinite, norms.values())):
        raise NonFiniteLoss(epoch + 1, number, _names(data, rows), "gradient")
    learner.optimizer.step()
    heads = dict(zip(learner.losses, torch.stack(by_head).sum(dim=0).tolist(), strict=True))
    return Step(loss, heads, norms, len(rows), int(data.lengths[rows].sum()) * copies, padded)


def r_drop_alpha(training: Training, epoch: int) -> float | None:
    """Weight of R-Drop's divergence in an epoch counted from 0, or None where it is off."""
    if training.r_drop is None or epoch < training.r_drop.warmup_epochs:
        return None
    return training.r_drop.alpha


def _finite_loss(by_row: list[Tensor], parts: list[np.ndarray], data: Rows, epoch: int, number: int) -> float:
    """The step's loss; asked once a step, because each question waits for the device."""
    rows = torch.cat(by_row)
    loss = float(rows.sum())
    if not isfinite(loss):
        order = np.concatenate(parts)
        spoilt = ~torch.isfinite(rows).cpu().numpy()
        raise NonFiniteLoss(epoch + 1, number, _names(data, order[spoilt] if spoilt.any() else order))
    return loss


def _names(data: Rows, rows: np.ndarray) -> tuple[str, ...]:
    return tuple(data.ids[row] for row in dict.fromkeys(rows.tolist()))
