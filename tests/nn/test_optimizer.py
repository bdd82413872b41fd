from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import adamw, clip_gradients, learning_rate_factor, parameter_groups
from hsdc_schemas.encoder import Encoder, HeadShape, Optimizer, Schedule


@pytest.mark.parametrize("pooling", ["cls", "attention"])
def test_every_parameter_is_in_exactly_one_group(make: SimpleNamespace, pooling: str) -> None:
    model = make.classifier(pooling=pooling, layers=3)
    groups = parameter_groups(model, make.training(layer_decay=0.8, head_multiplier=10.0))
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in model.parameters()}
    assert len({group["name"] for group in groups}) == len(groups)


SMALL = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}
KINDS = ["albert", "bert", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_of_every_architecture_is_in_exactly_one_group(make: SimpleNamespace, kind: str) -> None:
    names = {"num_hidden_layers": 3, "max_position_embeddings": 32, "pad_token_id": 0, **SMALL}
    if kind == "albert":  # one set of weights for all its layers
        names["embedding_size"] = 16
    encoder = AutoModel.from_config(AutoConfig.for_model(kind, **names))
    model = Classifier(encoder, Encoder(pooling="attention", max_length=32), HeadShape(layers=2, hidden=8), {"x": 2})
    decay = 1.0 if kind == "albert" else 0.5
    groups = parameter_groups(model, make.training(learning_rate=1e-3, layer_decay=decay, head_multiplier=4.0))
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in model.parameters()}
    if kind != "albert":
        rates = {group["name"].partition(".")[0]: group["lr"] for group in groups}
        expected = {"embeddings": 1.25e-4, "layer_0": 2.5e-4, "layer_1": 5e-4, "layer_2": 1e-3, "encoder_rest": 1e-3}
        expected |= {"heads": 4e-3, "pooling": 4e-3}
        assert rates == pytest.approx({name: expected[name] for name in rates})
        assert {"embeddings", "layer_0", "layer_1", "layer_2", "heads", "pooling"} <= set(rates)


def test_rates_and_decay_of_every_parameter(make: SimpleNamespace) -> None:
    model = make.classifier(pooling="attention", layers=3)
    rule = Optimizer(kind="adamw", weight_decay=0.05)
    groups = parameter_groups(
        model, make.training(learning_rate=1e-3, layer_decay=0.5, head_multiplier=4.0, optimizer=rule)
    )
    of = {id(parameter): group for group in groups for parameter in group["params"]}
    rates = {"embeddings": 1.25e-4, "layer.0": 2.5e-4, "layer.1": 5e-4, "layer.2": 1e-3, "head_": 4e-3, "pooling": 4e-3}
    for name, parameter in model.named_parameters():
        group = of[id(parameter)]
        [expected] = [rate for part, rate in rates.items() if part in name]
        assert group["lr"] == group["initial_lr"] == pytest.approx(expected), name
        assert group["weight_decay"] == (0.0 if "bias" in name or "LayerNorm" in name else 0.05), name
    assert {group["name"] for group in groups} >= {
        "embeddings.decay",
        "layer_2.no_decay",
        "heads.decay",
        "pooling.decay",
    }


def test_layer_decay_needs_layers_that_can_be_told_apart(make: SimpleNamespace) -> None:
    model = make.classifier()
    model.encoder.config.num_hidden_layers = 9
    assert {group["lr"] for group in parameter_groups(model, make.training())} == {3e-3}
    with pytest.raises(ValueError, match="BertModel cannot be told apart"):
        parameter_groups(model, make.training(layer_decay=0.9))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.33])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_learning_rates_are_those_of_transformers(kind: str, ratio: float) -> None:
    total = 47
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    maker = get_linear_schedule_with_warmup if kind == "linear" else get_cosine_schedule_with_warmup
    schedule = maker(optimizer, math.ceil(total * ratio), total)
    for step in range(total + 1):
        found = learning_rate_factor(Schedule(kind=kind, warmup_ratio=ratio), step, total)
        assert found == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(0.0, abs=1e-12)


def spoil_gradients(model: Any) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    model.encoder.embeddings.token_type_embeddings.weight.grad = None
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def check_scaled(model: Any, before: dict[str, torch.Tensor], part: list[str], limit: float | None) -> float:
    """Norm of a part before, by hand; its gradients must now have the norm that the limit leaves."""
    norm = math.sqrt(sum(float(before[name].double().pow(2).sum()) for name in part))
    scale = 1.0 if limit is None else min(1.0, limit / norm)
    for name in part:
        torch.testing.assert_close(model.get_parameter(name).grad, before[name] * scale, rtol=1e-4, atol=1e-8)
    return norm


@pytest.mark.parametrize("limit", [None, 0.5, 1e6])
def test_one_norm_over_everything(make: SimpleNamespace, limit: float | None) -> None:
    model = make.classifier()
    before = spoil_gradients(model)
    norms = clip_gradients(model, make.training(max_grad_norm=limit))
    assert norms == {"global": pytest.approx(check_scaled(model, before, list(before), limit), rel=1e-5)}


def test_a_norm_for_each_head_and_one_for_the_rest(make: SimpleNamespace) -> None:
    model = make.classifier()
    before = spoil_gradients(model)
    own = [name for name in before if name.startswith("head_type.")]
    rest = [name for name in before if name not in own]
    norms = clip_gradients(model, make.training(max_grad_norm=1.0, head_max_grad_norm={"type": 0.25}))
    assert set(norms) == {"type", "encoder"}
    assert norms["type"] == pytest.approx(check_scaled(model, before, own, 0.25), rel=1e-5)
    assert norms["encoder"] == pytest.approx(check_scaled(model, before, rest, 1.0), rel=1e-5)


def test_the_optimizer_is_adamw_written_out(make: SimpleNamespace) -> None:
    model = make.classifier()
    rule = Optimizer(kind="adamw", weight_decay=0.1, beta1=0.8, beta2=0.95, epsilon=1e-6)
    optimizer = adamw(model, make.training(learning_rate=1e-2, optimizer=rule))
    weight = model.head_type[1].weight
    value, first, second = weight.detach().double().clone(), 0.0, 0.0
    for step in (1, 2, 3):
        before = spoil_gradients(model)["head_type.1.weight"].double()
        optimizer.step()
        first, second = 0.8 * first + 0.2 * before, 0.95 * second + 0.05 * before**2
        ratio = (first / (1 - 0.8**step)) / ((second / (1 - 0.95**step)).sqrt() + 1e-6)
        value = value * (1 - 1e-2 * 0.1) - 1e-2 * ratio
    torch.testing.assert_close(weight.detach().double(), value, rtol=1e-5, atol=1e-6)
