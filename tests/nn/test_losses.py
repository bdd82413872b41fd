from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hsdc_runtime.nn.losses import HeadLoss, balanced_weights, focal_loss, head_losses, step_loss, symmetric_kl
from hsdc_schemas.encoder import BalancedWeights, CrossEntropy, FocalLoss, Head

WEIGHTS = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


def example(rows: int = 40, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(rows, 3, generator=generator, dtype=dtype) * 3
    targets = torch.randint(0, 3, (rows,), generator=generator)
    targets[::5] = -100
    return logits, targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_and_its_gradient_against_torch_times_the_factor(gamma: float, smoothing: float) -> None:
    logits, targets = example()
    mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = focal_loss(mine, targets, gamma=gamma, label_smoothing=smoothing, class_weights=WEIGHTS)
    plain = F.cross_entropy(theirs, targets, WEIGHTS, label_smoothing=smoothing, reduction="none")
    p = theirs.softmax(1)[torch.arange(len(targets)), targets.clamp_min(0)]
    expected = plain * (1 - p) ** gamma
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (found[targets == -100] == 0).all()
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_focal_loss_against_numbers_by_hand() -> None:
    logits = torch.tensor([[math.log(0.7), math.log(0.2), math.log(0.1)]])
    weights = torch.tensor([2.0, 1.0, 4.0])
    found = focal_loss(logits, torch.tensor([1]), gamma=2.0, label_smoothing=0.3, class_weights=weights)
    smoothed = 0.7 * 1.0 * -math.log(0.2) + 0.1 * sum(
        w * -math.log(p) for w, p in zip([2.0, 1.0, 4.0], [0.7, 0.2, 0.1], strict=True)
    )
    assert float(found) == pytest.approx(0.8**2 * smoothed, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.25, 1.0, 2.0])
def test_certainty_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]), gamma=gamma, label_smoothing=0.0, class_weights=torch.ones(3))
    loss.sum().backward()
    assert loss.tolist() == [0.0, 200.0]
    assert torch.isfinite(logits.grad).all()


def test_half_precision_is_raised_before_the_softmax() -> None:
    logits, targets = example(dtype=torch.bfloat16)
    arguments = {"gamma": 2.0, "label_smoothing": 0.1, "class_weights": WEIGHTS.float()}
    found = focal_loss(logits, targets, **arguments)
    assert found.dtype == torch.float32
    assert torch.equal(found, focal_loss(logits.float(), targets, **arguments))


def test_balanced_weights_against_a_count_by_hand() -> None:
    targets = np.array([0] * 6 + [1] * 3 + [2] * 1 + [-100] * 5)
    found = balanced_weights(targets, 4, {1: 1.5, 2: 2.0}, 4.0)
    # 10 labelled rows over 4 classes; the third is capped, the fourth has no rows
    torch.testing.assert_close(found, torch.tensor([10 / 24, 10 / 12 * 1.5, 4.0, 4.0]))
    assert balanced_weights(targets, 3, {}, 1e9).tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])


def test_head_losses_follow_the_spec(make: SimpleNamespace) -> None:
    targets = {"polarity": np.array([0, 0, 0, 1]), "type": np.array([0, 1, 1, 1])}
    found = head_losses(make.heads(), targets)
    assert (found["polarity"].gamma, found["polarity"].label_smoothing, found["polarity"].weight) == (1.5, 0.1, 1.0)
    assert found["polarity"].class_weights.tolist() == pytest.approx([4 / 9 * 1.5, 4 / 3, 10.0])
    assert (found["type"].gamma, found["type"].weight) == (0.0, 0.5)
    assert found["type"].class_weights.tolist() == [1.0, 1.0]
    head = Head(
        labels=("a", "b"),
        loss=CrossEntropy(kind="cross_entropy"),
        class_weights=BalancedWeights(kind="balanced", multipliers={"c": 2.0}),
    )
    with pytest.raises(ValueError, match="not in"):
        head_losses({"x": head}, {"x": np.array([0, 1])})
    assert FocalLoss(kind="focal").gamma == 2.0


def test_symmetric_kl_against_a_written_out_sum() -> None:
    a, _ = example()
    b = a.flip(0) * 0.5
    expected = []
    for p, q in zip(a.softmax(1).tolist(), b.softmax(1).tolist(), strict=True):
        forward = sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
        backward = sum(y * math.log(y / x) for x, y in zip(p, q, strict=True))
        expected.append((forward + backward) / 2)
    torch.testing.assert_close(symmetric_kl(a, b), torch.tensor(expected, dtype=torch.float64))
    assert symmetric_kl(a, a).abs().max() == 0


def losses_of(smoothing: float = 0.1) -> dict[str, HeadLoss]:
    return {
        "a": HeadLoss(1.0, 2.0, smoothing, WEIGHTS),
        "b": HeadLoss(0.3, 0.0, smoothing, torch.tensor([1.0, 2.0], dtype=torch.float64)),
    }


@pytest.mark.parametrize("alpha", [None, 0.7])
def test_step_loss_against_a_loop_over_rows_and_its_shares_add_up(alpha: float | None) -> None:
    rows, generator = 12, torch.Generator().manual_seed(4)
    copies = 1 if alpha is None else 2
    losses, classes = losses_of(), {"a": 3, "b": 2}
    logits = {n: torch.randn(copies, rows, k, generator=generator, dtype=torch.float64) for n, k in classes.items()}
    targets = {n: torch.randint(0, k, (rows,), generator=generator) for n, k in classes.items()}
    targets["a"][:4] = -100
    targets["b"][8:] = -100
    labelled = {n: int((t != -100).sum()) for n, t in targets.items()}

    expected = 0.0
    for name, loss in losses.items():
        for row in range(rows):
            if targets[name][row] == -100:
                continue
            passes = [logits[name][copy, row : row + 1] for copy in range(copies)]
            value = 0.0
            for one in passes:
                ce = F.cross_entropy(one, targets[name][row : row + 1], loss.class_weights, reduction="none",
                                     label_smoothing=loss.label_smoothing)  # fmt: skip
                p = float(one.softmax(1)[0, targets[name][row]])
                value += float(ce) * (1 - p) ** loss.gamma / copies
            if alpha is not None:
                p, q = passes[0].softmax(1), passes[1].softmax(1)
                value += (
                    alpha * float(F.kl_div(q.log(), p, reduction="sum") + F.kl_div(p.log(), q, reduction="sum")) / 2
                )
            expected += loss.weight * value / labelled[name]

    def share(chosen: slice) -> float:
        part = {name: values[:, chosen].reshape(-1, values.shape[2]) for name, values in logits.items()}
        result = step_loss(part, {n: t[chosen] for n, t in targets.items()}, losses, labelled, alpha)
        assert result.rows.sum().item() == pytest.approx(result.total.item(), abs=1e-12)
        return float(result.total)

    assert share(slice(0, 12)) == pytest.approx(expected, rel=1e-12)
    assert share(slice(0, 5)) + share(slice(5, 6)) + share(slice(6, 12)) == pytest.approx(expected, rel=1e-12)


def test_a_head_without_labels_in_the_step_adds_nothing() -> None:
    logits = {"a": torch.randn(3, 3, dtype=torch.float64, requires_grad=True)}
    logits["b"] = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    targets = {"a": torch.full((3,), -100), "b": torch.tensor([0, 1, -100])}
    result = step_loss(logits, targets, losses_of(), {"a": 0, "b": 2})
    result.total.backward()
    assert float(result.heads["a"]) == 0.0
    assert logits["a"].grad.abs().max() == 0
    assert logits["b"].grad[2].abs().max() == 0
    assert logits["b"].grad[:2].abs().min() > 0
    assert float(result.rows[2]) == 0.0
