"""Digests: `sha256:<64 hex>` over bytes, files and RFC 8785 canonical JSON."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import rfc8785

PREFIX = "sha256:"


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value; integers beyond 2**53 are refused there, so seeds travel as they are checked."""
    return rfc8785.dumps(value)


def digest_bytes(data: bytes) -> str:
    """The digest of some bytes."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """The digest of a JSON value's canonical bytes."""
    return digest_bytes(canonical(value))


def digest_file(path: Path) -> tuple[str, int]:
    """Digest and size in bytes of a file, each byte read once."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256")
        return PREFIX + found.hexdigest(), file.tell()


def digest_files(files: Iterable[tuple[str, str]]) -> str:
    """One digest for several files, given as (name, digest), whatever their order."""
    return digest_json([list(pair) for pair in sorted(files)])


def short(digest: str) -> str:
    """The first twelve hex digits, for people."""
    return digest.removeprefix(PREFIX)[:12]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all: temporary file beside it, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make a rename or link inside a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Every leaf of nested mappings with its path; a list, and an empty mapping, is one leaf."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value
