"""An adapter on a tiny Llama: what its loss is, how it is cut, what resumes, and what it leaves as it was."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_causal
import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.adapter import attach, config_of, published, put_on
from hsdc_runtime.nn.adapter_learner import AdapterLearner
from hsdc_runtime.nn.adapter_training import train_adapter
from hsdc_runtime.nn.causal import pretrained_causal
from hsdc_runtime.nn.checkpoint import tensor_digests, trained
from hsdc_runtime.nn.examples import Examples, load_examples, packed, packs, padded, save_examples
from hsdc_runtime.nn.loop import Interrupted
from hsdc_runtime.nn.optimizer import learning_rate_factor
from hsdc_runtime.nn.step import take_step
from hsdc_schemas.encoder import EarlyStopping
from hsdc_schemas.encoder import Optimizer as OptimizerSpec
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.finetuning import AdapterSchedule, AdapterTraining, Lora
from hsdc_schemas.spec import Execution

TARGETS = ("q_proj", "v_proj")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal.build(tmp_path_factory.mktemp("llama"))


def lora(**changes: Any) -> Lora:
    return Lora(**{"kind": "lora", "r": 4, "alpha": 8.0, "targets": TARGETS, **changes})


def training(**changes: Any) -> AdapterTraining:
    values = {"epochs": 2, "learning_rate": 5e-3, "optimizer": OptimizerSpec(kind="adamw"), "rows_per_step": 6}
    return AdapterTraining(**{**values, "tokens_per_micro_batch": 80, **changes})


def examples(count: int, seed: int = 0) -> Examples:
    """Rows of 6 to 30 tokens; the answer, 1 to 5 of them, says which token came first."""
    random = np.random.default_rng(seed)
    lengths = random.integers(6, 31, count)
    starts = lengths - random.integers(1, 6, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = random.integers(10, 250, int(offsets[-1])).astype(np.int32)
    for row in range(count):
        tokens[offsets[row] : offsets[row + 1]][starts[row] :] = 20 + tokens[offsets[row]] % 2
    return Examples(tuple(f"row-{row}" for row in range(count)), tokens, offsets, starts.astype(np.int64))


def learner(folder: Path, data: Examples, chosen: Lora | None = None, **changes: Any) -> AdapterLearner:
    model = attach(pretrained_causal(folder, Execution()), chosen or lora(), 7)
    with torch.no_grad():  # as if it had learnt something
        for name, parameter in trained(model).items():
            if "lora_B" in name:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    model.train()
    optimizer = torch.optim.SGD(trained(model).values(), lr=0.0)
    return AdapterLearner(model, optimizer, accelerator_for(Execution()), data, 1, training(**changes))


def alone(model: Any, data: Examples, row: int) -> torch.Tensor:
    """The summed loss of one row's answer, in a pass of its own."""
    tokens = torch.from_numpy(data.of(row).astype(np.int64))
    logits = model(input_ids=tokens[None]).logits[0, int(data.starts[row]) - 1 : -1]
    return F.cross_entropy(logits, tokens[int(data.starts[row]) :], reduction="sum")


def begun(data: Examples, tokens: list[int]) -> Examples:
    """The same rows, each after the same tokens."""
    rows = [np.concatenate([np.array(tokens, dtype=np.int32), data.of(row)]) for row in range(len(data))]
    return Examples(
        data.ids,
        np.concatenate(rows),
        data.offsets + len(tokens) * np.arange(len(data) + 1),
        data.starts + len(tokens),
    )


@pytest.mark.parametrize("beginning", [[], [9, 40, 41, 9, 77]])
@pytest.mark.parametrize("packing", [False, True])
def test_a_step_is_the_mean_over_its_supervised_tokens_however_it_is_cut(
    folder: Path, packing: bool, beginning: list[int]
) -> None:
    data, rows = begun(examples(12), beginning), np.arange(12)[::-1].copy()
    assert data.shared == len(beginning)
    plain = learner(folder, data)
    expected = sum(alone(plain.model, data, row) for row in range(12)) / int(data.supervised.sum())
    expected.backward()
    wanted = {name: parameter.grad for name, parameter in trained(plain.model).items()}
    batches = []
    for budget in (1, 60, 10**6):
        one = learner(folder, data, packing=packing, tokens_per_micro_batch=budget)
        batches.append(len(one.portion(rows, 0).batches))
        step = take_step(one, rows, 0, 0, 1)
        assert step.loss == pytest.approx(float(expected), rel=1e-5)
        assert (step.rows, step.real_tokens) == (12, len(data.tokens))
        computed = len(data.tokens) - (12 - batches[-1]) * len(beginning)
        assert step.padded_tokens == computed or not packing
        for name, parameter in trained(one.model).items():
            torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-3, atol=1e-6)
    assert batches[0] == 12 > batches[1] > batches[2] == 1


def test_what_is_packed_beside_a_row_does_not_change_its_loss(folder: Path) -> None:
    data, others = examples(4), examples(4, seed=5)
    mixed = Examples(
        ("a", "b"),
        np.concatenate([others.of(3), data.of(0)]),
        np.array([0, others.lengths[3], others.lengths[3] + data.lengths[0]]),
        np.array([others.starts[3], data.starts[0]]),
    )
    one, two = learner(folder, data, packing=True), learner(folder, mixed, packing=True)
    assert float(two._losses(mixed, np.arange(2))[1]) == pytest.approx(
        float(one._losses(data, np.arange(1))[0]), rel=1e-5
    )


def test_batches_hold_every_supervised_token_once() -> None:
    data, rows = examples(9), np.array([4, 1, 7])
    expected = np.concatenate([data.of(row)[data.starts[row] :] for row in rows])
    for batch in (padded(data, rows, 1), packed(data, rows)):
        assert batch.targets.tolist() == expected.tolist()
        line, number = batch.at.unbind(1)
        assert batch.tokens[line, batch.keep[number] + 1].tolist() == expected.tolist()
    assert [len(part) for part in packs(np.arange(4), np.array([3, 3, 9, 1]), 6)] == [2, 1, 1]


def test_nothing_to_learn_is_refused() -> None:
    tokens, offsets = np.arange(4, dtype=np.int32), np.array([0, 4])
    for start in (4, 0):
        with pytest.raises(ValueError, match="row a has nothing to learn"):
            Examples(("a",), tokens, offsets, np.array([start]))


def test_examples_are_read_as_they_were_written(tmp_path: Path) -> None:
    data = examples(5)
    save_examples(tmp_path / "e.safetensors", {"train": data}, 3)
    found, pad = load_examples(tmp_path / "e.safetensors", "train")
    assert (found.ids, pad, found.tokens.tolist()) == (data.ids, 3, data.tokens.tolist())


def run(folder: Path, checkpoints: Path, **changes: Any) -> Any:
    arguments = {
        "lora": changes.pop("lora", lora(dropout=0.1)),
        "training": changes.pop("training", training()),
        "execution": Execution(checkpoint_seconds=0, **changes.pop("execution", {})),
        "pad_id": 1,
        "checkpoints": checkpoints,
        "observe": lambda progress: None,
        "stop": lambda: False,
    }
    model = pretrained_causal(folder, Execution())
    return train_adapter(model, examples(20), examples(8, seed=1), **{**arguments, **changes})


def summary(found: Any) -> Any:
    adapted, result = found
    return tensor_digests(published(adapted)), result.history, result.counts, result.best_epoch


def _killed_at(step: int, folder: Path, checkpoints: Path) -> None:
    torch.set_num_threads(1)

    def observe(progress: Any) -> None:
        if progress.step == step and progress.metric is None:
            os.kill(os.getpid(), signal.SIGKILL)

    run(folder, checkpoints, observe=observe)


@pytest.mark.parametrize("step", [2, 6])
def test_killed_and_resumed_is_uninterrupted(folder: Path, tmp_path: Path, step: int) -> None:
    whole = summary(run(folder, tmp_path / "whole"))
    process = multiprocessing.get_context("fork").Process(target=_killed_at, args=(step, folder, tmp_path / "cut"))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    (newest,) = (tmp_path / "cut").glob("step-*")
    steps: list[int] = []
    assert summary(run(folder, tmp_path / "cut", observe=lambda progress: steps.append(progress.step))) == whole
    assert steps[0] == int(newest.name.removeprefix("step-")) + 1 > 1


def test_stopped_and_resumed_is_uninterrupted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, asked = summary(run(folder, tmp_path / "whole")), iter([False, False, True])
    with pytest.raises(Interrupted, match="step 2"):
        run(folder, tmp_path / "cut", stop=lambda: next(asked))
    kept = {name.split("/")[0] for name in _tensors(tmp_path / "cut")}
    assert kept
    assert all("lora_" in name for name in kept), "checkpoints hold the adapter alone"
    shutil.copytree(tmp_path / "cut", tmp_path / "forgotten")
    with monkeypatch.context() as forgetful:  # so the test sees what it is there to see
        forgetful.setattr(AdapterLearner, "restore", lambda self, weights: None)
        assert summary(run(folder, tmp_path / "forgotten")) != whole
    assert summary(run(folder, tmp_path / "cut")) == whole


def _tensors(folder: Path) -> set[str]:
    from safetensors import safe_open

    found: set[str] = set()
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, "numpy") as opened:
            found |= set(opened.keys())
    return found


def test_it_learns_and_the_best_epoch_is_that_of_the_least_loss(folder: Path, tmp_path: Path) -> None:
    lessons = training(epochs=8, learning_rate=3e-2, early_stopping=EarlyStopping(patience=2))
    adapted, found = run(folder, tmp_path / "c", training=lessons)
    losses = [entry["metrics"]["loss"] for entry in found.history]
    assert found.best_metric == min(losses) == losses[found.best_epoch - 1] < 0.8 * losses[0]
    own = learner(folder, examples(8, seed=1))
    own = AdapterLearner(adapted, own.optimizer, own.accelerator, own.data, 1, training())
    assert own.evaluate(own.data)["loss"] == found.best_metric, "it is left with the best adapter"


def test_a_run_that_does_not_get_better_stops(folder: Path, tmp_path: Path) -> None:
    lessons = training(epochs=8, learning_rate=3.0, early_stopping=EarlyStopping(patience=1))
    _, found = run(folder, tmp_path / "c", training=lessons)
    assert found.counts["stopped_early"]
    assert found.counts["epochs_run"] == found.best_epoch + 1 < 8


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"targets": ("all-linear",), "rank_stabilised": True},
        {"dora": True},
        {"bias": "lora_only", "saves": ("lm_head",)},
    ],
    ids=["plain", "everywhere, rank-stabilised", "dora", "whole modules"],
)
def test_the_base_is_as_it_was_and_the_adapter_can_be_read_elsewhere(
    folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    tokens, chosen = torch.tensor([[5, 9, 17, 30, 4]]), lora(**changes)
    base = pretrained_causal(folder, Execution())
    before, digest = base(tokens).logits, tensor_digests(base.state_dict())[1]
    adapted, _ = run(folder, tmp_path / "c", lora=chosen, training=training(epochs=1, learning_rate=5e-2))
    after = adapted(tokens).logits
    assert not torch.equal(after, before)
    if not chosen.saves:  # what is trained whole is a copy of its own
        with adapted.disable_adapter():
            plain = adapted(tokens).logits
        torch.testing.assert_close(plain, before, rtol=1e-4, atol=1e-4)
        restored = {
            name.removeprefix("base_model.model.").replace(".base_layer.", "."): value
            for name, value in adapted.state_dict().items()
            if "lora_" not in name
        }
        assert tensor_digests(restored)[1] == digest
    from safetensors.torch import save_file

    save_file(published(adapted), tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    (tmp_path / "adapter_config.json").write_bytes(config_of(chosen, "elsewhere"))
    ours = put_on(base, chosen, tmp_path / "adapter_model.safetensors")
    again = ours(tokens).logits
    with ours.disable_adapter():
        if not chosen.saves:
            assert torch.equal(ours(tokens).logits, before), "disabled, it is the model as it was, bit by bit"
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path).eval()
    assert torch.equal(theirs(tokens).logits, again)
    torch.testing.assert_close(again, after, rtol=1e-3, atol=1e-3)


def test_recomputed_activations_give_the_same_adapter(folder: Path, tmp_path: Path) -> None:
    plain = run(folder, tmp_path / "a", training=training(epochs=1))
    frugal = run(folder, tmp_path / "b", training=training(epochs=1), execution={"gradient_checkpointing": True})
    assert tensor_digests(published(plain[0])) == tensor_digests(published(frugal[0]))


def test_targets_that_the_model_does_not_have(folder: Path) -> None:
    for changes, odd in (({"targets": ("q_proj", "qproj")}, "qproj"), ({"saves": ("score",)}, "score")):
        with pytest.raises(HsdcError) as raised:
            attach(pretrained_causal(folder, Execution()), lora(**changes))
        (found,) = raised.value.diagnostics
        assert found.code == "E736"
        assert f"'{odd}'" in found.message
        assert "q_proj" in found.hint


def test_an_adapter_of_another_shape_does_not_fit(folder: Path, tmp_path: Path) -> None:
    save_file(published(attach(pretrained_causal(folder, Execution()), lora())), tmp_path / "adapter.safetensors")
    for other in (lora(r=8), lora(targets=("q_proj",))):
        with pytest.raises(HsdcError, match="the adapter does not fit the model") as raised:
            put_on(pretrained_causal(folder, Execution()), other, tmp_path / "adapter.safetensors")
        assert [found.code for found in raised.value.diagnostics] == ["E441"]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"kind": "constant", "warmup_steps": 2}, [0.0, 0.5, 1.0, 1.0, 1.0]),
        ({"kind": "linear", "warmup_steps": 1}, [0.0, 1.0, 0.75, 0.5, 0.25]),
        ({"kind": "cosine", "warmup_ratio": 0.2}, [0.0, 1.0, 0.853553, 0.5, 0.146447]),
        ({"kind": "linear"}, [1.0, 0.8, 0.6, 0.4, 0.2]),
    ],
)
def test_schedules(schedule: dict[str, Any], expected: list[float]) -> None:
    factor: Callable[[int], float] = lambda step: learning_rate_factor(AdapterSchedule(**schedule), step, 5)  # noqa: E731
    assert [factor(step) for step in range(5)] == pytest.approx(expected, abs=1e-6)
