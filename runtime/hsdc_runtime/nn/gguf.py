"""A packaged GGUF file as what a model is here: safetensors weights, and texts for configuration and tokenizer."""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from hsdc_runtime.nn.model import quiet

WEIGHTS = "model.safetensors"


def convert(source: Path, weights: Path, dtype: torch.dtype) -> dict[str, str]:
    """Write the weights of a GGUF file, dequantised, as one safetensors file; the text of every other file by name.

    The model that reads both gives the same logits, bit for bit, as the one that reads the GGUF file in that dtype.
    """
    with quiet(), tempfile.TemporaryDirectory(dir=weights.parent) as name:
        folder = Path(name)
        options = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
        with redirect_stderr(io.StringIO()):  # a progress bar that has no switch
            model = AutoModelForCausalLM.from_pretrained(source.parent, dtype=dtype, **options)
        _clear_mark(model)
        model.save_pretrained(folder, max_shard_size="1TB")
        AutoTokenizer.from_pretrained(source.parent, **options).save_pretrained(folder)
        (folder / WEIGHTS).replace(weights)
        return {path.name: path.read_text("utf-8") for path in sorted(folder.iterdir())}


def _clear_mark(model: PreTrainedModel) -> None:
    """Its weights are plain numbers by now; marked as quantised, the library would neither save nor train it."""
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None


def lay_out(folder: Path, weights: Path, texts: dict[str, str]) -> Path:
    """A model's folder from what `convert` made: a link to the weights, and the other files."""
    folder.mkdir(parents=True)
    (folder / WEIGHTS).symlink_to(weights.resolve())
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    return folder
