"""A base in four bits: what it computes is what its dequantised weights compute, and nothing changes them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_causal
import torch
from test_adapter import examples, lora, training
from torch import nn
from transformers import PreTrainedModel

from hsdc_runtime.environment import before_the_framework
from hsdc_runtime.nn.adapter import published, put_on
from hsdc_runtime.nn.adapter_training import train_adapter
from hsdc_runtime.nn.causal import pretrained_causal
from hsdc_runtime.nn.checkpoint import tensor_digests
from hsdc_runtime.nn.four_bits import quantised
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.spec import Execution

TOKENS = torch.tensor([[5, 9, 17, 30, 4]])
CHOSEN = lora(base="nf4", dropout=0.1)


def test_without_the_library_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quantised(lora(), Execution()) is None
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else found(name))
    with pytest.raises(HsdcError) as raised:
        quantised(CHOSEN, Execution())
    (fault,) = raised.value.diagnostics
    assert (fault.code, fault.exit) == ("E470", 4)
    assert fault.message == "a base in nf4 needs the package bitsandbytes, which is not installed"
    assert "pip install 'hsdc[nf4]'" in fault.hint


def test_no_code_of_a_hub_is_fetched_by_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "kernels", raising=False)
    before_the_framework()
    assert importlib.util.find_spec("kernels") is None
    with pytest.raises(ImportError, match="import of kernels halted"):
        import kernels  # noqa: F401


@pytest.fixture
def library() -> Iterator[Any]:
    before_the_framework()
    yield pytest.importorskip("bitsandbytes")
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal.build(tmp_path_factory.mktemp("llama"))


def held(folder: Path) -> PreTrainedModel:
    return pretrained_causal(folder, Execution(), quantised=quantised(CHOSEN, Execution()))


def trained(folder: Path, checkpoints: Path, **changes: Any) -> Any:
    options = {"lora": CHOSEN, "training": training(), "execution": Execution(checkpoint_seconds=0), "pad_id": 1}
    options |= {"observe": lambda progress: None, "stop": lambda: False, "checkpoints": checkpoints, **changes}
    return train_adapter(held(folder), examples(20), examples(8, seed=1), **options)


def test_it_computes_what_its_dequantised_weights_do(folder: Path, library: Any) -> None:
    four, plain = held(folder), pretrained_causal(folder, Execution())
    layers, moved = dict(plain.named_modules()), 0.0
    for name, layer in four.named_modules():
        if isinstance(layer, library.nn.Linear4bit):
            weight = library.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            moved = max(moved, float((layers[name].weight.detach() - weight).abs().max()))
            layers[name].weight = nn.Parameter(weight.float())
    assert moved > 0.01, "or nothing is held in four bits"
    with torch.inference_mode():
        expected = plain(TOKENS).logits
        assert torch.equal(four(TOKENS).logits, expected)
        assert torch.equal(four(TOKENS).logits, expected), "answering changes nothing of it"


@pytest.mark.usefixtures("library")
def test_training_and_answering_leave_the_base_as_it_was(folder: Path, tmp_path: Path) -> None:
    base = held(folder)
    with torch.inference_mode():
        before = base(TOKENS).logits
    digest = tensor_digests(base.state_dict())[1]
    adapted, _ = trained(folder, tmp_path / "a")
    own = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): value
        for name, value in adapted.state_dict().items()
        if "lora_" not in name
    }
    assert tensor_digests(own)[1] == digest
    with torch.inference_mode():
        assert not torch.equal(adapted(TOKENS).logits, before)
        with adapted.disable_adapter():
            assert torch.equal(adapted(TOKENS).logits, before)


@pytest.mark.usefixtures("library")
def test_it_is_the_same_again_and_after_a_stop(folder: Path, tmp_path: Path) -> None:
    from hsdc_runtime.nn.loop import Interrupted

    adapted, whole = trained(folder, tmp_path / "whole")
    again, _ = trained(folder, tmp_path / "again")
    assert tensor_digests(published(again)) == tensor_digests(published(adapted))
    asked = iter([False, False, True])
    with pytest.raises(Interrupted, match="step 2"):
        trained(folder, tmp_path / "cut", stop=lambda: next(asked))
    resumed, history = trained(folder, tmp_path / "cut")
    assert tensor_digests(published(resumed)) == tensor_digests(published(adapted))
    assert history.history == whole.history


@pytest.mark.usefixtures("library")
def test_its_adapter_is_read_on_either_base(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    adapted, _ = trained(folder, tmp_path / "a")
    save_file(published(adapted), tmp_path / "adapter.safetensors")
    with torch.inference_mode():
        expected = adapted(TOKENS).logits
        assert torch.equal(put_on(held(folder), CHOSEN, tmp_path / "adapter.safetensors")(TOKENS).logits, expected)
        plain = put_on(pretrained_causal(folder, Execution()), lora(), tmp_path / "adapter.safetensors")
        assert not torch.equal(plain(TOKENS).logits, expected)
