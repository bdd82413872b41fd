"""A pretrained model as this run needs it, or the reason why it cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hsdc_runtime.nn.acceleration import require_device
from hsdc_runtime.nn.model import Classifier, load_encoder
from hsdc_schemas.encoder import Encoder, HeadShape
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.machine import machine_fault
from hsdc_schemas.spec import Execution

_T = TypeVar("_T")


@lru_cache(maxsize=2)  # reading one from a GGUF file takes seconds, and the runs of a campaign share it
def pretrained_tokenizer(folder: Path, gguf: str = "") -> PreTrainedTokenizerBase:
    """The tokenizer in a model's folder, or in a GGUF file there; HsdcError where there is none that can be used."""
    options = {"gguf_file": gguf} if gguf else {}
    return usable(
        "tokenizer",
        lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **options),
    )


def pretrained_classifier(
    folder: Path,
    execution: Execution,
    encoder: Encoder,
    shape: HeadShape,
    heads: Mapping[str, int],
    *,
    recompute: bool = False,
) -> Classifier:
    """New heads on the encoder in a model's folder; HsdcError where it, or the device, cannot be used."""
    require_device(execution)

    def load() -> Classifier:
        return Classifier(load_encoder(folder, execution.attention), encoder, shape, heads, recompute=recompute)

    return usable("model", load)


def usable(what: str, load: Callable[[], _T]) -> _T:
    """What `load` returns; HsdcError where it fails because of the model's files."""
    try:
        return load()
    except Exception as error:  # each library has errors of its own for a folder that it cannot read
        if machine_fault(error) is not None or (isinstance(error, OSError) and error.errno is not None):
            raise
        first = (str(error).splitlines() or [""])[0]
        message = f"the {what} cannot be used: {type(error).__name__}: {first}"
        raise fail(
            "E435", Exit.SPEC, message, None, "bind another model, or mend its files and compile again"
        ) from None
