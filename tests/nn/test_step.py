"""One optimizer step: how it is cut changes nothing, and R-Drop's one pass is two passes."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.encoder_learner import EncoderLearner as Learner
from hsdc_runtime.nn.losses import head_losses, step_loss, symmetric_kl
from hsdc_runtime.nn.optimizer import adamw
from hsdc_runtime.nn.randomness import derive_seed
from hsdc_runtime.nn.sampling import micro_batches
from hsdc_runtime.nn.step import NonFiniteLoss, take_step
from hsdc_schemas.encoder import RDrop
from hsdc_schemas.spec import Execution


def learner(make: SimpleNamespace, model: Any, data: Any, heads: Any, **training: Any) -> Learner:
    spec = make.training(**training)
    accelerator = accelerator_for(Execution())
    return Learner(model, adamw(model, spec), accelerator, head_losses(heads, data.targets), data, 0, spec)


@pytest.mark.parametrize("alpha", [None, 0.8])
def test_the_cut_into_micro_batches_changes_no_gradient(
    make: SimpleNamespace, alpha: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, gradients, losses, cuts = make.rows(24, masked=0.3), [], [], []
    rows = np.random.default_rng(1).integers(0, 24, 20)
    copies = 1 if alpha is None else 2
    for budget in (20, 64, 150, 10**6):
        if budget == 10**6:  # the step undivided
            monkeypatch.setattr("hsdc_runtime.nn.sampling.micro_batch_cost", lambda budget: 10**6)
        model = make.classifier(pooling="attention").double().train()
        drop = None if alpha is None else RDrop(alpha=alpha)
        one = learner(make, model, data, make.heads(), tokens_per_micro_batch=budget, r_drop=drop)
        cuts.append(len(micro_batches(rows, data.lengths, budget, copies)))
        losses.append(take_step(one, rows, 0, 0, 1))
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert cuts[-1] == 1 < cuts[2] < cuts[0]
    for other, loss in zip(gradients[:-1], losses[:-1], strict=True):
        assert loss.loss == pytest.approx(losses[-1].loss, abs=1e-9)
        assert loss.head_losses == pytest.approx(losses[-1].head_losses, abs=1e-9)
        for name, gradient in gradients[-1].items():
            torch.testing.assert_close(other[name], gradient, rtol=0, atol=1e-9)
    assert losses[0].real_tokens == losses[-1].real_tokens == data.lengths[rows].sum() * copies
    assert losses[-1].padded_tokens == data.lengths[rows].max() * 20 * copies
    assert losses[0].padded_tokens < losses[-1].padded_tokens


def test_eight_batches_of_one_row_are_two_of_four(make: SimpleNamespace) -> None:
    """In float64, with class weights and smoothed labels: the loss, its gradients and the weights after the step."""
    ragged = make.rows(8)
    tokens = np.concatenate([ragged.tokens[start : start + 3] for start in ragged.offsets[:-1]])
    data = Rows(ragged.ids, tokens, np.arange(0, 25, 3), ragged.targets)
    heads = make.heads(focal=False, smoothing=0.15)
    losses, found = head_losses(heads, data.targets), []
    for budget, cut in ((3, [1] * 8), (12, [4] * 2)):
        model = make.classifier(pooling="attention").double().train()
        one = learner(make, model, data, heads, tokens_per_micro_batch=budget, max_grad_norm=None)
        assert [len(part) for part in micro_batches(np.arange(8), data.lengths, budget)] == cut
        loss = take_step(one, np.arange(8), 0, 0, 1).loss
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        found.append((loss, gradients, model.state_dict()))

    model = make.classifier(pooling="attention").double().train()
    logits = model(*data.pad(np.arange(8), 0))
    undivided = sum(
        heads[name].weight
        * F.cross_entropy(logits[name], torch.from_numpy(data.targets[name]), loss.class_weights.double(),
                          reduction="none", label_smoothing=loss.label_smoothing).mean()
        for name, loss in losses.items()
    )  # fmt: skip
    undivided.backward()
    assert len({float(weight) for loss in losses.values() for weight in loss.class_weights}) > 2
    for loss, gradients, _ in found:
        assert loss == pytest.approx(undivided.item(), rel=1e-9)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, model.get_parameter(name).grad, rtol=1e-9, atol=1e-12)
    for name, value in found[0][2].items():
        torch.testing.assert_close(value, found[1][2][name], rtol=1e-9, atol=1e-9)


def test_without_dropout_r_drop_is_the_plain_step(make: SimpleNamespace) -> None:
    data = make.rows(12)
    found = []
    for drop in (None, RDrop(alpha=3.0), RDrop(alpha=3.0, warmup_epochs=1)):
        model = make.classifier().double().train()
        step = take_step(learner(make, model, data, make.heads(), r_drop=drop), np.arange(12), 0, 0, 1)
        found.append((step.loss, step.real_tokens))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-12)
    assert found[1][1] == 2 * found[0][1]
    assert found[2] == found[0], "epoch 0 is within the warm-up"


class ScriptedDropout(nn.Module):
    """Dropout whose masks are drawn before: `passes` says which of them a batch gets, one after the other."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p, self.passes, self.masks = p, (0,), []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        shape = (values.shape[0] // len(self.passes), *values.shape[1:])
        while len(self.masks) < 2:
            self.masks.append((torch.rand(shape) >= self.p).double() / (1 - self.p))
        return values * torch.cat([self.masks[number] for number in self.passes])


def scripted(model: nn.Module) -> list[ScriptedDropout]:
    found = []
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout) and child.p:
                replacement = ScriptedDropout(child.p)
                setattr(module, name, replacement)
                found.append(replacement)
    return found


def test_r_drop_in_one_pass_is_two_passes_with_the_same_masks(make: SimpleNamespace) -> None:
    data, heads, alpha = make.rows(9, masked=0.2), make.heads(), 0.9
    model = make.classifier(dropout=0.3, attention_dropout=0.0).double().train()
    dropouts = scripted(model)
    assert len(dropouts) > 8
    rows, losses = np.arange(9), head_losses(heads, data.targets)
    targets = {name: torch.from_numpy(values) for name, values in data.targets.items()}
    labelled = {name: int((values != -100).sum()) for name, values in data.targets.items()}

    expected, passes = torch.zeros((), dtype=torch.float64), []
    for number in (0, 1):
        for dropout in dropouts:
            dropout.passes = (number,)
        passes.append(model(*data.pad(rows, 0)))
    assert not torch.allclose(passes[0]["type"], passes[1]["type"])
    for name, loss in losses.items():
        known = targets[name] != -100
        divergence = symmetric_kl(passes[0][name], passes[1][name])[known].sum()
        plain = sum(
            F.cross_entropy(one[name][known], targets[name][known], loss.class_weights.double(), reduction="none",
                            label_smoothing=loss.label_smoothing)
            * (1 - one[name][known].softmax(1).gather(1, targets[name][known, None])[:, 0]) ** loss.gamma
            for one in passes
        ).sum()  # fmt: skip
        expected = expected + loss.weight * (plain / 2 + alpha * divergence) / labelled[name]
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    for dropout in dropouts:
        dropout.passes = (0, 1)
    found = step_loss(model(*data.pad(rows, 0, 2)), targets, losses, labelled, alpha)
    found.total.backward()
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-9)
    for name, gradient in gradients.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient, rtol=1e-6, atol=1e-10)


def test_dropout_depends_on_the_place_of_the_micro_batch_alone(make: SimpleNamespace) -> None:
    data, found = make.rows(12), {}
    start = make.classifier(dropout=0.3)
    for epoch, step in ((0, 0), (0, 0), (0, 1), (1, 0)):
        torch.manual_seed(len(found))
        one = learner(make, copy.deepcopy(start).train(), data, make.heads())
        found.setdefault((epoch, step), []).append(take_step(one, np.arange(12), epoch, step, 1).loss)
    assert found[0, 0][0] == found[0, 0][1]
    assert len({values[0] for values in found.values()}) == 3


def test_every_micro_batch_is_seeded_by_its_place(make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    data, seeds = make.rows(12), []
    one = learner(make, make.classifier().train(), data, make.heads(), tokens_per_micro_batch=40)
    monkeypatch.setattr("torch.manual_seed", seeds.append)
    take_step(one, np.arange(12), 4, 2, 30)
    count = len(micro_batches(np.arange(12), data.lengths, 40))
    assert count > 2
    assert seeds == [derive_seed(42, "micro", 4, 2, index) for index in range(count)]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_names_its_rows_and_updates_nothing(make: SimpleNamespace, bad: float) -> None:
    data = make.rows(16)
    model = make.classifier().train()
    spoilt = int(data.tokens[data.offsets[3] + 1])
    rows = [row for row in range(16) if spoilt in data.tokens[data.offsets[row] : data.offsets[row + 1]]]
    with torch.no_grad():
        model.encoder.embeddings.word_embeddings.weight[spoilt] = bad
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(NonFiniteLoss) as raised:
        take_step(learner(make, model, data, make.heads()), np.arange(16), 1, 2, 7)
    assert (raised.value.epoch, raised.value.step) == (2, 7)
    assert set(raised.value.rows) == {f"row-{row}" for row in rows}
    assert 0 < len(rows) < 16
    assert "row-3" in str(raised.value)
    assert all(torch.equal(value, before[name]) or bad in value for name, value in model.state_dict().items()
               if "word_embeddings" not in name)  # fmt: skip


def test_a_gradient_that_is_not_finite_is_raised_too(make: SimpleNamespace) -> None:
    data, model = make.rows(8), make.classifier().train()
    model.head_type[-1].weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(NonFiniteLoss, match="gradient is not finite"):
        take_step(learner(make, model, data, make.heads()), np.arange(8), 0, 0, 1)
