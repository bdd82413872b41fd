"""One training by one to four processes: with `elastic` the same bits, and what would break that is seen."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from hsdc_runtime.nn import group as groups
from hsdc_runtime.nn import step as steps
from hsdc_runtime.nn.checkpoint import tensor_digests
from hsdc_runtime.nn.encoder_training import train
from hsdc_runtime.nn.group import Gradients, Group, joined
from hsdc_runtime.nn.loop import Interrupted, NonFiniteLoss, Progress
from hsdc_schemas.encoder import EarlyStopping, JointOversampling, RDrop, Schedule
from hsdc_schemas.spec import Execution

FORK = multiprocessing.get_context("fork")
PATIENCE = 60.0
TRAINING = {
    "epochs": 2,
    "r_drop": RDrop(alpha=0.5, warmup_epochs=1),
    "schedule": Schedule(kind="cosine", warmup_ratio=0.2),
    "max_grad_norm": 0.5,
    "layer_decay": 0.8,
    "early_stopping": EarlyStopping(patience=2),
    "rows_per_step": 16,
}


def score(logits: dict[str, np.ndarray]) -> dict[str, float | None]:
    return {"overall.accuracy": float(sum(values.max(1).mean() for values in logits.values()))}


def learn(
    make: SimpleNamespace, group: Group, folder: Path, *, elastic: bool = True, stop_at: int = 0, spoilt: bool = False
) -> dict[str, Any]:
    """Dropout, R-Drop and oversampling on; five or so micro-batches in a step."""
    seen: list[Progress] = []
    model, data = make.classifier(dropout=0.2), make.rows(40, masked=0.1)
    if spoilt:
        data.tokens[data.offsets[17]] = 9  # no other row has it
        with torch.no_grad():
            model.encoder.embeddings.word_embeddings.weight[9] = torch.nan
    try:
        trained = train(
            model,
            data,
            make.rows(24, seed=1),
            heads=make.heads(),
            sampling=JointOversampling(kind="joint_oversampling"),
            training=make.training(**TRAINING),
            execution=Execution(elastic=elastic, processes=group.size),
            pad_id=0,
            score=score,
            checkpoints=folder / "checkpoints",
            observe=seen.append,
            stop=lambda: group.leads and bool(seen) and seen[-1].step == stop_at,
            group=group,
        )
    except Interrupted as stopped:
        return {"stopped": stopped.step}
    except NonFiniteLoss as error:
        return {"step": error.step, "rows": error.rows}
    final = tensor_digests(model.state_dict())[1]  # of every process; the best weights are rank 0's alone
    weights = tensor_digests(trained.weights)[1] if group.leads else None
    return {"weights": weights, "final": final, "history": trained.history, "counts": trained.counts}


def by_processes(size: int, folder: Path, work: Callable[[Group], Any], fault: str = "") -> list[Any]:
    """What the work gives in each of so many processes; a process that ends otherwise gives None."""
    folder.mkdir(exist_ok=True)
    meeting = folder / f"meeting-{len(list(folder.iterdir()))}"

    def member(rank: int) -> None:
        plant(fault, rank)
        torch.manual_seed(rank)  # whatever the process did before
        with joined(Group(rank, size), "cpu", meeting, lambda: None):
            (folder / f"{rank}.json").write_text(json.dumps(work(Group(rank, size))))
        os._exit(0)

    for old in folder.glob("?.json"):
        old.unlink()
    members = [FORK.Process(target=member, args=(rank,)) for rank in range(size)]
    for process in members:
        process.start()
    for process in members:
        process.join(PATIENCE)
        assert process.exitcode is not None, "it hangs"
    files = [folder / f"{rank}.json" for rank in range(size)]
    return [json.loads(file.read_text()) if file.exists() else None for file in files]


def plant(fault: str, rank: int) -> None:
    """Break, in this process, what makes the result independent of the number of processes."""
    if fault == "added up in the order of arrival":
        everybody = distributed.all_to_all_single

        def shuffled(received: torch.Tensor, sent: torch.Tensor) -> None:
            everybody(received, sent)
            size = distributed.get_world_size()
            received.copy_(received.view(size, -1).roll(rank, 0).reshape(-1))

        distributed.all_to_all_single = shuffled
    elif fault == "a tree of sums":

        def added(self: Gradients, count: int) -> None:
            flat = self._flat()
            distributed.all_reduce(flat)
            mine = flat.view(self.group.size, -1)[self.group.rank]
            self.sum = mine.clone() if self.sum is None else self.sum.add_(mine)
            for parameter in self.parameters:
                parameter.grad = None

        groups.Gradients.add = added
    elif fault == "seeds by rank":
        derive = steps.derive_seed
        steps.derive_seed = lambda *parts: derive(*parts, rank)
    elif fault == "validated apart":
        groups.Group.united = lambda self, values: values


@pytest.fixture(scope="module")
def alone(make: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch.set_num_threads(1)
    return json.loads(json.dumps(learn(make, Group(), tmp_path_factory.mktemp("alone"))))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_any_number_of_processes_gives_the_same_bits(
    make: SimpleNamespace, tmp_path: Path, alone: dict[str, Any], size: int
) -> None:
    found = by_processes(size, tmp_path / "work", lambda group: learn(make, group, tmp_path))
    assert found[0] == alone
    for other in found[1:]:
        assert other == {**alone, "weights": None}, "every process has the same weights in the end"


FAULTS = ["added up in the order of arrival", "a tree of sums", "seeds by rank", "validated apart"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(make: SimpleNamespace, tmp_path: Path, alone: dict[str, Any], fault: str) -> None:
    found = by_processes(4, tmp_path / "work", lambda group: learn(make, group, tmp_path), fault)
    assert found[0] is not None
    assert found[0] != alone


def test_without_elastic_as_many_processes_give_the_same_bits(
    make: SimpleNamespace, tmp_path: Path, alone: dict[str, Any]
) -> None:
    def work(folder: Path) -> Callable[[Group], dict[str, Any]]:
        return lambda group: learn(make, group, folder, elastic=False)

    first, again = (by_processes(3, tmp_path / name, work(tmp_path / name))[0] for name in ("a", "b"))
    assert first == again
    assert first["weights"] != alone["weights"]
    assert first["history"][-1]["loss"] == pytest.approx(alone["history"][-1]["loss"], rel=1e-4)


@pytest.mark.parametrize("sizes", [(4, 1), (1, 3)])
def test_resuming_may_change_the_number_of_processes(
    make: SimpleNamespace, tmp_path: Path, alone: dict[str, Any], sizes: tuple[int, int]
) -> None:
    stopped = by_processes(sizes[0], tmp_path / "first", lambda group: learn(make, group, tmp_path, stop_at=4))
    assert stopped[0] == {"stopped": 4}
    assert stopped[1:] == [None] * (sizes[0] - 1), "the others are left behind, and end"
    assert by_processes(sizes[1], tmp_path / "then", lambda group: learn(make, group, tmp_path))[0] == alone


def test_a_spoilt_row_is_named_by_every_process(make: SimpleNamespace, tmp_path: Path) -> None:
    expected = json.loads(json.dumps(learn(make, Group(), tmp_path / "alone", spoilt=True)))
    found = by_processes(3, tmp_path / "work", lambda group: learn(make, group, tmp_path, spoilt=True))
    assert expected["rows"] == ["row-17"]
    assert found == [expected] * 3


def test_gradients_are_added_in_the_order_of_the_micro_batches(tmp_path: Path) -> None:
    """Against sums in that order, taken element by element without torch; a parameter nobody used stays without."""
    random = np.random.default_rng(3)
    parts = (random.standard_normal((5, 7)) * 10.0 ** random.integers(-6, 7, (5, 7))).astype(np.float32)
    parts[:, 3] = -0.0

    def work(group: Group) -> list[Any]:
        used, unused = torch.zeros(7, requires_grad=True), torch.zeros(2, requires_grad=True)
        total = Gradients([used, unused], group)
        for turn in range(0, 5, group.size):
            if turn + group.rank < 5:
                used.grad = torch.from_numpy(parts[turn + group.rank].copy())
            total.add(min(group.size, 5 - turn))
        total.put()
        return [used.grad.numpy().tobytes().hex(), unused.grad is None]

    expected = parts[0].copy()
    for part in parts[1:]:
        expected += part
    assert (np.sum(parts[::-1], axis=0, dtype=np.float32) != expected).any(), "the order matters for these"
    for size in (2, 3):
        assert by_processes(size, tmp_path / str(size), work) == [[expected.tobytes().hex(), True]] * size


def test_what_one_process_has_comes_to_all_bit_by_bit(tmp_path: Path) -> None:
    values = [-0.0, float("nan"), 1e-45, -float("inf")]

    def work(group: Group) -> list[Any]:
        own = torch.tensor([value if place % group.size == group.rank else 0.0 for place, value in enumerate(values)])
        return [group.united(own).numpy().tobytes().hex(), group.told(41 + group.rank)]

    expected = [torch.tensor(values).numpy().tobytes().hex(), 41]
    assert by_processes(3, tmp_path / "work", work) == [expected] * 3
