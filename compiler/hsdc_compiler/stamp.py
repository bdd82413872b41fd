"""What the last compilation of all runs was made from, found to be the same or not without importing the compiler.

Files are compared by size, both times and inode, and by content where they are so young that they may have changed
within one tick of the file system's clock. Manifests and inputs as young as that are not trusted at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hsdc_compiler.compilation import Trace

STAMPS = ".hsdc/cache/compiled-{}.json"
LOCAL = ("locks/runtime.txt", ".hsdc/sources.toml")
MARGIN = 10 * 10**9  # nanoseconds: more than the coarsest clock of a file system, and a short compilation
CHUNK = 1 << 16
TICK = 20_000  # more calls than fit into one tick
MOST = 1 << 20  # bytes of a spec
PLACES = ("HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")
SUFFIXES = (".lock.json", ".provenance.json")
ABSENT = (0, 0, 0, 0)

Stat = tuple[int, int, int, int]  # size, times of the last change of content and of anything, inode
Seen = tuple[int, int, int, int, str]  # the same and the digest of the content


def unchanged(root: str, profile: str) -> int | None:
    """The number of runs, if a compilation of all of them would write nothing; None where that is not known."""
    try:
        with open(os.path.join(root, STAMPS.format(profile)), "rb") as file:
            stamp = json.loads(file.read())
            written = os.fstat(file.fileno()).st_mtime_ns
        if stamp["code"] != own_code() or not inputs_stand(stamp["inputs"], written):
            return None
        sources, outputs = source_stats(root), output_stats(root, profile)
        if lines_digest(sources) != stamp["sources"] or lines_digest(outputs) != stamp["outputs"]:
            return None
        if any(stat[2] >= written for stat in outputs.values()):
            return None
        young = [path for path, stat in sources.items() if stat[2] >= written - MARGIN]
        same = all(seen(root, path)[4] == stamp["young"].get(path) for path in young)
        return int(stamp["runs"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def stamp_bytes(root: str, trace: Trace, outputs: Mapping[str, Stat], runs: int, now: int) -> bytes | None:
    """The stamp of a compilation of all runs that is on disk; `now` is the time of the files' clock.

    None where a spec has come since.
    """
    found = source_stats(root)
    if any(path.startswith("specs/") and path.count("/") == 1 and path not in trace.sources for path in found):
        return None
    found |= {path: seen[:4] for path, seen in trace.sources.items()}
    young = [path for path, stat in found.items() if stat[2] >= now - MARGIN]
    stamp = {
        "code": trace.code,
        "runs": runs,
        "sources": lines_digest(found),
        "young": {path: (trace.sources.get(path) or seen(root, path))[4] for path in young},
        "inputs": trace.inputs,
        "outputs": lines_digest(outputs),
    }
    return json.dumps(stamp).encode()


def outlive(stamp: str, outputs: Mapping[str, Stat]) -> int:
    """Make a stamp younger than every manifest, a tick of the file system's clock at the most; its time."""
    newest = max((stat[2] for stat in outputs.values()), default=0)
    time = 0
    for _ in range(TICK):
        time = os.stat(stamp).st_mtime_ns
        if time > newest:
            break
        os.utime(stamp)
    return time


def inputs_stand(inputs: Mapping[str, Stat], since: int) -> bool:
    """Whether inputs are as they were, and older than what says so."""
    return all(stat_of(os.stat(path)) == tuple(was) and was[2] < since for path, was in inputs.items())


def output_stats(root: str, profile: str) -> dict[str, Stat]:
    """Every manifest with its provenance, by name."""
    with os.scandir(os.path.join(root, "generated", profile)) as entries:
        return {entry.name: stat_of(entry.stat()) for entry in entries if entry.name.endswith(SUFFIXES)}


def source_stats(root: str) -> dict[str, Stat]:
    """Every spec, by its path, and what else a compilation reads; OSError where a link stands for a folder."""
    found = {}
    for path in LOCAL:
        try:
            found[path] = stat_of(os.stat(os.path.join(root, path)))
        except OSError:
            found[path] = ABSENT
    for path, stat in _specs(os.path.join(root, "specs"), "specs"):
        found[path] = stat
    return found


def _specs(folder: str, shown: str, below: int = 1) -> Iterator[tuple[str, Stat]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".yaml"):
                yield f"{shown}/{entry.name}", stat_of(entry.stat())
            elif entry.is_symlink():
                raise OSError("what a link leads to may change unseen")
            elif below and entry.is_dir(follow_symlinks=False):
                yield from _specs(entry.path, f"{shown}/{entry.name}", below - 1)


def stat_of(stat: os.stat_result) -> Stat:
    """What of a file changes when its content does."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def lines_digest(stats: Mapping[str, Stat]) -> str:
    """One digest over names and stats."""
    lines = [f"{name} {size} {changed} {touched} {inode}" for name, (size, changed, touched, inode) in stats.items()]
    return hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()


def read(path: str) -> tuple[bytes, Seen]:
    """The bytes of a file, one more than a spec may have at the most, and what was seen of it; it never waits."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        stat = os.fstat(handle)
        data = os.read(handle, CHUNK)
        if len(data) == CHUNK:
            parts, size = [data], CHUNK
            while size <= MOST and (data := os.read(handle, CHUNK)):
                parts.append(data)
                size += len(data)
            data = b"".join(parts)[: MOST + 1]
    finally:
        os.close(handle)
    return data, (*stat_of(stat), hashlib.sha256(data).hexdigest())


def seen(root: str, path: str) -> Seen:
    """What is to be seen of a file of the project."""
    try:
        return read(os.path.join(root, path))[1]
    except OSError:
        return (*ABSENT, "")


def own_code() -> str:
    """One digest over hsdc itself and the places that inputs are looked for in: another hsdc may write other bytes."""
    import hsdc_schemas

    lines = [f"{name}={os.environ.get(name, '')}" for name in PLACES] + [sys.prefix]
    for package in (os.path.dirname(__file__), os.path.dirname(hsdc_schemas.__file__ or "")):
        with os.scandir(package) as entries:
            for entry in sorted((e for e in entries if e.name.endswith(".py")), key=lambda e: e.name):
                stat = entry.stat()
                lines.append(f"{entry.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
