"""Linear layers by oneDNN against torch's own."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hsdc_runtime.nn import products
from hsdc_runtime.nn.products import Linear, products_by_onednn

needed = pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="torch is built without oneDNN")


@pytest.fixture(autouse=True)
def no_layer_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALL", 0)


def layer(*, bias: bool = True) -> nn.Linear:
    torch.manual_seed(3)
    made = nn.Linear(48, 20, bias=bias)
    products_by_onednn(made)
    return made


@needed
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 1), (7, 3), (2, 9, 4)])
def test_output_and_gradients_are_those_in_float64(shape: tuple[int, ...], bias: bool) -> None:
    mine = layer(bias=bias)
    assert type(mine) is Linear
    generator = torch.Generator().manual_seed(sum(shape))
    values = torch.randn(*shape, 48, generator=generator).transpose(0, -2).requires_grad_()
    above = torch.randn(*values.shape[:-1], 20, generator=generator)
    exact = [parameter.detach().double().requires_grad_() for parameter in (values, *mine.parameters())]
    out, expected = mine(values), F.linear(*exact)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    found = torch.autograd.grad(out, [values, *mine.parameters()], above)
    for gradient, other in zip(found, torch.autograd.grad(expected, exact, above.double()), strict=True):
        torch.testing.assert_close(gradient.double(), other, rtol=1e-5, atol=1e-5)


@needed
def test_equal_work_gives_equal_bits_wherever_it_lies() -> None:
    mine, values = layer(), torch.randn(37, 48)
    first = mine(values)
    memory = torch.empty(37 * 48 + 9)
    for start in range(9):
        elsewhere = memory[start : start + 37 * 48].view(37, 48).copy_(values)
        assert torch.equal(mine(elsewhere), first)


@needed
def test_frozen_weights_cost_no_gradient_and_still_pass_one_on() -> None:
    mine, values = layer().requires_grad_(False), torch.randn(4, 48, requires_grad=True)
    mine(values).sum().backward()
    assert mine.weight.grad is None
    torch.testing.assert_close(values.grad, mine.weight.sum(dim=0).expand(4, 48))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_go_as_ever(dtype: torch.dtype) -> None:
    mine, values = layer().to(dtype), torch.randn(6, 48, dtype=dtype)
    assert torch.equal(mine(values), F.linear(values, mine.weight, mine.bias))


def test_autocast_goes_as_ever() -> None:
    mine, values = layer(), torch.randn(6, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mine(values)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, F.linear(values.bfloat16(), mine.weight.bfloat16(), mine.bias.bfloat16()))
    assert mine(torch.empty(0, 48)).shape == (0, 20)


@needed
def test_a_classifier_is_made_of_them_and_keeps_its_names(make: SimpleNamespace) -> None:
    model = make.classifier()
    kinds = {type(module) for module in model.modules() if isinstance(module, nn.Linear)}
    assert kinds == {Linear}
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, Linear):
            module.__class__ = nn.Linear
    assert list(plain.state_dict()) == list(model.state_dict())
    tokens, mask = make.rows(6).pad(torch.arange(6).numpy(), 0)
    for name, logits in model(tokens, mask).items():
        torch.testing.assert_close(logits, plain(tokens, mask)[name], rtol=1e-4, atol=1e-5)


def test_small_layers_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SMALL", 48 * 20 + 1)
    assert type(layer()) is nn.Linear
