"""What is known of input files from before: digests by stat, row counts by digest. Losing it costs only time."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hsdc_schemas.digests import digest_file, write_atomically

FILE = ".hsdc/cache/inputs.json"
LARGE = 32 << 20  # bytes from which on a thread is worth its start


class InputCache:
    """Digests are trusted while size, both times and inode stay; a file as young as the cache itself is read again."""

    def __init__(self, root: Path, *, rehash: bool = False) -> None:
        self.path = root / FILE
        self.files: dict[str, list[Any]] = {}
        self.facts: dict[str, Any] = {}
        self.saved_at = 0
        self.changed = False
        self.used: dict[str, list[int]] = {}  # stats of all files that were asked for, before they were read
        if not rehash:
            self._load()

    def _load(self) -> None:
        try:
            self.saved_at = self.path.stat().st_mtime_ns
            stored = json.loads(self.path.read_bytes())
            self.files, self.facts = dict(stored["files"]), dict(stored["facts"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self.files, self.facts = {}, {}

    def known(self, path: Path) -> tuple[str, int] | None:
        """Digest and size of a file that has not changed since it was last read."""
        entry = self.files.get(str(path))
        stat = path.stat()
        if (
            entry
            and entry[2:] == _stamp(stat)
            and stat.st_mtime_ns < self.saved_at
            and stat.st_ctime_ns < self.saved_at
        ):
            self.used[str(path)] = entry[2:]
            return entry[0], entry[1]
        return None

    def digest(self, path: Path) -> tuple[str, int]:
        """Digest and size of a file, read only when it may have changed."""
        found = self.known(path)
        if found is None:
            before = path.stat()
            found = digest_file(path)
            self.remember(path, *found, before)
        return found

    def digests(self, paths: Sequence[Path]) -> list[tuple[str, int]]:
        """Digests and sizes of several files; large ones are read on threads, small ones would only wait for them."""
        large = [path for path in paths if path.stat().st_size >= LARGE and self.known(path) is None]
        read: dict[Path, tuple[str, int]] = {}
        if len(large) > 1:
            from concurrent.futures import ThreadPoolExecutor

            stats = [path.stat() for path in large]
            with ThreadPoolExecutor() as pool:
                for path, stat, (digest, size) in zip(large, stats, pool.map(digest_file, large), strict=True):
                    self.remember(path, digest, size, stat)
                    read[path] = digest, size
        return [read.get(path) or self.digest(path) for path in paths]

    def remember(self, path: Path, digest: str, size: int, stat: os.stat_result) -> None:
        """Note a digest with the stat that was taken before the file was read."""
        self.used[str(path)] = _stamp(stat)
        self.files[str(path)] = [digest, size, *_stamp(stat)]
        self.changed = True

    def note(self, key: str, facts: Any) -> None:
        """Note facts that follow from a digest."""
        self.facts[key] = facts
        self.changed = True

    def save(self) -> None:
        """Write the cache, best effort: a read-only project compiles all the same."""
        if self.changed:
            try:
                write_atomically(self.path, json.dumps({"files": self.files, "facts": self.facts}).encode())
            except OSError:
                return


def _stamp(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
