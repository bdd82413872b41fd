"""Who works on what: a lock for each run, and one for whoever removes from the store while nobody works on anything.

A run takes its own lock first and then asks whether the store is being collected; whoever collects says so first and
then asks whether anybody works. So one of two that start at once sees the other, whichever is the faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hsdc_runtime.store import STORE
from hsdc_runtime.work import Busy

COLLECTING = "collect.lock"
PATIENCE = 5.0  # seconds that a run waits for a collection


@contextmanager
def working(root: Path, name: str, busy: str) -> Iterator[None]:
    """Hold the lock of that name; raises Busy, with that message, where another process holds it."""
    folder = _folder(root)
    lock = _taken(folder / f"{name}.lock", busy)
    try:
        _taken(folder / COLLECTING, "another process is removing from the store", PATIENCE).release()
        yield
    finally:
        lock.release()


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Keep everybody from starting; raises Busy where somebody works already, naming the run before its stage."""
    folder = _folder(root)
    lock = _taken(folder / COLLECTING, "another process is removing from the store, or a run is just starting")
    try:
        for path in sorted(folder.glob("*.lock"), key=lambda path: (path.name.count(".") == 1, path.name)):
            if path.name != COLLECTING:
                _taken(path, _what(path)).release()
        yield
    finally:
        lock.release()


def _taken(path: Path, busy: str, patience: float = 0.0) -> FileLock:
    lock = FileLock(str(path))
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise Busy(busy) from None
    return lock


def _what(path: Path) -> str:
    kind, _, rest = path.name.removesuffix(".lock").partition(".")
    name = rest.partition(".")[2] if kind in ("run", "verify") else ""
    return f"another process is working on {name or 'a stage'}"


def _folder(root: Path) -> Path:
    folder = root / STORE / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
