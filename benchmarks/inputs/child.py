"""`python -m benchmarks.inputs.child FOLDER ROUNDS`: hashing alone, in turns in one process; it answers on stdout."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hsdc_compiler import recheck
from hsdc_compiler.cache import InputCache
from hsdc_schemas import digests

Hash = Callable[[Sequence[Path]], int]
"""Hashes files; returns the bytes that it read besides."""


@dataclass(frozen=True)
class Hashed:
    """CPU and clock seconds, bytes that were read of the files, and threads at work."""

    cpu: float
    clock: float
    read: int
    threads: int


def main() -> None:
    """Hash all shards in a folder in every way, several rounds."""
    assert futures.ThreadPoolExecutor  # imported here: its code is not read while bytes are counted
    recheck.blake3 = lambda: None  # what is measured is hsdc without an extra
    processors = os.cpu_count()
    os.cpu_count = lambda: processors  # nor the kernel's file of processors, which a pool of threads asks for
    paths = sorted(Path(sys.argv[1]).glob("*.safetensors"))
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(int(sys.argv[2])):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            ways: dict[str, Hash] = {
                "hashlib.file_digest": _bare,
                "hsdc": lambda paths, root=root: _cached(root, paths),
                "hsdc, unchanged": lambda paths, root=root: _cached(root, paths),
                "hsdc, one touched": lambda paths, root=root: _cached(root, paths),
                **_blake3(),
            }
            for way, run in ways.items():
                if way == "hsdc, one touched":
                    os.utime(paths[0])
                found.setdefault(way, []).append(asdict(_measured(run, paths)))
    print(json.dumps(found))


def _measured(run: Hash, paths: Sequence[Path]) -> Hashed:
    seen = {threading.get_ident()}
    plain = digests.digest_file

    def noted(path: Path) -> tuple[str, int]:
        seen.add(threading.get_ident())
        return plain(path)

    digests.digest_file = noted
    before, clock, cpu = _read(), time.monotonic(), time.process_time()
    besides = run(paths)
    cpu, clock = time.process_time() - cpu, time.monotonic() - clock
    after = int(Path("/proc/self/io").read_text().split()[1])
    digests.digest_file = plain
    return Hashed(cpu, clock, after - before - besides, len(seen))


def _read() -> int:
    """Bytes that this process has read so far, this look included, as the kernel counts them."""
    text = Path("/proc/self/io").read_text()
    return int(text.split()[1]) + len(text)


def _bare(paths: Sequence[Path]) -> int:
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256").hexdigest()
    return 0


def _cached(root: Path, paths: Sequence[Path]) -> int:
    known = InputCache(root)
    size = known.path.stat().st_size if known.path.exists() else 0
    known.digests(paths)
    known.save()
    return size


def _blake3() -> dict[str, Hash]:
    """BLAKE3 on one thread, where its package is installed."""
    try:
        from blake3 import blake3
    except ImportError:
        return {}

    def run(paths: Sequence[Path]) -> int:
        for path in paths:
            with path.open("rb") as file:
                hashlib.file_digest(file, blake3).hexdigest()
        return 0

    return {"BLAKE3": run}


if __name__ == "__main__":
    main()
