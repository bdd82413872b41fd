"""An encoder with heads as what learns: its losses over a step, and what is clipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.checkpoint import restore_trained, trained_weights, weights_of
from hsdc_runtime.nn.group import ALONE, Group
from hsdc_runtime.nn.losses import HeadLoss, step_loss
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import clip_gradients
from hsdc_runtime.nn.sampling import MASKED, micro_batches
from hsdc_runtime.nn.step import Portion, Share
from hsdc_schemas.encoder import Training


@dataclass(frozen=True, eq=False)
class EncoderLearner:
    """The classifier with its losses, and the data that it learns from.

    All of it is trained, or where its encoder is `adapted` what that leaves to be trained.
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
    adapted: bool = False

    @property
    def module(self) -> Classifier:
        """The classifier."""
        return self.classifier

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads whose losses add up to the loss."""
        return tuple(self.losses)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of the losses."""
        return next(self.classifier.parameters()).dtype

    def portion(self, rows: np.ndarray, epoch: int) -> Portion:
        """Micro-batches of rows of similar length; every head's loss is over its labelled rows in the whole step."""
        lengths, alpha = self.data.lengths, r_drop_alpha(self.training, epoch)
        copies = 1 if alpha is None else 2
        labelled = {name: int((self.data.targets[name][rows] != MASKED).sum()) for name in self.losses}
        batches = micro_batches(rows, lengths, self.training.tokens_per_micro_batch, copies)
        padded = sum(len(part) * int(lengths[part].max()) for part in batches) * copies
        backward = partial(self._backward, labelled=labelled, alpha=alpha)
        return Portion(batches, backward, int(lengths[rows].sum()) * copies, padded)

    def _backward(self, part: np.ndarray, *, labelled: Mapping[str, int], alpha: float | None) -> Share:
        data, device = self.data, self.accelerator.device
        tokens, mask = data.pad(part, self.pad_id, 1 if alpha is None else 2)
        targets = {name: torch.from_numpy(data.targets[name][part]).to(device) for name in self.losses}
        with self.accelerator.autocast():
            logits = self.classifier(tokens.to(device), mask.to(device))
        share = step_loss(logits, targets, self.losses, labelled, alpha)
        self.accelerator.backward(share.total)
        return Share(share.rows, torch.stack([share.heads[name] for name in self.losses]))

    def clip(self) -> dict[str, float]:
        """The norms of all gradients, or of each head that has a limit of its own and of everything else."""
        return clip_gradients(self.classifier, self.training)

    def weights(self) -> dict[str, Tensor]:
        """All weights; of an adapted encoder those that are trained."""
        return trained_weights(self.classifier) if self.adapted else weights_of(self.classifier)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what `weights` gave; ValueError where it is of another adapter."""
        if self.adapted:
            restore_trained(self.classifier, weights)
        else:
            self.classifier.load_state_dict(dict(weights))


def r_drop_alpha(training: Training, epoch: int) -> float | None:
    """Weight of R-Drop's divergence in an epoch counted from 0, or None where it is off."""
    if training.r_drop is None or epoch < training.r_drop.warmup_epochs:
        return None
    return training.r_drop.alpha
