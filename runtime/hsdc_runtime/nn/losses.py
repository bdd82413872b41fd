"""Losses by row, and their sum as one micro-batch's share of an optimizer step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsdc_runtime.nn.model import at_least_float32
from hsdc_runtime.nn.sampling import MASKED
from hsdc_schemas.encoder import BalancedWeights, FocalLoss, Head


@dataclass(frozen=True, eq=False)
class HeadLoss:
    """How one head's loss is taken: task weight, focal exponent, smoothing, and class weights [K]."""

    weight: float
    gamma: float
    label_smoothing: float
    class_weights: Tensor


@dataclass(frozen=True, eq=False)
class StepLoss:
    """A micro-batch's share of the step's loss.

    `total` is the scalar to differentiate; `rows` [N] are each row's part of it and `heads` each head's mean row
    loss before its task weight and without the divergence, both detached.
    """

    total: Tensor
    rows: Tensor
    heads: dict[str, Tensor]


def focal_loss(
    logits: Tensor, targets: Tensor, *, gamma: float, label_smoothing: float, class_weights: Tensor
) -> Tensor:
    """Loss of each row [N] from logits [N, K] and targets [N]; 0 where the target is masked (-100).

    Class-weighted, label-smoothed cross-entropy, as torch defines it, times (1 - p of the target) ** gamma
    (Lin et al. 2017). Half precision is raised to float32.
    """
    known = targets != MASKED
    chosen = targets.where(known, 0).unsqueeze(1)
    weights = class_weights.to(logits.device)
    log_p = at_least_float32(logits).log_softmax(dim=1)
    target_log_p = log_p.gather(1, chosen).squeeze(1)
    loss = -(1 - label_smoothing) * (weights[chosen.squeeze(1)] * target_log_p)
    if label_smoothing:
        loss = loss - label_smoothing / log_p.shape[1] * (log_p * weights).sum(dim=1)
    if gamma:
        # The floor keeps the slope of the power finite at p = 1, where the loss itself is 0.
        miss = (-torch.expm1(target_log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
        loss = loss * miss**gamma
    return loss.where(known, 0.0)


def balanced_weights(targets: np.ndarray, classes: int, multipliers: Mapping[int, float], cap: float) -> Tensor:
    """Class weights, float32 [K]: labelled rows / (K × rows of the class) × multiplier by class number, capped.

    A class without rows gets the cap: it is as rare as can be, and no row meets its weight unless labels are smoothed.
    """
    counts = np.bincount(targets[targets != MASKED], minlength=classes)
    weights = [
        min(cap, counts.sum() / (classes * count) * multipliers.get(index, 1.0)) if count else cap
        for index, count in enumerate(counts.tolist())
    ]
    return torch.tensor(weights, dtype=torch.float32)


def head_losses(
    heads: Mapping[str, Head], targets: Mapping[str, np.ndarray], device: str | torch.device = "cpu"
) -> dict[str, HeadLoss]:
    """The loss of every head; balanced weights count the training targets as they are, before any oversampling."""
    return {name: _head_loss(heads[name], targets[name], device) for name in sorted(heads)}


def _head_loss(head: Head, targets: np.ndarray, device: str | torch.device) -> HeadLoss:
    classes = len(head.labels)
    weights = torch.ones(classes)
    if isinstance(head.class_weights, BalancedWeights):
        multipliers = {head.labels.index(label): value for label, value in head.class_weights.multipliers.items()}
        weights = balanced_weights(targets, classes, multipliers, head.class_weights.cap)
    gamma = head.loss.gamma if isinstance(head.loss, FocalLoss) else 0.0
    return HeadLoss(head.weight, gamma, head.loss.label_smoothing, weights.to(device))


def symmetric_kl(a: Tensor, b: Tensor) -> Tensor:
    """(KL(p‖q) + KL(q‖p)) / 2 of each row [N], for the distributions p and q of logits a and b [N, K]."""
    log_p, log_q = at_least_float32(a).log_softmax(dim=1), at_least_float32(b).log_softmax(dim=1)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(dim=1) / 2


def step_loss(
    logits: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    losses: Mapping[str, HeadLoss],
    labelled: Mapping[str, int],
    r_drop_alpha: float | None = None,
) -> StepLoss:
    """The share of one micro-batch of N rows in its step's loss; the shares of a step add up to the undivided loss.

    Every head adds weight × (sum of row losses / its labelled rows in the whole step). With `r_drop_alpha` the logits
    are [2N, K], two dropout passes of the same rows one after the other: a row's loss is the mean of both, plus
    alpha times their symmetric divergence where the row is labelled (R-Drop, Liang et al. 2021).
    """
    by_row: list[Tensor] = []
    by_head: dict[str, Tensor] = {}
    for name, loss in losses.items():
        target, share = targets[name], 1.0 / max(1, labelled[name])
        halves = logits[name].chunk(2) if r_drop_alpha is not None else (logits[name],)
        row = torch.stack([_row_losses(half, target, loss) for half in halves]).mean(dim=0)
        by_head[name] = (row.sum() * share).detach()
        if r_drop_alpha is not None:
            row = row + r_drop_alpha * symmetric_kl(*halves).where(target != MASKED, 0.0)
        by_row.append(row * (loss.weight * share))
    rows = torch.stack(by_row).sum(dim=0)
    return StepLoss(rows.sum(), rows.detach(), by_head)


def _row_losses(logits: Tensor, targets: Tensor, loss: HeadLoss) -> Tensor:
    return focal_loss(
        logits,
        targets,
        gamma=loss.gamma,
        label_smoothing=loss.label_smoothing,
        class_weights=loss.class_weights,
    )
