"""The append-only, hash-chained list of what happened in a project: `.hsdc/ledger.jsonl`, and its head beside it.

Each line names the digest of the line before it, so that a line which is changed or taken out is noticed. The head,
`.hsdc/ledger.head`, says how many lines there were and the digest of the last, so that a change or a cut at the end is
noticed too. A line is on the disk before the head is replaced: who is killed in between leaves a head that names an
earlier line, and the next append brings it up to date. A ledger from before there were heads gets one at its next line.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from hsdc_schemas.digests import canonical, digest_bytes, force, write_atomically, write_whole
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.secrets import require_no_secrets

LEDGER = ".hsdc/ledger.jsonl"
HEAD = ".hsdc/ledger.head"
FIRST = digest_bytes(b"")
AWAY = f"what happened cannot be trusted: take {LEDGER} and {HEAD} back from a copy, or move both away and begin anew"


class Head(NamedTuple):
    """How many lines there were when the last one was added, and that one's digest."""

    lines: int
    last: str


NOTHING = Head(0, FIRST)


class Ledger:
    """One writer at a time; every entry is durable before `append` returns."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / LEDGER
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(str(self.path.with_suffix(".lock")))

    def append(self, event: str, **facts: Any) -> None:
        """Add an entry; a last line that a killed writer left half is cut off first.

        Raises HsdcError: E520 where the end is not what the head names, as nothing is added to what was changed, and
        E810 for a secret.
        """
        with self._lock:
            lines, head = self._whole_lines(), _head(self.root)
            _require_end(lines, head)
            previous = digest_bytes(lines[-1]) if lines else FIRST
            now, number = datetime.now(UTC).isoformat(timespec="seconds"), len(lines) + 1
            entry = {"event": event, "at": now, "line": number, "previous": previous, "pid": os.getpid(), **facts}
            line = canonical(entry)
            require_no_secrets(LEDGER, line)
            with self.path.open("ab", buffering=0) as file:
                self._add(file.fileno(), line + b"\n")
            head = Head(number, digest_bytes(line))
            write_atomically(self.root / HEAD, canonical(head._asdict()) + b"\n")

    def _add(self, handle: int, line: bytes) -> None:
        """Write a line and force it to the disk; one that the disk fails is cut off again, to be written anew."""
        end = os.fstat(handle).st_size
        try:
            write_whole(handle, line, self.path)
            force(handle, self.path)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, end)
            raise

    def _whole_lines(self) -> list[bytes]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        if end < len(data) and data[:end].count(b"\n") >= (_head(self.root) or NOTHING).lines:
            with self.path.open("rb+") as file:
                file.truncate(end)
        return data[:end].splitlines()

    def entries(self) -> list[dict[str, Any]]:
        """All entries, oldest first; a broken chain is an error that names the line."""
        with self._lock:  # a line that is being written is not one that was left half
            lines = self._whole_lines()
            return _verified(lines, _head(self.root))


def read_only(root: Path) -> tuple[list[dict[str, Any]], int]:
    """All entries, and how many bytes a last line has that was left half; nothing is locked, cut or made.

    Raises FileNotFoundError where nothing was ever written, and HsdcError for a broken chain.
    """
    size = -1
    while True:
        head = _head(root)  # before the lines: those only become more
        try:
            data = (root / LEDGER).read_bytes()
        except FileNotFoundError:
            if head is None:
                raise
            data = b""
        whole = data.rfind(b"\n") + 1
        settled = head is not None or _head(root) is None
        if settled and (whole == len(data) or size == len(data)):
            return _verified(data[:whole].splitlines(), head), len(data) - whole
        size = len(data)
        time.sleep(0.1)  # a line that is being written is not one that was left half


def _head(root: Path) -> Head | None:
    """The head as it is written, None where there is none."""
    try:
        data = (root / HEAD).read_bytes()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(data)
        head = Head(**value)
        if canonical(head._asdict()) + b"\n" == data and type(head.lines) is int and head.lines > 0:
            return head
    except (ValueError, TypeError, RecursionError):
        pass
    raise fail("E520", Exit.NO, f"{HEAD} is not as it was written, so the end of the ledger is not known", None, AWAY)


def _verified(lines: list[bytes], head: Head | None) -> list[dict[str, Any]]:
    """The entries of a chain that is whole, down to the line that the head names."""
    entries = _chained(lines)
    # Lines with a number had a head beside them, but for the last: its writer may have been killed before the head.
    if head is None and any("line" in entry for entry in entries[:-1]):
        raise fail("E520", Exit.NO, f"{HEAD} was taken away, so the end of the ledger is not known", None, AWAY)
    _require_named(lines, head)
    return entries


def _require_end(lines: list[bytes], head: Head | None) -> None:
    """What follows the head is its continuation; without a head the whole chain is looked at, once."""
    if head is None:
        _verified(lines, head)
        return
    _require_named(lines, head)
    _chained(lines[head.lines :], head)


def _require_named(lines: list[bytes], head: Head | None) -> None:
    if head is None:
        return
    if len(lines) < head.lines:
        gone = head.lines - len(lines)
        what = "the last line was" if gone == 1 else f"the last {gone} lines were"
        raise fail("E520", Exit.NO, f"{LEDGER}: {what} cut off; there were {head.lines}", None, AWAY)
    if digest_bytes(lines[head.lines - 1]) != head.last:
        raise _broken(head.lines, f"it is not the line that {HEAD} names: one of the two was edited")


def _chained(lines: list[bytes], after: Head = NOTHING) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    previous = after.last
    for number, line in enumerate(lines, after.lines + 1):
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
    return fail("E520", Exit.NO, f"{LEDGER}:{number}: the chain is broken, {reason}", None, AWAY)
