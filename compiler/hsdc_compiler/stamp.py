"""What the last compilation of all runs was made from, found to be the same or not without importing the compiler.

Files are compared by size, time of the last change and inode, and by content where they are so young that they may
have changed within one tick of the file system's clock. Manifests and inputs as young as that are not trusted at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hsdc_compiler.compilation import Trace

CACHE = ".hsdc/cache"
STAMPS = CACHE + "/compiled-{}.json"
LOCAL = ("locks/runtime.txt", ".hsdc/sources.toml")
MARGIN = 10 * 10**9  # nanoseconds: more than the coarsest clock of a file system, and a short compilation
CHUNK = 1 << 16
TICK = 20_000  # more calls than fit into one tick
MOST = 1 << 20  # bytes of a spec
PLACES = ("HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")
SPEC_LIKE = (".yaml", ".yml")  # the second is read by nobody, which is said
SUFFIXES = (".lock.json", ".provenance.json")
ABSENT = (0, 0, 0)
LINE, END = "\0\n", "\0\n\n"  # of a stamp; no path holds the first character
TEXT = ("utf-8", "surrogateescape")

Stat = tuple[int, int, int]  # size, time of the last change of anything, inode
Seen = tuple[int, int, int, str]  # the same and the digest of the content
Row = tuple[str, int, int, int]  # a path and the same


def unchanged(root: str, profile: str) -> int | None:
    """The number of runs, if a compilation of all of them would write nothing; None where that is not known."""
    try:
        with open(os.path.join(root, STAMPS.format(profile)), "rb") as file:
            runs, code, inputs, young, sources, outputs = file.read().decode(*TEXT).split(END)
            written = os.fstat(file.fileno()).st_mtime_ns
        if code != own_code() or not inputs_stand(dict(map(_input, _parts(inputs))), written):
            return None
        there, changed = _told(_outputs(root, profile))
        specs, times = _told(_sources(root))
        if not (_are(there, outputs) and _are(specs, sources)) or max(changed, default=0) >= written:
            return None
        digests = {path: digest for path, _, digest in (line.partition("\0") for line in _parts(young))}
        recent = [line.partition("\0")[0] for line, time in zip(specs, times, strict=True) if time >= written - MARGIN]
        return int(runs) if all(seen(root, path)[3] == digests.get(path) for path in recent) else None
    except (OSError, ValueError):
        return None


def stamp_bytes(root: str, trace: Trace, outputs: Mapping[str, Stat], runs: int, now: int) -> bytes | None:
    """The stamp of a compilation of all runs that is on disk; `now` is the time of the files' clock.

    None where a spec has come since.
    """
    found = source_stats(root)
    if any(path.startswith("specs/") and path.count("/") == 1 and path not in trace.sources for path in found):
        return None
    found |= {path: seen[:3] for path, seen in trace.sources.items()}
    recent = [path for path, stat in found.items() if stat[1] >= now - MARGIN]
    young = [f"{path}\0{(trace.sources.get(path) or seen(root, path))[3]}" for path in recent]
    inputs, sources = _lines(trace.inputs.items()), _lines(found.items())
    return END.join((str(runs), trace.code, inputs, LINE.join(young), sources, _lines(outputs.items()))).encode(*TEXT)


def _lines(stats: Iterable[tuple[str, Stat]]) -> str:
    """Names and stats, as they stand in a stamp."""
    return LINE.join(_told((name, *stat) for name, stat in stats)[0])


def _told(rows: Iterable[Row]) -> tuple[list[str], list[int]]:
    """Files as lines of a stamp, and when each was changed last."""
    lines, times = [], []
    for path, size, changed, inode in rows:
        lines.append(f"{path}\0{size} {changed} {inode}")
        times.append(changed)
    return lines, times


def _are(lines: list[str], text: str) -> bool:
    """Whether files are those of a stamp; a folder is nearly always listed in the same order."""
    return LINE.join(lines) == text or sorted(lines) == sorted(_parts(text))


def _parts(text: str) -> list[str]:
    return text.split(LINE) if text else []


def _input(line: str) -> tuple[str, Stat]:
    path, _, stat = line.partition("\0")
    size, changed, inode = map(int, stat.split())
    return path, (size, changed, inode)


def outlive(stamp: str, outputs: Mapping[str, Stat]) -> int:
    """Make a stamp younger than every manifest, a tick of the file system's clock at the most; its time."""
    newest = max((stat[1] for stat in outputs.values()), default=0)
    time = 0
    for _ in range(TICK):
        time = os.stat(stamp).st_mtime_ns
        if time > newest:
            break
        os.utime(stamp)
    return time


def inputs_stand(inputs: Mapping[str, Stat], since: int) -> bool:
    """Whether inputs are as they were, and older than what says so."""
    return all(stat_of(os.stat(path)) == tuple(was) and was[1] < since for path, was in inputs.items())


def output_stats(root: str, profile: str) -> dict[str, Stat]:
    """Every manifest with its provenance, by name."""
    return {name: (size, changed, inode) for name, size, changed, inode in _outputs(root, profile)}


def _outputs(root: str, profile: str) -> Iterator[Row]:
    return _listed(os.path.join(root, "generated", profile), SUFFIXES)


def source_stats(root: str) -> dict[str, Stat]:
    """Every spec, by its path, and what else a compilation reads; OSError where a link stands for a folder."""
    return {path: (size, changed, inode) for path, size, changed, inode in _sources(root)}


def _sources(root: str) -> Iterator[Row]:
    for path in LOCAL:
        try:
            yield path, *stat_of(os.stat(os.path.join(root, path)))
        except OSError:
            yield path, *ABSENT
    folders: list[str] = []
    yield from _listed(os.path.join(root, "specs"), SPEC_LIKE, "specs/", folders)
    for name in folders:
        yield from _listed(os.path.join(root, "specs", name), SPEC_LIKE, f"specs/{name}/", [])


def _listed(folder: str, suffixes: tuple[str, ...], shown: str = "", folders: list[str] | None = None) -> Iterator[Row]:
    """Files of a folder with some endings; `folders` takes up those in it."""
    handle = os.open(folder, os.O_RDONLY)  # from which a file is looked up in two thirds of the time
    try:
        with os.scandir(handle) as entries:
            for entry in entries:
                name = entry.name
                if name.endswith(suffixes):
                    stat = entry.stat()
                    yield shown + name, stat.st_size, stat.st_ctime_ns, stat.st_ino
                elif folders is None:
                    continue
                elif entry.is_symlink():
                    raise OSError("what a link leads to may change unseen")
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
    finally:
        os.close(handle)


def stat_of(stat: os.stat_result) -> Stat:
    """What of a file changes when its content does."""
    return stat.st_size, stat.st_ctime_ns, stat.st_ino


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
    return data, (*stat_of(stat), _digest(data))


def _digest(data: bytes) -> str:
    import hashlib  # which takes as long as it takes to stat a thousand files

    return hashlib.sha256(data).hexdigest()


def seen(root: str, path: str) -> Seen:
    """What is to be seen of a file of the project."""
    try:
        return read(os.path.join(root, path))[1]
    except OSError:
        return (*ABSENT, "")


def own_code() -> str:
    """What hsdc is and where it looks for inputs: another hsdc may write other bytes."""
    import hsdc_schemas

    lines = [f"{name}={os.environ.get(name, '')}" for name in PLACES] + [sys.prefix]
    for package in (os.path.dirname(__file__), os.path.dirname(hsdc_schemas.__file__ or "")):
        with os.scandir(package) as entries:
            for entry in sorted((e for e in entries if e.name.endswith(".py")), key=lambda e: e.name):
                stat = entry.stat()
                lines.append(f"{entry.name} {stat.st_size} {stat.st_mtime_ns}")
    return LINE.join(lines)
