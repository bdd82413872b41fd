"""A model's own weights in four bits (NF4; Dettmers et al. 2023): whether that can be had here, and what it computes.

Weights are quantised when they are loaded, block by block, from the model's own files; nothing is stored.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.finetuning import Lora
from hsdc_schemas.spec import Execution

NF4 = "nf4"
LIBRARY = "bitsandbytes"


def quantised(lora: Lora, execution: Execution) -> BitsAndBytesConfig | None:
    """How the model's own weights are held: None is as they are. HsdcError where the library is not here."""
    if lora.base != NF4:
        return None
    if importlib.util.find_spec(LIBRARY) is None:
        message = f"a base in {NF4} needs the package {LIBRARY}, which is not installed"
        hint = "pip install 'hsdc[nf4]', or set adapter.base to as_is"
        raise fail("E470", Exit.ENVIRONMENT, message, None, hint)
    dtype = torch.bfloat16 if execution.precision == "bfloat16" else torch.float32
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=NF4, bnb_4bit_compute_dtype=dtype)


def by_one_way(model: nn.Module) -> None:
    """Take every product of a quantised layer by its dequantised weights, in training as in answering.

    Where a CPU has products of bfloat16, the library else packs the weights anew when a layer first answers: their
    scales are rounded, which no later step takes back, and what follows is computed in another precision.
    """
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
