"""Dropout whose masks, on a CPU, are drawn four values at a time.

torch draws a number of the generator for every value, which takes a tenth of the training of an adapter: each of its
modules drops values of its own. Here a number of 64 bits decides about four values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PARTS = 2**16
"""Steps that a probability is rounded to."""


def dropout_by_words(module: nn.Module) -> None:
    """Make every dropout in a module such a layer."""
    for layer in module.modules():
        if type(layer) is nn.Dropout:
            layer.__class__ = Dropout


class Dropout(nn.Dropout):
    """torch's dropout; on a CPU with a mask of torch's generator that is drawn in fewer numbers."""

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape: each is 0 with probability `p`, else scaled so that the mean stays."""
        least = round(self.p * PARTS)
        if not self.training or values.device.type != "cpu" or not 0 < least < PARTS:
            return F.dropout(values, self.p, self.training)
        return _Dropped.apply(values, least)


class _Dropped(torch.autograd.Function):
    """What is kept is scaled by the inverse of the probability with which it is."""

    @staticmethod
    def forward(context: Any, values: Tensor, least: int) -> Tensor:
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = (words.view(torch.int16)[: values.numel()] >= least - PARTS // 2).view(values.shape)
        context.scale = PARTS / (PARTS - least)
        context.save_for_backward(kept)
        return (values * kept).mul_(context.scale)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = context.saved_tensors
        return (gradients[0] * kept).mul_(context.scale), None
