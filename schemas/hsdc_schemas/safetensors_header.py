"""The header of a safetensors file, which says what tensors are in it and where: believed only when it adds up.

A file is eight bytes with the length of its header, the header in JSON, and the tensors' bytes one after the other
without a gap. Whatever else a header says is refused here, before any library looks at the file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

LONGEST_HEADER = 16 << 20
"""Bytes; a model of a hundred thousand tensors stays below."""
MOST_DIMENSIONS = 16
BITS = {
    **{f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": bits for bits in (16, 32, 64)},
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "BOOL"), 8),
    **{"BF16": 16, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
"""Bits of one number of each type."""


class Described(NamedTuple):
    """A tensor: its type and shape, and where in the file its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def safetensors_header(path: Path) -> dict[str, Described]:
    """The tensors of a file by name. Raises ValueError, with the reason, where it is no sound file, and OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= size - 8:
            raise ValueError("it is no safetensors file")
        if length > LONGEST_HEADER:
            raise ValueError(f"its header has {length:,} bytes, and at most {LONGEST_HEADER:,} are read")
        header = _parsed(file.read(length))
    found = {name: _described(name, item, 8 + length) for name, item in header.items() if name != "__metadata__"}
    _require_packed(found, 8 + length, size)
    return found


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is no JSON: {error.msg}") from None
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if (
        not data.startswith(b"{")
        or not isinstance(metadata, dict)
        or not all(isinstance(text, str) for text in metadata.values())
    ):
        raise ValueError("its header is not that of a safetensors file")
    return header  # type: ignore[no-any-return]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _described(name: str, item: Any, start: int) -> Described:
    if not isinstance(item, dict) or item.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name[:60]!r} is not described as safetensors are")
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"tensor {name[:60]!r} is of an unknown type")
    if not _counts(shape) or len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"tensor {name[:60]!r} has no shape that it could have")
    if not _counts(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name[:60]!r} lies nowhere")
    begin, end = offsets
    if (end - begin) * 8 != math.prod(shape) * BITS[dtype]:
        raise ValueError(f"tensor {name[:60]!r} has other bytes than its type and shape need")
    return Described(dtype, tuple(shape), start + begin, start + end)


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 1 << 62 for number in value)


def _require_packed(found: dict[str, Described], start: int, size: int) -> None:
    """Every byte of the file belongs to one tensor and no more."""
    here = start
    for name, item in sorted(found.items(), key=lambda pair: (pair[1].begin, pair[1].end)):
        if item.begin < here:
            raise ValueError(f"tensor {name[:60]!r} overlaps another one")
        if item.begin > here:
            raise ValueError(f"no tensor has the bytes before {name[:60]!r}")
        here = item.end
    if here != size:
        raise ValueError("it is cut off" if here > size else f"{size - here:,} bytes at its end are no tensor's")
