"""Names of the modules of a model, from the headers of its files: nothing is loaded."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from hsdc_schemas.safetensors_header import safetensors_header

MAGIC = b"GGUF"
MOST = 1 << 20
"""Entries of a header, and bytes of a text in it that is kept."""
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, LIST = 8, 9
FAMILY = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "smollm3"}
"""Architectures whose modules are called alike."""
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "token_embd": "embed_tokens",
    "output": "lm_head",
}


def module_names(folder: Path, names: Iterable[str], gguf: str = "") -> tuple[str, ...] | None:
    """The modules that hold matrices, given the names of a model's files; None where they cannot be told.

    Of a GGUF file they are what the library calls them once it is converted, in the architectures where that is known.
    Raises ValueError where a file is not sound, and OSError.
    """
    if gguf:
        return _of_gguf(folder / gguf)
    found: set[str] = set()
    for name in names:
        if name.endswith(".safetensors"):
            for tensor, described in safetensors_header(folder / name).items():
                module, _, last = tensor.rpartition(".")
                if last == "weight" and len(described.shape) >= 2:
                    found.add(module)
    return tuple(sorted(found)) or None


def _of_gguf(path: Path) -> tuple[str, ...] | None:
    with path.open("rb") as file:
        if file.read(4) != MAGIC or _number(file, 4) < 2:
            return None
        tensors, entries = _number(file, 8), _number(file, 8)
        if max(tensors, entries) > MOST:
            raise ValueError("its header is too long")
        architecture = ""
        for _ in range(entries):
            key, value = _text(file), _value(file)
            architecture = value if key == "general.architecture" and isinstance(value, str) else architecture
        found = {_named(name) for name in (_tensor(file) for _ in range(tensors)) if name}
    return tuple(sorted(name for name in found if name)) if architecture in FAMILY else None


def _named(tensor: str) -> str:
    """A tensor's module as the library calls it; blank where it is no matrix that is known."""
    parts = tensor.split(".")
    layer = f"model.layers.{parts[1]}." if parts[0] == "blk" and len(parts) == 4 else ""
    name = NAMES.get(parts[-2] if len(parts) > 1 else "", "")
    return f"{layer}{name}" if name and parts[-1] == "weight" else ""


def _tensor(file: BinaryIO) -> str:
    name, dimensions = _text(file), _number(file, 4)
    if dimensions > 8:
        raise ValueError("a tensor in its header has no shape that it could have")
    file.seek(8 * dimensions + 12, 1)
    return name


def _value(file: BinaryIO) -> str | None:
    """A text; of anything else only its end is found."""
    kind = _number(file, 4)
    if kind == TEXT:
        return _text(file)
    if kind == LIST:
        of, count = _number(file, 4), _number(file, 8)
        if of in SIZES:
            file.seek(SIZES[of] * count, 1)
        elif of != TEXT or count > MOST:
            raise ValueError("its header holds a list that it could not")
        else:
            for _ in range(count):
                file.seek(_number(file, 8), 1)
    elif kind in SIZES:
        file.seek(SIZES[kind], 1)
    else:
        raise ValueError("its header holds a value of an unknown type")
    return None


def _text(file: BinaryIO) -> str:
    length = _number(file, 8)
    if length > MOST:
        raise ValueError("its header holds a text that is too long")
    return file.read(length).decode("utf-8", "replace")


def _number(file: BinaryIO, size: int) -> int:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("it is cut off")
    return int(struct.unpack("<I" if size == 4 else "<Q", data)[0])
