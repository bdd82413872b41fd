"""BLAKE3 beside SHA-256, where the package `blake3` is installed: it tells sooner that a large file is as it was.

A digest in a manifest is SHA-256 always. A large file that is hashed gets both from one reading; when its times or its
inode have changed, or everything is to be read again, BLAKE3 alone is asked first, at several times the speed. Only
where that differs is the file read once more.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from hsdc_schemas.digests import LARGE, digest_file

Known = dict[str, list[Any]]  # by path: size in bytes, BLAKE3 in hex, digest


class Hash(Protocol):
    """What hashes bytes."""

    def update(self, data: Any, /) -> Any:
        """Take up more bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far, in lower case."""


def blake3() -> Callable[[], Hash] | None:
    """The hash, if its package is installed."""
    try:
        new: Callable[[], Hash] = importlib.import_module("blake3").blake3
    except ImportError:
        return None
    return new


def reader(known: Known) -> Callable[[Path], tuple[str, int]] | None:
    """How a file is hashed with both: digest and size in bytes; `known` is asked, and takes up what is found."""
    new = blake3()
    if new is None:
        return None

    def read(path: Path) -> tuple[str, int]:
        size = path.stat().st_size
        if size < LARGE:
            return digest_file(path)
        before, hashed = known.get(str(path)), new()
        if type(before) is list and before[:1] == [size] and _fed(path, hashed) == before[:2]:
            return str(before[2]), size
        hashed = new()
        digest, size = digest_file(path, hashed)
        known[str(path)] = [size, hashed.hexdigest(), digest]
        return digest, size

    return read


def _fed(path: Path, hashed: Hash) -> list[Any]:
    with path.open("rb", buffering=0) as file:
        hashlib.file_digest(file, lambda: hashed)  # type: ignore[arg-type, return-value]
        return [file.tell(), hashed.hexdigest()]
