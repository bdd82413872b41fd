"""A low-rank adapter on a model: how it is put on, read, and published."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from hsdc_runtime.nn.dropout import dropout_by_words
from hsdc_runtime.nn.model import quiet
from hsdc_runtime.nn.products import products_by_onednn
from hsdc_runtime.nn.randomness import derive_seed
from hsdc_schemas.adapters import ALL_LINEAR, LowRank
from hsdc_schemas.errors import Exit, fail

CAUSAL, FEATURES = "CAUSAL_LM", "FEATURE_EXTRACTION"
"""What peft calls the task of a model that goes on with a text, and of one that gives vectors."""


def attach(model: PreTrainedModel, lora: LowRank, seed: int = 0, task: str = CAUSAL) -> PeftModel:
    """New adapter layers in the model itself, which does what it did before: their product begins at 0.

    Each new matrix is drawn from a generator seeded by its own name. HsdcError where the model has not every target.
    """
    require_targets(model, lora)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of one library about the other
        adapted = get_peft_model(model, LoraConfig(**options(lora, task)))
    for name, parameter in adapted.named_parameters():
        generator = torch.Generator().manual_seed(derive_seed(seed, "initialise", name))
        values = torch.empty(parameter.shape, dtype=torch.float32)
        if ".lora_A." in name:  # what peft draws too: uniform, with the variance of a linear layer's weights
            nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=generator)
        elif ".lora_embedding_B." in name:
            values.normal_(generator=generator)
        else:
            continue
        with torch.no_grad():
            parameter.copy_(values)
    products_by_onednn(adapted)
    dropout_by_words(adapted)
    return adapted


def options(lora: LowRank, task: str = CAUSAL) -> dict[str, Any]:
    """What peft calls what is asked for, of a model that does such a task."""
    everywhere = lora.targets == (ALL_LINEAR,)
    return {
        "task_type": task,
        "r": lora.r,
        "lora_alpha": int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": ALL_LINEAR if everywhere else sorted(lora.targets),
        "bias": lora.bias,
        "modules_to_save": sorted(lora.saves) or None,
        "use_rslora": lora.rank_stabilised,
        "use_dora": lora.dora,
    }


def require_targets(model: nn.Module, lora: LowRank) -> None:
    """HsdcError where a target, or a module that is trained whole, is the end of no module's name."""
    modules = dict(model.named_modules())
    for target in (*(target for target in lora.targets if target != ALL_LINEAR), *lora.saves):
        if not any(f".{name}".endswith(f".{target}") for name in modules):
            known = {name.rsplit(".", 1)[-1] for name, module in modules.items() if _thin(module)}
            message = f"the model has no module '{target}' that an adapter could be put on"
            raise fail("E736", Exit.SPEC, message, None, f"it has {', '.join(sorted(known))}")


def _thin(module: nn.Module) -> bool:
    return not list(module.children()) and any(parameter.dim() == 2 for parameter in module.parameters(recurse=False))


def published(adapted: PeftModel) -> dict[str, Tensor]:
    """The adapter's tensors under the names that `PeftModel.from_pretrained` reads, on the CPU."""
    found = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in sorted(found.items())}


def put_on(model: PreTrainedModel, lora: LowRank, file: Path) -> PeftModel:
    """An adapter that was published, on its model, ready to be asked. HsdcError where it does not fit."""
    adapted = attach(model, lora)
    tensors = load_file(file)
    require_same(published(adapted), tensors)
    set_peft_model_state_dict(adapted, tensors)
    adapted.eval()
    return adapted


def require_same(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """HsdcError where a tensor is missing, is too much, or has another shape."""
    shapes = [{name: tensor.shape for name, tensor in tensors.items()} for tensors in (expected, found)]
    if odd := sorted(name for name in {**expected, **found} if shapes[0].get(name) != shapes[1].get(name)):
        message = f"the adapter does not fit the model: {odd[0]}"
        raise fail("E441", Exit.ENVIRONMENT, message, None, "train it on this model")


def config_of(lora: LowRank, base: str, revision: str = "", task: str = CAUSAL) -> bytes:
    """The configuration as `PeftModel.from_pretrained` reads it, naming the adapter's base; always the same bytes."""
    with quiet():
        named = {"base_model_name_or_path": base.removeprefix("hf:"), "revision": revision or None}
        written = LoraConfig(**options(lora, task), **named, inference_mode=True).to_dict()
    return (json.dumps(written, indent=2, sort_keys=True, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    """A set in one order; an enumeration's value."""
    return sorted(value) if isinstance(value, set) else value.value
