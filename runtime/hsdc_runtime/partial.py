"""A file that grows line by line and outlives a killed run: what it holds is known whole, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hsdc_schemas.digests import canonical, write_atomically

LINES, STATE = "lines.jsonl", "state.json"


class Partial:
    """Rows of a stage's output in a folder, in their order, with what was counted while they were made.

    Rows are added in groups; the state that names their number, bytes and digest is written after them, atomically.
    What lies behind it, or does not fit its digest, is forgotten: the caller goes on from `rows`.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self._state = folder / LINES, folder / STATE
        self.rows, self.counts = 0, dict[str, int]()
        self._digest, self._bytes = hashlib.sha256(), 0
        folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        with self.path.open("ab") as file:
            file.truncate(self._bytes)

    def _resume(self) -> None:
        try:
            state = json.loads(self._state.read_bytes())
            found, left = hashlib.sha256(), int(state["bytes"])
            with self.path.open("rb") as file:
                while left and (data := file.read(min(left, 1 << 20))):
                    found.update(data)
                    left -= len(data)
            if left or found.hexdigest() != state["digest"]:
                return
            counts = {str(name): int(count) for name, count in state["counts"].items()}
            rows, size = int(state["rows"]), int(state["bytes"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self.rows, self.counts, self._digest, self._bytes = rows, counts, found, size

    def add(self, rows: Iterable[Any], counts: Mapping[str, int]) -> None:
        """Append rows as lines of canonical JSON, and add to what was counted."""
        lines = [canonical(row) + b"\n" for row in rows]
        data = b"".join(lines)
        with self.path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._digest.update(data)
        self._bytes += len(data)
        self.rows += len(lines)
        self.counts = {name: self.counts.get(name, 0) + count for name, count in counts.items()}
        state = {"rows": self.rows, "bytes": self._bytes, "digest": self._digest.hexdigest(), "counts": self.counts}
        write_atomically(self._state, canonical(state))

    def finish(self, target: Path) -> None:
        """Copy all lines to a file; the partial one stays until the stage's output is in the store."""
        shutil.copyfile(self.path, target)
