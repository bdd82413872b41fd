"""Linear layers whose float32 products on a CPU are oneDNN's.

torch multiplies float32 matrices on an x86 CPU with MKL, which leaves the wide vectors of processors that are not
Intel's unused: measured on an AMD EPYC of 2024, oneDNN, which is in the same torch, takes half the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALL = 2**16
"""Weights of a layer below which there is nothing to win: oneDNN compiles itself anew for every shape it meets."""


def products_by_onednn(module: nn.Module) -> None:
    """Make every linear layer but the small ones such a layer, its parameters untouched; none where torch lacks it."""
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        for layer in module.modules():
            if type(layer) is nn.Linear and layer.weight.numel() >= SMALL:
                layer.__class__ = Linear


class Linear(nn.Linear):
    """torch's linear layer; float32 on a CPU goes by oneDNN, anything else as ever."""

    def forward(self, values: Tensor) -> Tensor:
        """[…, outputs] from [..., inputs]."""
        own = values.dtype == self.weight.dtype == torch.float32 and values.device.type == self.weight.device.type
        if own and values.device.type == "cpu" and values.numel() and not torch.is_autocast_enabled("cpu"):
            return _Products.apply(values, self.weight, self.bias)
        return F.linear(values, self.weight, self.bias)


class _Products(torch.autograd.Function):
    """x Wᵀ + b and its gradients, each product by oneDNN."""

    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        context.save_for_backward(values, weight)
        return _times(values, weight, bias)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight = context.saved_tensors
        above = gradients[0].reshape(-1, weight.shape[0])
        to_values, to_weight, to_bias = context.needs_input_grad
        return (
            _times(above, weight.t()).view(values.shape) if to_values else None,
            _times(above.t(), values.reshape(-1, weight.shape[1]).t()) if to_weight else None,
            above.sum(dim=0) if to_bias else None,
        )


def _times(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """values [..., K] times weight [N, K] transposed, plus bias [N]."""
    return torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
