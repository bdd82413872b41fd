"""What a safetensors file holds, tensor by tensor, read without any library and without loading it into memory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from hsdc_schemas.digests import PREFIX

LONGEST_HEADER = 100 << 20
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

    Raises ValueError for what is no safetensors file, and OSError.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= LONGEST_HEADER:
            raise ValueError("it is no safetensors file")
        try:
            header = json.loads(file.read(length))
            described = sorted((name, item) for name, item in header.items() if name != "__metadata__")
            return [_tensor(file, 8 + length, name, item) for name, item in described]
        except (KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError("its header is not that of a safetensors file") from None


def _tensor(file: BinaryIO, start: int, name: str, item: dict[str, Any]) -> dict[str, Any]:
    begin, end = item["data_offsets"]
    if not 0 <= begin <= end:
        raise ValueError(f"{name} lies outside of the file")
    file.seek(start + begin)
    digest, left = hashlib.sha256(), end - begin
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise ValueError(f"{name} is cut off")
        digest.update(data)
        left -= len(data)
    dtype = TYPES.get(item["dtype"], str(item["dtype"]))
    return {"name": name, "dtype": dtype, "shape": list(item["shape"]), "digest": PREFIX + digest.hexdigest()}


def first_that_differs(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str | None:
    """The first name under which two lists of tensors say something else."""
    old, new = ({tensor["name"]: tensor for tensor in tensors} for tensors in (before, after))
    return next((name for name in sorted({*old, *new}) if old.get(name) != new.get(name)), None)
