"""A causal language model as a run needs it, or the reason why it cannot be used."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.quantization_config import QuantizationConfigMixin

from hsdc_runtime.nn.acceleration import require_device
from hsdc_runtime.nn.cells import Cells, Span
from hsdc_runtime.nn.four_bits import by_one_way
from hsdc_runtime.nn.model import quiet
from hsdc_runtime.nn.pretrained import usable
from hsdc_runtime.nn.products import products_by_onednn
from hsdc_schemas.spec import Execution

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NEEDED = {"position_ids", "past_key_values", "logits_to_keep"}


def pretrained_causal(
    folder: Path, execution: Execution, *, remote_code: bool = False, quantised: QuantizationConfigMixin | None = None
) -> PreTrainedModel:
    """The model in a folder, from safetensors alone, on its device in the run's precision, ready to be asked.

    With `remote_code`, code in the folder is run; `quantised` says how weights are held. HsdcError where the model, or
    the device, cannot be used.
    """
    require_device(execution)
    return usable("model", lambda: _load(folder, execution, remote_code, quantised))


def _load(
    folder: Path, execution: Execution, remote_code: bool, quantised: QuantizationConfigMixin | None
) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=remote_code)
    with quiet():
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=remote_code,
            use_safetensors=True,
            dtype=DTYPES[execution.precision],
            attn_implementation=execution.attention,
            output_loading_info=True,
            **({"quantization_config": quantised} if quantised else {}),
        )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(f"{len(missing)} weights of the model are not in its files, the first is {missing[0]}")
    if lacking := NEEDED - set(inspect.signature(model.forward).parameters):
        raise ValueError(f"an architecture without {', '.join(sorted(lacking))} cannot hold several rows in one pass")
    for parameter in model.parameters():  # a mapped file can change below them, and its alignment can change bits
        if parameter.is_floating_point():
            parameter.data = parameter.data.clone()
    model.to(execution.device)
    by_one_way(model)
    products_by_onednn(model)
    model.eval()
    _require_apart(model)
    return model


def _require_apart(model: PreTrainedModel) -> None:
    """Rows that share a pass are kept apart by a mask over all tokens, which not every architecture heeds.

    ValueError where one of two short sequences says something else in the pass of both than alone.
    """
    first, second = (11, 7, 5, 13), (3, 17, 2)
    spans = [Span(0, first, 0), Span(1, second, 0)]
    together = Cells(model).forward(spans, [3, 6]).log_softmax(-1)
    with torch.inference_mode():
        rows = [model(torch.tensor([row], device=model.device)).logits[0, -1].float() for row in (first, second)]
    apart = float((together - torch.stack(rows).log_softmax(-1)).abs().max())
    if not apart <= (1e-3 if model.dtype == torch.float32 else 0.5):
        raise ValueError("its architecture does not keep rows apart that share a pass")


def longest_sequence(config: PretrainedConfig) -> int | None:
    """Most tokens of one sequence: the model's positions, or the narrowest window of a layer that has one."""
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None)
    narrow = kinds is None or set(kinds) - {"full_attention"}
    windows = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size") if narrow]
    known = [value for value in (getattr(text, "max_position_embeddings", None), *windows) if isinstance(value, int)]
    return min(known, default=None)


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of the tokens with which the model, or its tokenizer, says that an answer is over."""
    found: set[int] = set()
    for ids in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found |= {ids} if isinstance(ids, int) else set(ids or ())
    return frozenset(found)
