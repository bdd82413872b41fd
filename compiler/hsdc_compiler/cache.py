"""What is known of input files from before: digests by stat, row counts by digest. Losing it costs only time."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from hsdc_compiler.recheck import Known, reader
from hsdc_compiler.stamp import Stat, stat_of
from hsdc_schemas.digests import digest_each, write_atomically

FILE = ".hsdc/cache/inputs.json"


class InputCache:
    """Digests are trusted while size, both times and inode stay; a file as young as the cache itself is read again."""

    def __init__(self, root: Path, *, rehash: bool = False) -> None:
        self.path = root / FILE
        self.files: dict[str, list[Any]] = {}
        self.facts: dict[str, Any] = {}
        self.saved_at = 0
        self.changed = False
        self.used: dict[str, Stat] = {}  # stats of all files that were asked for, before they were read
        self.asked: list[str] = []  # whatever is asked for, until somebody takes note
        self.quick: Known = {}
        self._load()
        if rehash:
            self.files, self.facts, self.saved_at = {}, {}, 0

    def _load(self) -> None:
        try:
            self.saved_at = self.path.stat().st_mtime_ns
            stored = json.loads(self.path.read_bytes())
            self.files, self.facts = dict(stored["files"]), dict(stored["facts"])
            self.quick = dict(stored.get("quick", {}))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self.files, self.facts, self.quick = {}, {}, {}

    def known(self, path: Path) -> tuple[str, int] | None:
        """Digest and size of a file that has not changed since it was last read."""
        return self._known(str(path), path.stat())

    def _known(self, path: str, stat: os.stat_result) -> tuple[str, int] | None:
        entry = self.files.get(path)
        if not entry or max(stat.st_mtime_ns, stat.st_ctime_ns) >= self.saved_at or tuple(entry[2:]) != stat_of(stat):
            return None
        self._use(path, stat)
        return entry[0], entry[1]

    def digest(self, path: Path) -> tuple[str, int]:
        """Digest and size of a file, read only when it may have changed."""
        return self.digests([path])[0]

    def digests(self, paths: Sequence[Path]) -> list[tuple[str, int]]:
        """Digests and sizes of several files, each read only when it may have changed."""
        stats = [path.stat() for path in paths]
        found = [self._known(str(path), stat) for path, stat in zip(paths, stats, strict=True)]
        unread = [at for at, known in enumerate(found) if known is None]
        sizes = [stats[at].st_size for at in unread]
        read = digest_each([paths[at] for at in unread], sizes, lambda: reader(self.quick))
        for at, (digest, size) in zip(unread, read, strict=True):
            self.remember(paths[at], digest, size, stats[at])
            found[at] = digest, size
        return [known for known in found if known]

    def remember(self, path: Path, digest: str, size: int, stat: os.stat_result) -> None:
        """Note a digest with the stat that was taken before the file was read."""
        self._use(str(path), stat)
        self.files[str(path)] = [digest, size, *stat_of(stat)]
        self.changed = True

    def watch(self, path: Path) -> None:
        """Remember that something depends on where a path leads, or on what is in a folder."""
        self._use(str(path), path.stat())

    def _use(self, path: str, stat: os.stat_result) -> None:
        self.used[path] = stat_of(stat)
        self.asked.append(path)

    def note(self, key: str, facts: Any) -> None:
        """Note facts that follow from a digest."""
        self.facts[key] = facts
        self.changed = True

    def save(self) -> None:
        """Write the cache, best effort: a read-only project compiles all the same."""
        if self.changed:
            try:
                write_atomically(
                    self.path, msgspec.json.encode({"files": self.files, "facts": self.facts, "quick": self.quick})
                )
            except OSError:
                return
