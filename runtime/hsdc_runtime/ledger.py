"""The append-only, hash-chained list of what happened in a project: `.hsdc/ledger.jsonl`.

Each line names the digest of the line before it, so that a line which is changed or taken out is noticed.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from hsdc_schemas.digests import canonical, digest_bytes
from hsdc_schemas.errors import Exit, HsdcError, fail

LEDGER = ".hsdc/ledger.jsonl"
FIRST = digest_bytes(b"")


class Ledger:
    """One writer at a time; every entry is durable before `append` returns."""

    def __init__(self, root: Path) -> None:
        self.path = root / LEDGER
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(str(self.path.with_suffix(".lock")))

    def append(self, event: str, **facts: Any) -> None:
        """Add an entry; a last line that a killed writer left half is cut off first."""
        with self._lock:
            lines = self._whole_lines()
            previous = digest_bytes(lines[-1]) if lines else FIRST
            now = datetime.now(UTC).isoformat(timespec="seconds")
            line = canonical({"event": event, "at": now, "previous": previous, "pid": os.getpid(), **facts})
            with self.path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def _whole_lines(self) -> list[bytes]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        if end < len(data):
            with self.path.open("rb+") as file:
                file.truncate(end)
        return data[:end].splitlines()

    def entries(self) -> list[dict[str, Any]]:
        """All entries, oldest first; a broken chain is an error that names the line."""
        with self._lock:  # a line that is being written is not one that was left half
            lines = self._whole_lines()
        return _chained(lines)


def read_only(root: Path) -> tuple[list[dict[str, Any]], int]:
    """All entries, and how many bytes a last line has that was left half; nothing is locked, cut or made.

    Raises FileNotFoundError, and HsdcError for a broken chain.
    """
    path, size = root / LEDGER, -1
    while True:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole == len(data) or size == len(data):
            return _chained(data[:whole].splitlines()), len(data) - whole
        size = len(data)
        time.sleep(0.1)  # a line that is being written is not one that was left half


def _chained(lines: list[bytes]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    previous = FIRST
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            follows = entry["previous"] == previous
            as_written = canonical(entry) == line
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _broken(number, "it is not an entry") from None
        if not follows:
            edited = "lines before it were taken out" if number == 1 else f"line {number - 1} was edited or taken out"
            raise _broken(number, edited)
        if not as_written:
            raise _broken(number, "it was edited")
        found.append(entry)
        previous = digest_bytes(line)
    return found


def _broken(number: int, reason: str) -> HsdcError:
    hint = "what happened up to there cannot be trusted"
    return fail("E520", Exit.NO, f"{LEDGER}:{number}: the chain is broken, {reason}", None, hint)
