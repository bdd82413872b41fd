"""Guards of the product, each taken away in a child: what the soak run must notice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import hsdc_compiler.cache
import hsdc_compiler.publish
import hsdc_runtime.ledger
import hsdc_runtime.nn.checkpoint
import hsdc_runtime.nn.loop
import hsdc_runtime.run
import hsdc_runtime.store
from hsdc_runtime.nn.checkpoint import Snapshot
from hsdc_runtime.store import Store
from hsdc_schemas.digests import digest_file


def no_rename() -> None:
    """Files are written in place instead of beside and renamed."""
    for module in (hsdc_compiler.publish, hsdc_compiler.cache, hsdc_runtime.run, hsdc_runtime.store):
        module.write_atomically = _in_place  # type: ignore[attr-defined]


def _in_place(path: Path, *parts: bytes, durable: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for part in parts:
        os.write(handle, part)
    os.close(handle)


def no_complete_checkpoints() -> None:
    """Checkpoints are written under their own name, and are not looked at before training goes on from them."""

    def save(folder: Path, snapshot: Snapshot, keep: int) -> Path:
        final = folder / f"step-{snapshot.step:09d}"
        shutil.rmtree(final, ignore_errors=True)
        final.mkdir(parents=True)
        hsdc_runtime.nn.checkpoint._write(final, snapshot)
        return final

    hsdc_runtime.nn.loop.save_checkpoint = save
    hsdc_runtime.nn.checkpoint._intact = lambda path: True


def no_whole_objects() -> None:
    """An object is copied to its place instead of renamed into it."""

    def put(store: Store, file: Path) -> tuple[str, int]:
        digest, size = digest_file(file)
        data = file.read_bytes()
        _in_place(store.path(digest), *(data[at : at + 4096] for at in range(0, size, 4096)))
        return digest, size

    Store.put = put  # type: ignore[method-assign]


def no_cut_line() -> None:
    """A last line that was left half is not cut off before the next."""

    def whole_lines(ledger: hsdc_runtime.ledger.Ledger) -> list[bytes]:
        return ledger.path.read_bytes().splitlines() if ledger.path.exists() else []

    hsdc_runtime.ledger.Ledger._whole_lines = whole_lines  # type: ignore[method-assign]


def no_ledger_lock() -> None:
    """Writers of the ledger do not take turns."""
    hsdc_runtime.ledger.FileLock = lambda path: nullcontext()  # type: ignore[assignment,misc]


GUARDS: dict[str, tuple[str, Callable[[], None]]] = {
    "rename": ("compile", no_rename),
    "whole checkpoints": ("run", no_complete_checkpoints),
    "whole objects": ("run", no_whole_objects),
    "cut of a torn line": ("ledger", no_cut_line),
    "lock of the ledger": ("ledger", no_ledger_lock),
}
