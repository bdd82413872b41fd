"""How far two versions of one tensor are apart."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

CHUNK = 1 << 22  # elements that are widened to float64 at a time


def largest_difference(old: Path, new: Path, name: str) -> float | None:
    """The largest absolute difference between the tensors of that name in two safetensors files.

    None where one has no such tensor or another shape, or where an element is not a number on one side alone.
    """
    with safe_open(old, "pt") as before, safe_open(new, "pt") as after:
        if name not in before.keys() or name not in after.keys():  # noqa: SIM118 - it is no dict
            return None
        a, b = before.get_tensor(name), after.get_tensor(name)
    if a.shape != b.shape:
        return None
    largest = 0.0
    for left, right in zip(a.reshape(-1).split(CHUNK), b.reshape(-1).split(CHUNK), strict=True):
        x, y = left.to(torch.float64), right.to(torch.float64)
        same = (x == y) | (x.isnan() & y.isnan())
        apart = (x - y).abs().masked_fill(same, 0.0)
        if apart.isnan().any():
            return None
        largest = max(largest, apart.max().item() if apart.numel() else 0.0)
    return largest
