"""What a safetensors file holds, tensor by tensor, read without any library and without loading it into memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

from hsdc_schemas.digests import PREFIX
from hsdc_schemas.safetensors_header import Described, safetensors_header

CHUNK = 1 << 20
TYPES = {
    **{f"F{bits}": f"float{bits}" for bits in (64, 32, 16)},
    **{f"I{bits}": f"int{bits}" for bits in (64, 32, 16, 8)},
    **{f"U{bits}": f"uint{bits}" for bits in (64, 32, 16, 8)},
    "BF16": "bfloat16",
    "BOOL": "bool",
}


def tensors_in(path: Path) -> list[dict[str, Any]]:
    """Name, dtype, shape and digest of each tensor's little-endian bytes, by name, in the form that training lists.

    Raises ValueError for what is no sound safetensors file, and OSError.
    """
    header = safetensors_header(path)
    with path.open("rb") as file:
        return [_tensor(file, name, item) for name, item in sorted(header.items())]


def _tensor(file: BinaryIO, name: str, item: Described) -> dict[str, Any]:
    file.seek(item.begin)
    digest, left = hashlib.sha256(), item.end - item.begin
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise ValueError(f"{name} is cut off")
        digest.update(data)
        left -= len(data)
    dtype = TYPES.get(item.dtype, item.dtype)
    return {"name": name, "dtype": dtype, "shape": list(item.shape), "digest": PREFIX + digest.hexdigest()}


def first_that_differs(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str | None:
    """The first name under which two lists of tensors say something else."""
    old, new = ({tensor["name"]: tensor for tensor in tensors} for tensors in (before, after))
    return next((name for name in sorted({*old, *new}) if old.get(name) != new.get(name)), None)
