"""A packaged GGUF file as one file that a model is read from: safetensors weights, and all other files beside them."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from hsdc_runtime.nn.model import quiet
from hsdc_schemas.digests import canonical

WEIGHTS = "model.safetensors"
TEXTS = "hsdc.files"
"""Name of the tensor that holds the other files of a model's folder: uint8, the JSON of their texts by name."""


def convert(source: Path, target: Path, dtype: torch.dtype) -> dict[str, int]:
    """Write a GGUF file, its weights dequantised, with configuration, tokenizer and chat template; what was written.

    Read with `lay_out`, it gives the same logits as the GGUF file read in that dtype, bit for bit.
    """
    options = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
    with quiet(), tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name)
        with redirect_stderr(io.StringIO()):  # a progress bar that has no switch
            model = AutoModelForCausalLM.from_pretrained(source.parent, dtype=dtype, **options)
        _clear_mark(model)
        model.save_pretrained(folder, max_shard_size="1TB")
        AutoTokenizer.from_pretrained(source.parent, **options).save_pretrained(folder)
        tensors = load_file(folder / WEIGHTS)
        texts = {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.name != WEIGHTS}
        packed = torch.from_numpy(np.frombuffer(canonical(texts), dtype=np.uint8).copy())
        # One key of metadata: several are written in an order of their own, which would change the file's bytes.
        save_file({**tensors, TEXTS: packed}, target, metadata={"format": "pt"})
    return {"parameters": sum(tensor.numel() for tensor in tensors.values()), "tensors": len(tensors)}


def _clear_mark(model: PreTrainedModel) -> None:
    """Its weights are plain numbers by now; marked as quantised, the library would neither save nor train it."""
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None


def lay_out(file: Path, folder: Path) -> Path:
    """A model's folder from what `convert` wrote: a link to it as the weights, and the other files."""
    with safe_open(file, "numpy") as opened:
        texts: Mapping[str, str] = json.loads(opened.get_tensor(TEXTS).tobytes())
    folder.mkdir(parents=True)
    (folder / WEIGHTS).symlink_to(file.resolve())
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    return folder
