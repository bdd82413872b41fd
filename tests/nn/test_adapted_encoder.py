"""An adapter on a tiny BERT with heads: what is trained and saved, what peft and a resumed run make of it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from test_group import by_processes
from torch import Tensor
from transformers import AutoModel

from hsdc_runtime.nn.adapted_encoder import adapt, encoder_config, published_with_heads, put_on_classifier
from hsdc_runtime.nn.batches import predict
from hsdc_runtime.nn.checkpoint import tensor_digests, trained
from hsdc_runtime.nn.encoder_learner import EncoderLearner
from hsdc_runtime.nn.encoder_training import train
from hsdc_runtime.nn.group import Group
from hsdc_runtime.nn.loop import Interrupted, Progress, Trained
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import parameter_groups
from hsdc_schemas.adapters import LowRank
from hsdc_schemas.encoder import JointOversampling, RDrop
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.spec import Execution

VARIANTS = {
    "plain": {},
    "everywhere, rank-stabilised": {"targets": ("all-linear",), "rank_stabilised": True},
    "dora, and the whole normalisation": {"dora": True, "saves": ("heads", "LayerNorm")},
    "embeddings and biases": {"targets": ("word_embeddings", "output.dense"), "bias": "all"},
    "an attention pooling": {"saves": ("heads", "pooling"), "pooling": "attention"},
}


def lora(**changes: Any) -> LowRank:
    values = {"kind": "lora", "r": 4, "alpha": 8.0, "dropout": 0.1, "targets": ("query", "value"), "saves": ("heads",)}
    return LowRank(**{**values, **changes})


def score(logits: dict[str, np.ndarray]) -> dict[str, float | None]:
    return {"overall.accuracy": float(sum(values.max(1).mean() for values in logits.values()))}


def learn(make: SimpleNamespace, folder: Path, **changes: Any) -> tuple[Classifier, Trained]:
    """Dropout, R-Drop and oversampling on, several micro-batches in a step, a checkpoint after each one."""
    classifier = changes.pop("classifier", None) or make.classifier(dropout=0.2)
    group, execution = changes.pop("group", Group()), changes.pop("execution", {})
    lessons = {"epochs": 2, "layer_decay": 0.8, "max_grad_norm": 0.5, "learning_rate": 2e-2, "rows_per_step": 16}
    arguments: dict[str, Any] = {
        "lora": lora(),
        "heads": make.heads(),
        "sampling": JointOversampling(kind="joint_oversampling"),
        "training": make.training(**lessons, r_drop=RDrop(alpha=0.5, warmup_epochs=1)),
        "execution": Execution(checkpoint_seconds=0, processes=group.size, **execution),
        "pad_id": 0,
        "score": score,
        "checkpoints": folder / "checkpoints",
        "observe": lambda progress: None,
        "stop": lambda: False,
        "group": group,
    }
    found = train(classifier, make.rows(40, masked=0.1), make.rows(16, seed=1), **{**arguments, **changes})
    return classifier, found


def without_adapter(classifier: Classifier) -> dict[str, Tensor]:
    """The encoder's own weights, by the names that they have in a model without an adapter."""
    return {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): value
        for name, value in classifier.encoder.get_base_model().state_dict().items()
        if "lora_" not in name and ".modules_to_save." not in name
    }


def written(folder: Path, chosen: LowRank, tensors: dict[str, Tensor]) -> Path:
    """A folder as other software reads it."""
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"train": "key"})
    (folder / "adapter_config.json").write_bytes(encoder_config(chosen, tensors, "elsewhere", ""))
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_encoder_stays_and_the_adapter_with_its_heads_is_read_again(
    make: SimpleNamespace, tmp_path: Path, variant: str
) -> None:
    changes = dict(VARIANTS[variant])
    fresh: Callable[[], Classifier] = partial(make.classifier, pooling=changes.pop("pooling", "mean"))
    chosen, before = lora(**changes), tensor_digests(fresh().encoder.state_dict())
    classifier, found = learn(make, tmp_path, classifier=fresh(), lora=chosen)
    if chosen.bias == "none":
        assert tensor_digests(without_adapter(classifier)) == before, "the encoder's own weights stay"
    rows = make.rows(12, seed=3)
    expected = predict(classifier, rows, 0, 64, "cpu", False)
    again, plain = fresh(), fresh()
    for parameter in (p for name, p in again.named_parameters() if not name.startswith("encoder.")):
        torch.nn.init.constant_(parameter, 9.0)  # whatever is not read again is seen
    put_on_classifier(again, chosen, found.weights)
    logits = predict(again, rows, 0, 64, "cpu", False)
    assert all(np.array_equal(logits[head], expected[head]) for head in expected)
    assert not np.allclose(predict(plain, rows, 0, 64, "cpu", False)["type"], expected["type"], atol=1e-2)
    plain.encoder.save_pretrained(tmp_path / "encoder")
    out = written(tmp_path / "out", chosen, found.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of peft, about keys that it looks for and does not find
        base = AutoModel.from_pretrained(tmp_path / "encoder", attn_implementation="eager")
        theirs = PeftModel.from_pretrained(base, out).eval()
    tokens, mask = rows.pad(np.arange(12), 0)
    with torch.inference_mode():
        states = [encoder(input_ids=tokens, attention_mask=mask)[0] for encoder in (theirs, classifier.eval().encoder)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_little_is_trained_and_saved_and_all_of_it_learns(make: SimpleNamespace, tmp_path: Path) -> None:
    classifier, found = learn(make, tmp_path)
    parts = {name.removeprefix("base_model.model.").split(".")[0] for name in found.weights}
    assert parts == {"encoder", "head_type", "head_polarity"}
    assert all("lora_" in name or ".head_" in name for name in found.weights)
    assert sum(map(torch.numel, found.weights.values())) < 0.2 * sum(map(torch.numel, classifier.parameters()))
    checkpoint = max((tmp_path / "checkpoints").glob("step-*")) / "weights.safetensors"
    assert checkpoint.stat().st_size < 60_000, "checkpoints hold nothing else either"
    new = make.classifier()
    adapt(new, lora(), make.training().seed)
    fresh = published_with_heads(new)
    assert fresh.keys() == found.weights.keys()
    assert [name for name in fresh if torch.equal(fresh[name], found.weights[name])] == []


def test_the_weights_are_those_of_the_best_epoch(make: SimpleNamespace, tmp_path: Path) -> None:
    metrics, classifier, seen = iter((0.4, 0.9, 0.1)), make.classifier(dropout=0.2), []

    def observe(progress: Progress) -> None:
        if progress.metric is not None:
            seen.append(tensor_digests(published_with_heads(classifier)))

    lessons = make.training(epochs=3, learning_rate=2e-2, rows_per_step=16)
    judge = lambda logits: {"overall.accuracy": next(metrics)}  # noqa: E731
    _, found = learn(make, tmp_path, classifier=classifier, training=lessons, score=judge, observe=observe)
    assert found.best_epoch == 2
    assert tensor_digests(found.weights) == seen[1] != seen[2]
    assert tensor_digests(published_with_heads(classifier)) == seen[1], "it is left with the best ones"


def test_heads_that_would_not_be_saved_are_refused(make: SimpleNamespace) -> None:
    for pooling, saves in (("mean", ()), ("attention", ("heads",)), ("attention", ("pooling",))):
        with pytest.raises(HsdcError) as raised:
            adapt(make.classifier(pooling=pooling), lora(saves=saves))
        assert [fault.code for fault in raised.value.diagnostics] == ["E737"]
    with pytest.raises(HsdcError) as raised:
        adapt(make.classifier(), lora(targets=("query", "q_proj")))
    assert [fault.code for fault in raised.value.diagnostics] == ["E736"]


def test_weights_without_a_head_are_no_weights(make: SimpleNamespace) -> None:
    classifier = make.classifier()
    adapt(classifier, lora())
    tensors = published_with_heads(classifier)
    head = next(name for name in tensors if ".head_type." in name)
    for odd in ({n: t for n, t in tensors.items() if n != head}, {**tensors, "more": tensors[head]}):
        with pytest.raises(HsdcError, match="does not fit"):
            put_on_classifier(make.classifier(), lora(), odd)


@pytest.mark.parametrize("at", [1, 3, 4])
def test_resumed_is_uninterrupted(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    whole, seen = summary(learn(make, tmp_path / "whole")[1]), list[Progress]()
    stop: Callable[[], bool] = lambda: bool(seen) and seen[-1].step == at  # noqa: E731
    with pytest.raises(Interrupted, match=f"after step {at}$"):
        learn(make, tmp_path / "cut", observe=seen.append, stop=stop)
    shutil.copytree(tmp_path / "cut", tmp_path / "forgotten")
    with monkeypatch.context() as forgetful:  # so the test sees what it is there to see
        forgetful.setattr(EncoderLearner, "restore", lambda self, weights: None)
        assert summary(learn(make, tmp_path / "forgotten")[1]) != whole
    assert summary(learn(make, tmp_path / "cut")[1]) == whole
    with pytest.raises(ValueError, match="are of other work"):
        learn(make, tmp_path / "cut", lora=lora(alpha=9.0))


def summary(found: Trained) -> Any:
    """As JSON has it, so that another process can say it too."""
    shown = [tensor_digests(found.weights), found.history, found.counts, found.best_epoch, found.best_metric]
    return json.loads(json.dumps(shown))


def test_any_number_of_processes_gives_the_same_bits(make: SimpleNamespace, tmp_path: Path) -> None:
    alone = summary(learn(make, tmp_path / "alone", execution={"elastic": True})[1])

    def shared(group: Group) -> Any:
        found = learn(make, tmp_path / "two", group=group, execution={"elastic": True})[1]
        return summary(found) if group.leads else found.counts["steps"]

    assert by_processes(2, tmp_path / "work", shared) == [alone, alone[2]["steps"]]


def test_recomputed_activations_give_the_same_weights(make: SimpleNamespace, tmp_path: Path) -> None:
    frugal = learn(make, tmp_path / "b", classifier=make.classifier(dropout=0.2, checkpointing=True))
    assert tensor_digests(frugal[1].weights) == tensor_digests(learn(make, tmp_path / "a")[1].weights)


def test_an_adapter_learns_at_the_rate_of_the_layer_that_it_is_on(make: SimpleNamespace) -> None:
    classifier = make.classifier(layers=3)
    adapt(classifier, lora(targets=("query", "word_embeddings")))
    groups = parameter_groups(classifier, make.training(learning_rate=1e-3, layer_decay=0.5, head_multiplier=4.0))
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    named = {name: rates.pop(id(parameter)) for name, parameter in trained(classifier).items()}
    assert rates == {}, "what is frozen is in no group"
    for part, rate in (("layer.2.", 1e-3), ("layer.1.", 5e-4), ("layer.0.", 2.5e-4), ("embeddings.", 1.25e-4)):
        found = {value for name, value in named.items() if part in name and "lora_" in name}
        assert found == {rate}, part
    assert {value for name, value in named.items() if name.startswith("head_")} == {4e-3}
