"""Digests: `sha256:<64 hex>` over bytes, files and RFC 8785 canonical JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from typing import Any, SupportsBytes

import msgspec
import rfc8785

PREFIX = "sha256:"
LARGEST = 2**53 - 1
ONE_READ = 1 << 18  # bytes up to which a file is read in one call
LARGE = 32 << 20  # bytes from which on a thread is worth its start

HOLE = msgspec.Raw(b"\0")  # a byte that stands nowhere in JSON
_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value; ValueError where it holds what RFC 8785 has no bytes for."""
    return canonical_ready(ready(value))


def from_json(data: bytes) -> Any:
    """The value of JSON bytes, with whole numbers beyond 2**53 - 1 as the floats that RFC 8785 writes so."""
    return json.loads(data, parse_int=_whole)


def _whole(digits: str) -> int | float:
    value = int(digits) if len(digits) < 18 else LARGEST + 1
    return value if abs(value) <= LARGEST else float(digits)


def canonical_ready(value: Any) -> bytes:
    """RFC 8785 bytes of a value that `ready` returned.

    msgspec writes the same bytes as RFC 8785 for what `ready` lets through, and 20 times as fast as a library in
    Python; the one difference is the order of keys beyond ASCII, which RFC 8785 sorts as UTF-16.
    """
    data = _ENCODER.encode(value)
    return data if data.isascii() else msgspec.json.encode(_in_order(value))


class Text(msgspec.Struct, frozen=True, gc=False):
    """Canonical bytes as a template and what fills its holes, most of which other texts share; `bytes(text)` joins."""

    template: bytes
    fills: tuple[bytes, ...]

    def __bytes__(self) -> bytes:
        return self.template % self.fills


def template(value: Any) -> bytes:
    """RFC 8785 bytes of a value that `ready` returned, as a template: each `HOLE` in it takes such bytes (`%b`)."""
    return canonical_ready(value).replace(b"%", b"%%").replace(bytes(HOLE), b"%b")


AS_IT_IS = frozenset((str, bool, type(None)))


@lru_cache(maxsize=4096)
def _raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(rfc8785.dumps(value))


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def ready(value: Any) -> Any:
    """A JSON value whose numbers msgspec writes as RFC 8785 does; worth doing once for what is encoded often."""
    kind = type(value)
    if kind in AS_IT_IS:
        return value
    if kind is dict:  # most of a spec: what most values are is asked here, not in a call for each
        return {
            key: item if (of := type(item)) in AS_IT_IS or (of is int and -LARGEST <= item <= LARGEST) else ready(item)
            for key, item in value.items()
        }
    if kind is float and (1e-5 <= value < 1e15 or 1e-5 <= -value < 1e15):
        return int(value) if value.is_integer() else value
    if kind is int and -LARGEST <= value <= LARGEST:
        return value
    if kind is list or kind is tuple:
        return [item if type(item) in AS_IT_IS else ready(item) for item in value]
    if isinstance(value, Mapping):
        return {key: ready(item) for key, item in value.items()}
    return _raw(value)


def digest_bytes(data: bytes) -> str:
    """The digest of some bytes."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:
    """The digest of a JSON value's canonical bytes."""
    return digest_bytes(canonical(value))


class _Both:
    """Two hashes that are fed the same bytes."""

    def __init__(self, one: Any, other: Any) -> None:
        self._one, self._other = one, other

    def update(self, data: Any) -> None:
        self._one.update(data)
        self._other.update(data)


def digest_file(path: Path, beside: Any = None) -> tuple[str, int]:
    """Digest and size in bytes of a file, each byte read once; `beside` is another hash that is fed them too."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # one call of many thousand: a file object costs as much again
    try:
        size = os.fstat(handle).st_size
        data = os.read(handle, size + 1) if size < ONE_READ else b""
        found = hashlib.sha256(data)
        fed: Any = found if beside is None else _Both(found, beside)
        if beside is not None:
            beside.update(data)
        if len(data) != size:
            with open(handle, "rb", buffering=0, closefd=False) as file:
                hashlib.file_digest(file, lambda: fed)
                size = file.tell()
        return PREFIX + found.hexdigest(), size
    finally:
        os.close(handle)


Read = Callable[[Path], tuple[str, int]]


def digest_each(
    paths: Sequence[Path], sizes: Sequence[int], reader: Callable[[], Read | None] = lambda: None
) -> list[tuple[str, int]]:
    """Digests and sizes of files whose sizes are about known: several large ones on threads, small ones never.

    `reader` may give another way to hash, and is asked for it where there are large ones.
    """
    large = [path for path, size in zip(paths, sizes, strict=True) if size >= LARGE]
    read = (reader() if large else None) or digest_file
    if len(large) < 2:
        return [read(path) for path in paths]
    from concurrent.futures import ThreadPoolExecutor  # weight that a start without large files does without

    with ThreadPoolExecutor() as pool:
        running = {path: pool.submit(read, path) for path in large}
        return [running[path].result() if path in running else digest_file(path) for path in paths]


def digest_files(files: Iterable[tuple[str, str]]) -> str:
    """One digest for several files, given as (name, digest), whatever their order."""
    return digest_json([list(pair) for pair in sorted(files)])


def short(digest: str) -> str:
    """The first twelve hex digits, for people."""
    return digest.removeprefix(PREFIX)[:12]


def write_atomically(path: str | Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file that is there whole or not at all: temporary file beside it, fsync, rename, fsync of the folder.

    Without `durable` nothing is forced to the disk: for what can be made again and is checked when it is read.
    A write that the disk fails raises OSError, and what was not there before is not there then either.
    """
    where = os.fspath(path)
    folder, _, name = where.rpartition(os.sep)
    # Of two processes in two containers that share the folder, both may have the same id.
    temporary = f"{folder or '.'}{os.sep}.{name}.{os.urandom(4).hex()}.{os.getpid()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        handle = os.open(temporary, flags, 0o666)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, flags, 0o666)
    try:
        try:
            write_whole(handle, data, where)
            if durable:
                force(handle, where)
        finally:
            os.close(handle)
        if not durable:
            os.replace(temporary, where)  # noqa: PTH105 - one call of many thousand
            return
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    rename_durably(Path(temporary), Path(path))


def write_folder(folder: Path, files: Mapping[str, SupportsBytes], aside: Path) -> bool:
    """Write files, by name, into a folder that is not there yet: all of them are there then, or nothing is.

    They are written under `aside`, and nothing is forced to the disk; that takes half the time of writing each
    atomically. False where it cannot be done so: another disk, say, or a folder that has come meanwhile.
    """
    temporary = aside / f".{folder.name}.{os.urandom(4).hex()}.{os.getpid()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        temporary.mkdir(parents=True)
        place = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for name, data in files.items():
                handle = os.open(name, flags, 0o666, dir_fd=place)
                try:
                    write_whole(handle, bytes(data), name)
                finally:
                    os.close(handle)
        finally:
            os.close(place)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(folder)  # which fails where a folder of that name holds anything
    except BaseException as error:
        rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            return False
        raise
    return True


def rename_durably(source: Path, target: Path) -> None:
    """Give a file that was forced to the disk its name; where the disk fails, it has not got it, unless one had it."""
    new = not target.exists()
    try:
        source.replace(target)
        sync_folder(target.parent)
    except OSError:
        source.unlink(missing_ok=True)
        if new:
            target.unlink(missing_ok=True)
        raise


def write_whole(handle: int, data: bytes, path: str | Path) -> None:
    """Write all of some bytes; OSError, with the name of the file, where there is no room for all of them."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(handle, view) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def force(handle: int, path: str | Path) -> None:
    """Force a file to the disk, or raise OSError with its name.

    Never to be tried again on the same bytes: after a failure the system may have dropped them, and then says yes.
    """
    try:
        os.fsync(handle)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def sync_folder(path: Path) -> None:
    """Make a rename or link inside a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        force(handle, path)
    finally:
        os.close(handle)


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Every leaf of nested mappings with its path; a list, and an empty mapping, is one leaf."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value
