"""An adapter added into its model's weights: a model of its own, which no longer needs the adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel

from hsdc_runtime.nn.adapter import put_on
from hsdc_runtime.nn.causal import pretrained_causal
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.gguf import lay_out
from hsdc_runtime.nn.model import quiet
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_schemas.finetuning import Lora
from hsdc_schemas.spec import Execution

PROMPTS = 4  # that the logits are compared after


def unpacked(converted: Path, folder: Path) -> Path:
    """The folder of a model that the stage `convert` made."""
    return lay_out(converted, folder)


def merge(
    model: Path, adapter: Path, lora: Lora, execution: Execution, prompts: Path, target: Path, *, remote_code: bool
) -> float:
    """Write the merged model with its tokenizer to a folder; the largest difference of a logit from the adapter's.

    Compared are all logits after some prompts of the run, of the model that was written and read again.
    """
    deterministic(execution)
    tokenizer = pretrained_tokenizer(model)
    asked = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in islice(_texts(prompts), PROMPTS)]
    base = pretrained_causal(model, execution, remote_code=remote_code)
    adapted = put_on(base, lora, adapter)
    expected = _logits(base, asked)
    with quiet():
        merged = adapted.merge_and_unload()
        merged.save_pretrained(target)
        tokenizer.save_pretrained(target)
    for path in target.glob("*.safetensors"):  # which the library writes for its user alone
        path.chmod((target / "config.json").stat().st_mode)
    if remote_code:
        for path in model.glob("*.py"):
            shutil.copyfile(path, target / path.name)
    del base, adapted, merged
    found = _logits(pretrained_causal(target, execution, remote_code=remote_code), asked)
    return max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True))


def _texts(prompts: Path) -> Iterator[str]:
    with prompts.open("rb") as file:
        for line in file:
            yield json.loads(line)["text"]


@torch.inference_mode()
def _logits(model: PreTrainedModel, asked: Sequence[list[int]]) -> list[torch.Tensor]:
    return [model(input_ids=torch.tensor([tokens], device=model.device)).logits.float().cpu() for tokens in asked]
