"""Whether anything has changed since the last whole compilation, found out without importing the compiler.

Sources are compared by content; inputs and written manifests by size, both times and inode. Whatever is as young as
the stamp itself is not trusted, so that a change within one tick of the clock is not missed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping

STAMPS = ".hsdc/cache/compiled-{}.json"
LOCAL = ("locks/runtime.txt", ".hsdc/sources.toml")
CHUNK = 1 << 16
TICK = 20_000  # more calls than fit into one tick
MOST = 1 << 24  # bytes of one file; what is longer is no spec, and no lock
PLACES = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")


def unchanged(root: str, profile: str) -> int | None:
    """The number of runs, if a compilation of all of them would write nothing; None where that is not known."""
    try:
        with open(os.path.join(root, STAMPS.format(profile)), "rb") as file:
            stamp = json.loads(file.read())
            young = os.fstat(file.fileno()).st_mtime_ns
        for name, expected in stamp["inputs"].items():
            stat = os.stat(os.path.join(root, name))
            if [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] != expected or stat.st_ctime_ns >= young:
                return None
        outputs, newest = _outputs(root, profile)
        same = outputs == stamp["outputs"] and newest < young and stamp["sources"] == (sources_digest(root) or None)
        return int(stamp["runs"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stamp_bytes(root: str, profile: str, sources: str, runs: int, inputs: Mapping[str, list[int]]) -> bytes:
    """The stamp of a finished compilation; `sources` was taken before it began, `inputs` are stats before reading."""
    stamp = {"sources": sources, "outputs": _outputs(root, profile)[0], "inputs": inputs, "runs": runs}
    return json.dumps(stamp).encode()


def outlive(root: str, profile: str, stamp: str) -> None:
    """Make a stamp younger than every manifest, which takes it a tick of the file system's clock at the most."""
    newest = _outputs(root, profile)[1]
    for _ in range(TICK):
        if os.stat(stamp).st_mtime_ns > newest:
            return
        os.utime(stamp)


def _outputs(root: str, profile: str) -> tuple[str, int]:
    """One digest over names and stats of all manifests with their provenance, and when the youngest was changed."""
    lines, newest = [], 0
    with os.scandir(os.path.join(root, "generated", profile)) as entries:
        for entry in entries:
            if entry.name.endswith((".lock.json", ".provenance.json")):
                stat = entry.stat()
                lines.append(f"{entry.name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}")
                newest = max(newest, stat.st_ctime_ns)
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest(), newest


def sources_digest(root: str) -> str:
    """One digest over the specs, the lock, the local sources, the places of caches and hsdc; "" if it cannot be had."""
    try:
        specs = sorted(_specs(os.path.join(root, "specs")))
    except OSError:
        return ""
    found = hashlib.sha256()
    for name in PLACES:
        found.update(f"{name}={os.environ.get(name, '')}\0".encode())
    for line in _own_code():
        found.update(line.encode())
    for path in (*specs, *(os.path.join(root, name) for name in LOCAL)):
        data = _content(path)
        found.update(f"{path[len(root) :]}\0{len(data)}\0".encode(errors="surrogateescape"))
        found.update(data)
    return found.hexdigest()


def _content(path: str) -> bytes:
    """The bytes of a file, opened without waiting: a pipe in place of a file has nothing to say."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return b"\0absent"
    try:
        data = os.read(handle, CHUNK)
        if len(data) < CHUNK:
            return data
        parts, size = [data], len(data)
        while size < MOST and (data := os.read(handle, CHUNK)):
            parts.append(data)
            size += len(data)
        return b"".join(parts)
    except OSError:
        return b"\0absent"
    finally:
        os.close(handle)


def _specs(folder: str, below: int = 1) -> Iterator[str]:
    """Spec files of a folder and of the folders in it; OSError where a link stands for a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".yaml"):
                yield entry.path
            elif entry.is_symlink():
                raise OSError("what a link leads to may change unseen")
            elif below and entry.is_dir(follow_symlinks=False):
                yield from _specs(entry.path, below - 1)


def _own_code() -> Iterator[str]:
    """Size and time of every source file of the compiler and of the contract: another hsdc may write other bytes."""
    import hsdc_schemas

    for package in (os.path.dirname(__file__), os.path.dirname(hsdc_schemas.__file__ or "")):
        with os.scandir(package) as entries:
            for entry in sorted((e for e in entries if e.name.endswith(".py")), key=lambda e: e.name):
                stat = entry.stat()
                yield f"{entry.name} {stat.st_size} {stat.st_mtime_ns}\n"
