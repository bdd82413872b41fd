"""A run that was interrupted, or whose newest checkpoint is damaged, ends in the bits of one that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hsdc_runtime.nn.checkpoint import tensor_digests
from hsdc_runtime.nn.encoder_training import train
from hsdc_runtime.nn.loop import Interrupted, Progress, Trained
from hsdc_schemas.encoder import EarlyStopping, JointOversampling, RDrop, Schedule
from hsdc_schemas.spec import Execution

EPOCHS, STEPS = 4, 5


class Case:
    """A training with everything that has a memory or chance in it."""

    def __init__(self, make: SimpleNamespace, folder: Path, **training: Any) -> None:
        self.make, self.folder = make, folder
        self.changes = {
            "epochs": EPOCHS,
            "r_drop": RDrop(alpha=0.5, warmup_epochs=1),
            "schedule": Schedule(kind="cosine", warmup_ratio=0.1),
            "max_grad_norm": 1.0,
            "layer_decay": 0.8,
            "early_stopping": EarlyStopping(patience=2),
            "keep_checkpoints": 2,
            **training,
        }
        self.seen: list[Progress] = []

    def run(self, stop_at: tuple[int, ...] = (), metrics: tuple[float, ...] = (), **changes: Any) -> Trained:
        data, validation = self.make.rows(40, masked=0.1), self.make.rows(16, seed=1)

        def score(logits: dict[str, np.ndarray]) -> dict[str, float | None]:
            if metrics:
                return {"overall.accuracy": metrics[len([p for p in self.seen if p.metric is not None])]}
            return {"overall.accuracy": float(sum(values.max(1).mean() for values in logits.values()))}

        torch.manual_seed(len(self.seen))  # whatever the process did before
        return train(
            self.make.classifier(dropout=0.2),
            data,
            validation,
            heads=self.make.heads(),
            sampling=JointOversampling(kind="joint_oversampling"),
            training=self.make.training(**{**self.changes, **changes}),
            execution=Execution(),
            pad_id=0,
            score=score,
            checkpoints=self.folder,
            observe=self.seen.append,
            stop=lambda: bool(self.seen) and self.seen[-1].step in stop_at,
        )


@pytest.fixture(scope="module")
def whole(make: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, list[Progress]]:
    torch.set_num_threads(1)
    case = Case(make, tmp_path_factory.mktemp("whole"))
    return case.run(), case.seen


def assert_same(found: Trained, expected: Trained) -> None:
    assert tensor_digests(found.weights) == tensor_digests(expected.weights)
    assert found.history == expected.history
    assert repr(found.history) == repr(expected.history), "kinds of numbers too"
    assert found.counts == expected.counts
    assert (found.best_epoch, found.best_metric) == (expected.best_epoch, expected.best_metric)


@pytest.mark.parametrize("at", [1, 3, STEPS, STEPS + 2, 2 * STEPS, 3 * STEPS + 4])
def test_resumed_is_uninterrupted(
    make: SimpleNamespace, tmp_path: Path, whole: tuple[Trained, list[Progress]], at: int
) -> None:
    case = Case(make, tmp_path)
    with pytest.raises(Interrupted) as raised:
        case.run(stop_at=(at,))
    assert raised.value.step == at
    assert case.seen[-1].step == at
    assert_same(case.run(), whole[0])
    assert case.seen == whole[1], "no step is seen twice, none is left out"


def test_interrupted_at_every_step(
    make: SimpleNamespace, tmp_path: Path, whole: tuple[Trained, list[Progress]]
) -> None:
    total = whole[0].counts["steps"]
    case = Case(make, tmp_path)
    for at in range(1, total):
        with pytest.raises(Interrupted, match=f"after step {at}$"):
            case.run(stop_at=(at,))
    found = case.run(stop_at=(total,))  # the last step ends the run, whatever is asked
    assert_same(found, whole[0])
    assert case.seen == whole[1]


def test_a_finished_run_returns_its_result_without_a_step(
    make: SimpleNamespace, tmp_path: Path, whole: tuple[Trained, list[Progress]]
) -> None:
    case = Case(make, tmp_path)
    case.run()
    count = len(case.seen)
    assert_same(case.run(), whole[0])
    assert len(case.seen) == count


def test_a_damaged_newest_checkpoint_costs_its_steps_only(
    make: SimpleNamespace, tmp_path: Path, whole: tuple[Trained, list[Progress]]
) -> None:
    case = Case(make, tmp_path)
    with pytest.raises(Interrupted):
        case.run(stop_at=(2 * STEPS + 3,))
    assert len(list(tmp_path.iterdir())) == 2
    newest = max(tmp_path.iterdir())
    content = bytearray((newest / "optimizer.safetensors").read_bytes())
    content[len(content) // 2] ^= 64
    (newest / "optimizer.safetensors").write_bytes(content)
    count = len(case.seen)
    assert_same(case.run(), whole[0])
    assert case.seen[count].step == 2 * STEPS + 1
    assert [path.name for path in tmp_path.glob("*.damaged-*")] == [f"{newest.name}.damaged-1"]


def test_the_early_stop_counter_and_the_best_weights_are_resumed(make: SimpleNamespace, tmp_path: Path) -> None:
    metrics, found = (0.4, 0.9, 0.5, 0.6, 0.95, 0.97), []
    for stop_at in ((), (3 * STEPS - 2,), (3 * STEPS,)):
        folder = tmp_path / str(len(found))
        case = Case(make, folder, epochs=6)
        if stop_at:
            with pytest.raises(Interrupted):
                case.run(stop_at=stop_at, metrics=metrics)
        found.append(case.run(metrics=metrics))
    for resumed in found[1:]:
        assert_same(resumed, found[0])
    assert (found[0].best_epoch, found[0].best_metric) == (2, 0.9)
    assert (found[0].counts["epochs_run"], found[0].counts["stopped_early"]) == (4, True)


def test_a_checkpoint_of_other_work_is_refused(make: SimpleNamespace, tmp_path: Path) -> None:
    case = Case(make, tmp_path, epochs=1)
    case.run()
    with pytest.raises(ValueError, match="of other work"):
        case.run(learning_rate=1e-3)


def test_checkpoints_are_taken_at_every_epoch_end_and_the_newest_kept(make: SimpleNamespace, tmp_path: Path) -> None:
    case, held = Case(make, tmp_path, epochs=3), []
    observe: Callable[[Progress], None] = case.seen.append

    class Seen(list):
        def append(self, progress: Progress) -> None:
            observe(progress)
            held.append((progress.step, sorted(path.name for path in tmp_path.iterdir()) if tmp_path.exists() else []))

    case.seen = Seen()
    case.run()
    after = {step: names for step, names in held}  # noqa: C416 - the last one of a step
    assert after[STEPS] == ["step-000000005"]
    assert after[2 * STEPS] == ["step-000000005", "step-000000010"]
    assert after[3 * STEPS] == ["step-000000010", "step-000000015"]
