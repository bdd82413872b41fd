"""Stage convert: a packaged GGUF file as safetensors weights with configuration, tokenizer and chat template."""

from __future__ import annotations

from hsdc_runtime.nn.causal import DTYPES
from hsdc_runtime.nn.gguf import convert as convert_file
from hsdc_runtime.nn.pretrained import usable
from hsdc_runtime.work import Made, Work


def convert(work: Work) -> Made:
    """One file, in the run's precision, which the stages after it read as the model."""
    source = work.inputs.model / work.experiment["model"]["gguf"]
    target = work.folder / "model.safetensors"
    written = usable("GGUF file", lambda: convert_file(source, target, DTYPES[work.execution["precision"]]))
    return Made({"model": target}, {"dtype": work.execution["precision"], **written})
