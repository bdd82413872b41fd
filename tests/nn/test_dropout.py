"""Dropout whose masks are drawn in words: what it keeps, what it passes back, and when it is torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hsdc_runtime.nn.dropout import Dropout, dropout_by_words


def layer(p: float = 0.1) -> nn.Dropout:
    module = nn.Sequential(nn.Dropout(p))
    dropout_by_words(module)
    assert type(module[0]) is Dropout
    return module[0]


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_values_are_dropped_as_often_as_they_should_be_and_independently(p: float) -> None:
    torch.manual_seed(5)
    count = 400_001  # no multiple of four
    kept = (layer(p)(torch.ones(count)) != 0).double()
    deviation = (p * (1 - p) / count) ** 0.5
    assert abs(float(kept.mean()) - (1 - p)) < 4 * deviation
    for apart in (1, 2, 3, 4):  # of one word, and of two
        together = float((kept[apart:] * kept[:-apart]).mean())
        assert abs(together - (1 - p) ** 2) < 4 * ((1 - p) ** 2 / count) ** 0.5


def test_what_is_kept_is_scaled_and_its_gradient_too() -> None:
    torch.manual_seed(6)
    values = torch.randn(7, 33, requires_grad=True)
    made = layer(0.25)(values)
    kept = made != 0
    assert 0 < int(kept.sum()) < kept.numel()
    torch.testing.assert_close(made[kept], values[kept] / 0.75)
    (gradient,) = torch.autograd.grad(made, values, torch.full_like(made, 3.0))
    assert torch.equal(gradient, torch.where(kept, 4.0, 0.0))


def test_the_generator_alone_decides() -> None:
    values, dropout = torch.randn(5, 9), layer()
    torch.manual_seed(1)
    first, second = dropout(values), dropout(values)
    torch.manual_seed(1)
    assert torch.equal(dropout(values), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_everything_dropped_and_evaluation_are_torch_s(p: float) -> None:
    values = torch.randn(4, 4)
    assert torch.equal(layer(p)(values), values * (1 - p))
    assert torch.equal(layer(0.5).eval()(values), values)


def test_other_types_stay_what_they_are() -> None:
    values = torch.ones(64, dtype=torch.bfloat16, requires_grad=True)
    made = layer(0.5)(values)
    assert made.dtype is torch.bfloat16
    assert set(made.tolist()) == {0.0, 2.0}
