"""Whether anything has changed since the last whole compilation, found out without importing the compiler.

Sources are compared by content; inputs and written manifests by size, both times and inode. Whatever is as young as
the stamp itself is not trusted, so that a change within one tick of the clock is not missed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping

STAMPS = ".hsdc/cache/compiled-{}.json"
LOCAL = ("locks/runtime.txt", ".hsdc/sources.toml")
MOST = 1 << 24  # bytes of one file; what is longer is no spec, and no lock
PLACES = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")


def unchanged(root: str, profile: str) -> int | None:
    """The number of runs, if a compilation of all of them would write nothing; None where that is not known."""
    path = os.path.join(root, STAMPS.format(profile))
    try:
        with open(path, "rb") as file:
            stamp = json.loads(file.read())
            young = os.fstat(file.fileno()).st_mtime_ns
        if stamp["sources"] != sources_digest(root) or stamp["manifests"] != _manifests(root, profile):
            return None
        for name, expected in stamp["files"].items():
            stat = os.stat(os.path.join(root, name))
            if [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] != expected or stat.st_ctime_ns >= young:
                return None
        return int(stamp["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stamp_bytes(
    root: str, profile: str, sources: str, runs: int, inputs: Mapping[str, list[int]], outputs: Iterable[str]
) -> bytes:
    """The stamp of a finished compilation; `sources` was taken before it began, `inputs` are stats before reading."""
    files = dict(inputs)
    for name in outputs:
        stat = os.stat(os.path.join(root, name))
        files[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    stamp = {"sources": sources, "manifests": _manifests(root, profile), "files": files, "runs": runs}
    return json.dumps(stamp).encode()


def sources_digest(root: str) -> str:
    """One digest over the specs, the lock, the local sources, the places of caches and hsdc itself."""
    found = hashlib.sha256()
    for name in PLACES:
        found.update(f"{name}={os.environ.get(name, '')}\0".encode())
    for line in _own_code():
        found.update(line.encode())
    for path in (*sorted(_specs(os.path.join(root, "specs"))), *(os.path.join(root, name) for name in LOCAL)):
        try:
            with open(path, "rb", buffering=0, opener=_at_once) as file:
                data = file.read(MOST) or b""
        except OSError:
            data = b"\0absent"
        found.update(f"{path[len(root) :]}\0{len(data)}\0".encode())
        found.update(data)
    return found.hexdigest()


def _at_once(path: str, flags: int) -> int:
    """Opens without waiting: a pipe in place of a file has nothing to say."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _specs(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".yaml"):
                yield entry.path
            elif entry.is_dir(follow_symlinks=False):
                yield from _specs(entry.path)


def _own_code() -> Iterator[str]:
    """Size and time of every source file of the compiler and of the contract: another hsdc may write other bytes."""
    import hsdc_schemas

    for package in (os.path.dirname(__file__), os.path.dirname(hsdc_schemas.__file__ or "")):
        with os.scandir(package) as entries:
            for entry in sorted((e for e in entries if e.name.endswith(".py")), key=lambda e: e.name):
                stat = entry.stat()
                yield f"{entry.name} {stat.st_size} {stat.st_mtime_ns}\n"


def _manifests(root: str, profile: str) -> int:
    """How many manifests are there: one whose run is gone has to be removed."""
    try:
        with os.scandir(os.path.join(root, "generated", profile)) as entries:
            return sum(entry.name.endswith(".lock.json") for entry in entries)
    except FileNotFoundError:
        return 0
