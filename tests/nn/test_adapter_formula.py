"""Adapters against the formulas of their papers, and losses, schedules and stops against transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_causal
import torch
from peft import PeftModel
from safetensors.torch import save_file
from test_adapter import TARGETS, examples, learner, lora, run, training
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, get_scheduler

from hsdc_runtime.nn.adapter import config_of, published, put_on
from hsdc_runtime.nn.adapter_learner import AdapterLearner
from hsdc_runtime.nn.causal import pretrained_causal
from hsdc_runtime.nn.optimizer import learning_rate_factor
from hsdc_schemas.encoder import EarlyStopping
from hsdc_schemas.finetuning import AdapterSchedule, Lora
from hsdc_schemas.spec import Execution

TOKENS = torch.tensor([[5, 9, 17, 30, 4, 88]])
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose linear layers have biases."""
    root = tiny_causal.build(tmp_path_factory.mktemp("biased"))
    config = LlamaConfig.from_pretrained(root)
    config.attention_bias = config.mlp_bias = True
    torch.manual_seed(5)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6) if parameter.dim() > 1 else parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(root)
    return root


def tensors(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    plain = {name.removeprefix("base_model.model."): value for name, value in load_file(file).items()}
    return {name.replace(".base_layer.", "."): value for name, value in plain.items()}


def adapted_weight(weight: Tensor, found: dict[str, Tensor], name: str, chosen: Lora) -> Tensor:
    """W + s B A with s of LoRA or rsLoRA; of DoRA its rows scaled to the learnt magnitudes."""
    scale = chosen.alpha / (chosen.r**0.5 if chosen.rank_stabilised else chosen.r)
    whole = weight + scale * found[f"{name}.lora_B.weight"] @ found[f"{name}.lora_A.weight"]
    if chosen.dora:
        whole = whole * (found[f"{name}.lora_magnitude_vector"] / whole.norm(dim=1))[:, None]
    return whole


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"alpha": 3.0},
        {"rank_stabilised": True},
        {"dora": True},
        {"dora": True, "rank_stabilised": True},
        {"bias": "lora_only"},
        {"bias": "all"},
        {"saves": ("lm_head",)},
        {"targets": ("all-linear",)},
        {"targets": ("layers.1.mlp.up_proj", "o_proj")},
    ],
    ids=lambda changes: " ".join(map(str, changes)) or "plain",
)
def test_what_is_published_is_the_formula_of_its_paper(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    chosen = lora(**changes)
    trained, _ = run(folder, tmp_path / "c", lora=chosen, training=training(epochs=1, learning_rate=5e-2))
    save_file(published(trained), tmp_path / "adapter_model.safetensors")
    found, used = tensors(tmp_path / "adapter_model.safetensors"), set[str]()
    plain = AutoModelForCausalLM.from_pretrained(folder).eval()
    before = plain(TOKENS).logits.detach()
    ends = LINEAR if chosen.targets == ("all-linear",) else chosen.targets
    with torch.no_grad():
        for name, layer in plain.named_modules():
            if not isinstance(layer, nn.Linear):
                continue
            if any(f".{name}".endswith(f".{end}") for end in ends):
                layer.weight.copy_(adapted_weight(layer.weight, found, name, chosen))
                used |= {key for key in found if key.startswith(f"{name}.lora_")}
            for part in ("weight", "bias"):
                if (key := f"{name}.{part}") in found:
                    getattr(layer, part).copy_(found[key])
                    used.add(key)
        used |= {key for key in found if key in dict(plain.named_parameters())}
        expected = plain(TOKENS).logits
    assert used == set(found), "nothing is published that the formula does not take"
    assert any(key.endswith(".bias") for key in found) == (chosen.bias != "none")
    if chosen.bias == "lora_only":
        assert {key.rsplit(".", 2)[1] for key in found if key.endswith(".bias")} == set(TARGETS)
    (tmp_path / "adapter_config.json").write_bytes(config_of(chosen, "elsewhere"))
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), tmp_path).eval()
    ours = put_on(pretrained_causal(folder, Execution()), chosen, tmp_path / "adapter_model.safetensors")
    with torch.inference_mode():
        torch.testing.assert_close(ours(TOKENS).logits, expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(theirs(TOKENS).logits, expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(trained(TOKENS).logits, expected, rtol=1e-3, atol=1e-3)
        assert float((expected - before).abs().max()) > 0.05, "or nothing was learnt"
        if chosen.bias == "none":  # biases are trained in place, so there is no model without them to go back to
            with ours.disable_adapter():
                assert torch.equal(ours(TOKENS).logits, before), "disabled, it is the plain model bit by bit"


def test_the_configuration_says_what_was_asked_for() -> None:
    chosen = lora(alpha=3.0, dropout=0.2, rank_stabilised=True, dora=True, bias="lora_only", saves=("lm_head",))
    written = json.loads(config_of(chosen, "hf:some/base", "abc"))
    expected = {"r": 4, "lora_alpha": 3, "lora_dropout": 0.2, "use_rslora": True, "use_dora": True, "bias": "lora_only"}
    expected |= {"modules_to_save": ["lm_head"], "target_modules": list(TARGETS), "task_type": "CAUSAL_LM"}
    expected |= {"base_model_name_or_path": "some/base", "revision": "abc", "peft_type": "LORA"}
    assert {name: written[name] for name in expected} == expected


@pytest.mark.parametrize("packing", [False, True])
def test_the_loss_is_that_of_the_library_with_all_but_answers_masked(folder: Path, packing: bool) -> None:
    """transformers' own loss over a padded batch, with -100 wherever no answer is."""
    data = examples(9)
    one = learner(folder, data, packing=packing, tokens_per_micro_batch=100)
    longest, rows = int(data.lengths.max()), range(len(data))
    tokens, labels = torch.ones(len(data), longest, dtype=torch.long), torch.full((len(data), longest), -100)
    mask = torch.zeros(len(data), longest, dtype=torch.long)
    for row in rows:
        own, start = torch.from_numpy(data.of(row).astype("int64")), int(data.starts[row])
        tokens[row, : len(own)], mask[row, : len(own)] = own, 1
        labels[row, start : len(own)] = own[start:]
    one.model.eval()
    with torch.inference_mode():
        theirs = one.model(input_ids=tokens, attention_mask=mask, labels=labels).loss
    assert one.evaluate(data)["loss"] == pytest.approx(float(theirs), rel=1e-5)


def test_another_row_of_a_pack_has_no_gradient_from_a_row(folder: Path) -> None:
    """Nothing of a row reaches another one: the gradient is exactly 0, not merely small."""
    data = examples(3)
    one = learner(folder, data, packing=True)
    embedded: list[Tensor] = []
    layer = one.model.get_input_embeddings()
    layer.register_forward_hook(lambda module, given, out: embedded.append(out.requires_grad_()) or out)
    losses = one._losses(data, torch.arange(3).numpy())
    (found,) = torch.autograd.grad(losses[1], embedded)
    ends = data.offsets
    for row in range(3):
        reached = float(found[0, ends[row] : ends[row + 1]].abs().max())
        assert (reached > 0) == (row == 1)


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [{}, {"warmup_steps": 3}, {"warmup_ratio": 0.3}, {"warmup_ratio": 0.05}])
def test_rates_are_those_of_the_library(kind: str, warmup: dict[str, Any]) -> None:
    total = 17
    steps = warmup.get("warmup_steps", -(-total * warmup.get("warmup_ratio", 0) // 1))
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    named = "constant_with_warmup" if kind == "constant" else kind
    theirs = get_scheduler(named, optimizer, num_warmup_steps=int(steps), num_training_steps=total)
    rates = []
    for _ in range(total):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    schedule = AdapterSchedule(kind=kind, **warmup)
    assert [learning_rate_factor(schedule, step, total) for step in range(total)] == pytest.approx(rates)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_it_stops_after_so_many_evaluations_without_a_new_best(folder: Path, tmp_path: Path, patience: int) -> None:
    lessons = training(epochs=9, learning_rate=1.0, early_stopping=EarlyStopping(patience=patience))
    trained, found = run(folder, tmp_path / "c", training=lessons)
    losses = [entry["metrics"]["loss"] for entry in found.history]
    best, waited = float("inf"), [0]
    for loss in losses:
        best, waited = (loss, [*waited, 0]) if loss < best else (best, [*waited, waited[-1] + 1])
    assert waited[-1] == patience, "it did stop"
    assert max(waited[:-1]) < patience, "and not too late"
    assert (found.counts["epochs_run"], found.counts["stopped_early"]) == (len(losses), True)
    assert found.best_metric == best == losses[found.best_epoch - 1]
    own = learner(folder, examples(8, seed=1))
    left = AdapterLearner(trained, own.optimizer, own.accelerator, own.data, 1, training())
    assert left.evaluate(own.data)["loss"] == best, "it is left with the best adapter"
