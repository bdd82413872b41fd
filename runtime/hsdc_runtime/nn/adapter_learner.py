"""An adapter on a causal language model as what learns: the answers' tokens, and nothing else, make its loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F

from hsdc_runtime.nn.checkpoint import restore_trained, trained, trained_weights
from hsdc_runtime.nn.examples import SHARED, Batch, Examples, packed, packs, padded
from hsdc_runtime.nn.group import ALONE, Group
from hsdc_runtime.nn.optimizer import clip
from hsdc_runtime.nn.sampling import micro_batches
from hsdc_runtime.nn.step import Portion, Share
from hsdc_schemas.finetuning import AdapterTraining


@dataclass(frozen=True, eq=False)
class AdapterLearner:
    """The adapted model, and the examples that it learns from; only the adapter's parameters are trained."""

    model: PeftModel
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    data: Examples
    pad_id: int
    training: AdapterTraining
    group: Group = ALONE
    elastic: bool = False
    heads: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32

    @property
    def module(self) -> PeftModel:
        """The adapted model."""
        return self.model

    def portion(self, rows: np.ndarray, epoch: int) -> Portion:
        """The loss of a row is the sum over its answer's tokens, divided by their number in the whole step.

        So it does not matter how the step is cut into micro-batches.
        """
        batches = self._cut(self.data, rows)
        real, supervised = int(self.data.lengths[rows].sum()), int(self.data.supervised[rows].sum())
        shape = [self._shape(part) for part in batches]
        backward = partial(self._backward, supervised=supervised)
        return Portion(batches, backward, real, sum(lines * longest for lines, longest in shape))

    def _cut(self, examples: Examples, rows: np.ndarray) -> list[np.ndarray]:
        budget = self.training.tokens_per_micro_batch
        if self.training.packing:
            return packs(rows, examples.own, budget, examples.shared)
        return micro_batches(rows, examples.lengths, budget)

    def _shape(self, rows: np.ndarray) -> tuple[int, int]:
        """Lines and columns of a micro-batch."""
        if self.training.packing:
            return 1, self.data.shared + int(self.data.own[rows].sum())
        return len(rows), int(self.data.lengths[rows].max())

    def _backward(self, part: np.ndarray, *, supervised: int) -> Share:
        losses = self._losses(self.data, part) / supervised
        self.accelerator.backward(losses.sum())
        return Share(losses.detach(), losses.new_zeros(0))

    def _losses(self, examples: Examples, rows: np.ndarray) -> Tensor:
        """The sum over each row's supervised tokens of their cross-entropies, float32 [N]."""
        batch = packed(examples, rows) if self.training.packing else padded(examples, rows, self.pad_id)
        device = self.accelerator.device
        with self.accelerator.autocast():
            logits = self.model(
                input_ids=batch.tokens.to(device),
                attention_mask=attention(batch, self.model.dtype).to(device),
                position_ids=batch.positions.to(device),
                use_cache=False,
                logits_to_keep=batch.keep.to(device),
            ).logits
        line, number = batch.at.to(device).unbind(1)
        told = F.cross_entropy(logits[line, number].float(), batch.targets.to(device), reduction="none")
        ends = np.cumsum(examples.supervised[rows])[:-1].tolist()
        return torch.stack([values.sum() for values in told.tensor_split(ends)])

    def evaluate(self, examples: Examples) -> dict[str, float | None]:
        """The mean cross-entropy of all supervised tokens, without dropout."""
        self.model.eval()
        total = 0.0
        try:
            with torch.inference_mode():
                for part in self._cut(examples, np.arange(len(examples))):
                    total += float(self._losses(examples, part).double().sum())
        finally:
            self.model.train()
        return {"loss": total / int(examples.supervised.sum())}

    def clip(self) -> dict[str, float]:
        """The norm of all gradients, which are scaled to the training's limit."""
        return {"global": clip(trained(self.model).values(), self.training.max_grad_norm)}

    def weights(self) -> dict[str, Tensor]:
        """What is trained; the model's own weights stay what they are."""
        return trained_weights(self.model)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Put back what is trained; ValueError where it is of another adapter."""
        restore_trained(self.model, weights)


def attention(batch: Batch, dtype: torch.dtype) -> Tensor:
    """What a batch's tokens see: a mask of tokens [B, T], or where rows are packed what is added to the scores.

    Packed, it is [1, 1, T, T]: 0 where a token sees another, of its row or of all and not behind it, else -infinity.
    """
    if not batch.packed:
        return batch.mask
    row, position = batch.mask[0], batch.positions[0]
    seen = ((row[:, None] == row) | (row == SHARED)) & (position[:, None] >= position)
    return torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, -torch.inf)[None, None]
