"""The loop against a plain one, its early stopping, its best checkpoint, its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import get_linear_schedule_with_warmup

from hsdc_runtime.nn.batches import predict
from hsdc_runtime.nn.checkpoint import tensor_digests
from hsdc_runtime.nn.encoder_training import train
from hsdc_runtime.nn.loop import NonFiniteLoss, Progress, Trained
from hsdc_runtime.nn.losses import balanced_weights
from hsdc_runtime.nn.sampling import epoch_order
from hsdc_schemas.encoder import EarlyStopping, RDrop, Schedule, Shuffle
from hsdc_schemas.spec import Execution, Limits


def accuracy(rows: Any) -> Callable[[dict[str, np.ndarray]], dict[str, float | None]]:
    def score(logits: dict[str, np.ndarray]) -> dict[str, float | None]:
        hits = [np.mean(values.argmax(1) == rows.targets[name]) for name, values in sorted(logits.items())]
        return {"overall.accuracy": float(np.mean(hits)), "undefined": None, "nan": float("nan")}

    return score


def scripted(metrics: Sequence[float | None]) -> Callable[[dict[str, np.ndarray]], dict[str, float | None]]:
    left = iter(metrics)
    return lambda logits: {"overall.accuracy": next(left)}


@pytest.fixture
def run(make: SimpleNamespace, tmp_path: Path) -> Callable[..., Trained]:
    def run(**changes: Any) -> Trained:
        data, validation = changes.pop("data", None) or make.rows(40), make.rows(24, seed=1)
        arguments = {
            "heads": make.heads(),
            "sampling": Shuffle(kind="shuffle"),
            "training": make.training(),
            "execution": Execution(),
            "pad_id": 0,
            "score": accuracy(validation),
            "checkpoints": tmp_path / "checkpoints",
            "observe": lambda progress: None,
            "stop": lambda: False,
        }
        classifier = changes.pop("classifier", None) or make.classifier(dropout=changes.pop("dropout", 0.1))
        return train(classifier, data, validation, **{**arguments, **changes})

    return run


def test_the_loss_curve_and_weights_of_a_plain_loop(make: SimpleNamespace, run: Callable[..., Trained]) -> None:
    data, model = make.rows(40, masked=0.2), make.classifier()
    training = make.training(
        epochs=3, max_grad_norm=0.7, schedule=Schedule(warmup_ratio=0.2), rows_per_step=12, learning_rate=1e-3
    )
    seen: list[Progress] = []
    trained = run(
        data=data,
        training=training,
        heads=make.heads(focal=False),
        dropout=0.0,
        observe=seen.append,
        score=scripted([0.1, 0.2, 0.3]),
    )

    decayed = [p for n, p in model.named_parameters() if not ("bias" in n or "LayerNorm" in n)]
    plain = [p for n, p in model.named_parameters() if "bias" in n or "LayerNorm" in n]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    schedule = get_linear_schedule_with_warmup(optimizer, 3, 12)  # ceil(0.2 × 12)
    balance = balanced_weights(data.targets["polarity"], 3, {0: 1.5}, 10.0)
    losses, rates = [], []
    for epoch in range(3):
        order = epoch_order(40, None, training.seed, epoch)
        for start in range(0, 40, 12):
            rows = order[start : start + 12]
            logits = model(*data.pad(rows, 0))
            polarity, kind = (torch.from_numpy(data.targets[name][rows]) for name in ("polarity", "type"))
            ce = F.cross_entropy(logits["polarity"], polarity, balance, reduction="none").sum()
            loss = ce / (polarity != -100).sum() + 0.5 * F.cross_entropy(logits["type"], kind, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.7)
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    steps = [progress for progress in seen if progress.metric is None]
    assert [progress.loss for progress in steps] == pytest.approx(losses, rel=2e-4)
    assert [progress.learning_rate for progress in steps] == pytest.approx(rates, rel=1e-12)
    assert min(losses[8:]) < losses[0] - 0.05, "it learns"
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(trained.weights[name], parameter.detach(), rtol=1e-3, atol=2e-4)


def test_it_learns_what_can_be_learnt(make: SimpleNamespace, run: Callable[..., Trained]) -> None:
    training = make.training(epochs=8, learning_rate=5e-3, tokens_per_micro_batch=256)
    trained = run(data=make.rows(120), classifier=make.classifier(pooling="cls", dropout=0.1), training=training)
    assert trained.best_metric > 0.9
    assert trained.history[-1]["loss"] < 0.6 * trained.history[0]["loss"]


def test_the_same_bits_again(run: Callable[..., Trained], tmp_path: Path) -> None:
    first, again = (run(checkpoints=tmp_path / name) for name in ("a", "b"))
    assert tensor_digests(first.weights) == tensor_digests(again.weights)
    assert first.history == again.history
    assert all(value.is_contiguous() and value.device.type == "cpu" for value in first.weights.values())


def test_the_seed_changes_the_result(make: SimpleNamespace, run: Callable[..., Trained], tmp_path: Path) -> None:
    first = run(training=make.training(epochs=1), checkpoints=tmp_path / "a")
    other = run(training=make.training(epochs=1, seed=43), checkpoints=tmp_path / "b")
    assert tensor_digests(first.weights)[1] != tensor_digests(other.weights)[1]


def test_best_weights_are_those_that_gave_the_best_metric(make: SimpleNamespace, run: Callable[..., Trained]) -> None:
    classifier, digests, left = make.classifier(), [], iter([0.5, 0.8, 0.8, 0.6])

    def score(logits: dict[str, np.ndarray]) -> dict[str, float | None]:
        digests.append(tensor_digests(classifier.state_dict())[1])
        return {"overall.accuracy": next(left)}

    trained = run(classifier=classifier, training=make.training(epochs=4), score=score)
    assert (trained.best_epoch, trained.best_metric) == (2, 0.8), "ties keep the earlier"
    assert tensor_digests(trained.weights)[1] == digests[1]
    assert len(set(digests)) == 4
    assert [entry["metrics"]["overall.accuracy"] for entry in trained.history] == [0.5, 0.8, 0.8, 0.6]


def stops_after(metrics: Sequence[float | None], patience: int) -> int:
    """Epochs that a plain reading of patience runs."""
    for epochs in range(1, len(metrics) + 1):
        known = [-1.0 if metric is None else metric for metric in metrics[:epochs]]
        since = epochs - (known.index(max(known)) + 1 if max(known) >= 0 else 0)
        if since >= patience:
            return epochs
    return len(metrics)


@pytest.mark.parametrize(
    ("metrics", "patience"),
    [
        ([0.5, 0.4, 0.6, 0.6, 0.5, 0.9], 1),
        ([0.5, 0.4, 0.6, 0.6, 0.5, 0.9], 2),
        ([0.5, 0.4, 0.6, 0.6, 0.5, 0.9], 3),
        ([None, None, 0.1, None, None, 0.3], 2),
        ([0.1, None, 0.2, None, None, None], 2),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.4], 1),
    ],
)
def test_early_stopping(
    make: SimpleNamespace, run: Callable[..., Trained], metrics: list[float | None], patience: int
) -> None:
    training = make.training(epochs=6, rows_per_step=40, early_stopping=EarlyStopping(patience=patience))
    trained = run(training=training, score=scripted(metrics))
    expected = stops_after(metrics, patience)
    assert trained.counts["epochs_run"] == trained.counts["steps"] == expected
    assert trained.counts["stopped_early"] == (expected < 6)
    known = [metric for metric in metrics[:expected] if metric is not None]
    assert trained.best_metric == (max(known) if known else None)
    assert trained.best_epoch == (metrics.index(max(known)) + 1 if known else expected)


def test_a_metric_that_is_not_there_is_an_error(make: SimpleNamespace, run: Callable[..., Trained]) -> None:
    with pytest.raises(KeyError, match=r"overall\.f1_macro"):
        run(training=make.training(epochs=1, best_metric="overall.f1_macro"))


def test_undefined_and_nan_metrics_are_none(make: SimpleNamespace, run: Callable[..., Trained]) -> None:
    [entry] = run(training=make.training(epochs=1)).history
    assert entry["metrics"]["undefined"] is entry["metrics"]["nan"] is None
    assert set(entry["head_losses"]) == {"polarity", "type"}
    assert set(entry["gradient_norms"]) == {"global"}


@pytest.mark.parametrize(
    ("limits", "steps", "epochs"),
    [
        (Limits(), 15, 3),
        (Limits(epochs=2), 10, 2),
        (Limits(epochs=9), 15, 3),
        (Limits(steps=7), 7, 2),
        (Limits(steps=99), 15, 3),
    ],
)
def test_limits(run: Callable[..., Trained], limits: Limits, steps: int, epochs: int) -> None:
    seen: list[Progress] = []
    trained = run(execution=Execution(limits=limits), observe=seen.append)
    assert (trained.counts["steps"], trained.counts["epochs_run"]) == (steps, epochs)
    assert {(progress.epochs, progress.steps) for progress in seen} == {(epochs, steps)}
    assert [progress.step for progress in seen if progress.metric is None] == list(range(1, steps + 1))
    assert sum(entry["steps"] for entry in trained.history) == steps
    assert seen[-1].metric is not None


def test_r_drop_counts_both_copies_after_its_warm_up(make: SimpleNamespace, run: Callable[..., Trained]) -> None:
    data, seen = make.rows(40), []
    trained = run(
        data=data, training=make.training(epochs=3, r_drop=RDrop(alpha=1.0, warmup_epochs=2)), observe=seen.append
    )
    tokens = int(data.lengths.sum())
    assert [p.real_tokens for p in seen if p.metric is not None] == [tokens, 2 * tokens, 4 * tokens]
    assert trained.counts["real_tokens"] == 4 * tokens < trained.counts["padded_tokens"]
    assert trained.counts["rows"] == 120


def test_a_spoilt_row_stops_the_run_at_its_step(make: SimpleNamespace, run: Callable[..., Trained]) -> None:
    model, data, training = make.classifier(), make.rows(40), make.training()
    data.tokens[data.offsets[17]] = 9  # no other row has it
    with torch.no_grad():
        model.encoder.embeddings.word_embeddings.weight[9] = torch.nan
    place = epoch_order(40, None, training.seed, 0).tolist().index(17)
    seen: list[Progress] = []
    with pytest.raises(NonFiniteLoss, match=r"row-17") as raised:
        run(classifier=model, data=data, training=training, observe=seen.append)
    assert raised.value.step == place // 8 + 1 == len(seen) + 1
    assert raised.value.rows == ("row-17",)


def test_bfloat16_after_float32_in_one_process(
    make: SimpleNamespace, run: Callable[..., Trained], tmp_path: Path
) -> None:
    found = {
        precision: run(execution=Execution(precision=precision), checkpoints=tmp_path / precision)
        for precision in ("float32", "bfloat16")
    }
    assert found["bfloat16"].weights["head_type.1.weight"].dtype == torch.float32
    first, second = (found[precision].history[0]["loss"] for precision in found)
    assert first != second
    assert first == pytest.approx(second, rel=0.05)


def test_trained_weights_give_the_metric_that_chose_them(make: SimpleNamespace, run: Callable[..., Trained]) -> None:
    trained, fresh, validation = run(), make.classifier(dropout=0.1), make.rows(24, seed=1)
    fresh.load_state_dict(trained.weights)
    logits = predict(fresh, validation, 0, 64, "cpu", False)
    assert accuracy(validation)(logits)["overall.accuracy"] == trained.best_metric


def test_an_absent_device_is_said(run: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as hsdc run sets it before torch is there
    with pytest.raises(RuntimeError, match="cuda is not available"):
        run(execution=Execution(device="cuda"))
