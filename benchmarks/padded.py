"""The other way to take the same optimizer step: batches as they come, padded to the longest length allowed.

This is how the campaign's notebooks train: a loader of 16 rows in the sampler's order, every text padded to
max_length, two forward passes of the model for R-Drop, gradients accumulated over 3 batches. Everything that is not
the way of batching is hsdc's own: model, heads, pooling, losses, optimizer, order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.losses import HeadLoss, head_losses, step_loss
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import adamw, clip_gradients, learning_rate_factor, set_learning_rate
from hsdc_runtime.nn.sampling import MASKED
from hsdc_schemas.spec import Experiment

BATCH = 16


@dataclass(frozen=True)
class PaddedStep:
    """What one step was: its loss, its tokens with padding, its forward passes."""

    loss: float
    padded_tokens: int
    passes: int


class PaddedWay:
    """A learner that pads; the classifier must be initialised."""

    def __init__(self, classifier: Classifier, data: Rows, pad_id: int, experiment: Experiment) -> None:
        self.classifier, self.data, self.pad_id = classifier, data, pad_id
        self.training = experiment.training
        self.length = experiment.encoder.max_length
        self.losses: dict[str, HeadLoss] = head_losses(experiment.heads, data.targets)
        self.optimizer = adamw(classifier, experiment.training)
        classifier.train()

    def step(self, rows: np.ndarray, alpha: float | None, done: int, total: int) -> PaddedStep:
        """One optimizer step over some rows; `alpha` is R-Drop's weight or None, `done` counts steps from 0.

        A loss is averaged over the labelled rows of the whole step, as hsdc does it, so that both ways are one work.
        """
        labelled = {name: int((self.data.targets[name][rows] != MASKED).sum()) for name in self.losses}
        set_learning_rate(self.optimizer, learning_rate_factor(self.training.schedule, done, total))
        self.optimizer.zero_grad(set_to_none=True)
        loss, tokens, passes = 0.0, 0, 0
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            ids, mask = self._pad(part)
            outputs = [self.classifier(ids, mask) for _ in range(1 if alpha is None else 2)]
            logits = {name: torch.cat([output[name] for output in outputs]) for name in self.losses}
            targets = {name: torch.from_numpy(self.data.targets[name][part]) for name in self.losses}
            share = step_loss(logits, targets, self.losses, labelled, alpha)
            share.total.backward()  # type: ignore[no-untyped-call]
            loss += float(share.total.detach())
            tokens += ids.numel() * len(outputs)
            passes += len(outputs)
        clip_gradients(self.classifier, self.training)
        self.optimizer.step()
        return PaddedStep(loss, tokens, passes)

    def _pad(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Tokens and their mask, int64 [rows, max_length]."""
        tokens = np.full((len(rows), self.length), self.pad_id, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for at, row in enumerate(rows.tolist()):
            own = self.data.tokens[self.data.offsets[row] : self.data.offsets[row + 1]]
            tokens[at, : len(own)], mask[at, : len(own)] = own, 1
        return torch.from_numpy(tokens), torch.from_numpy(mask)
