"""`hsdc gc`: what of the store nobody needs, and with `--delete` its removal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hsdc.commands.verify import project_root
from hsdc.output import inert, say, say_json
from hsdc.terminal import columns
from hsdc_runtime.collect import Surplus, collect, surplus
from hsdc_runtime.work import Busy
from hsdc_schemas.errors import Exit

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def execute(options: argparse.Namespace) -> int:
    """List what nobody needs, or remove it."""
    root = project_root(Path.cwd())
    if options.delete:
        try:
            found = collect(root)
        except Busy as busy:
            print(f"busy: {busy}; nothing was removed", file=sys.stderr)
            return int(Exit.INTERRUPTED)
    else:
        found, busy_with = surplus(root)
        if busy_with:
            print(f"note: {busy_with}; what it is making may be listed, and --delete is refused", file=sys.stderr)
    total = sum(item.bytes for item in found)
    if options.json:
        entries = [asdict(item) for item in found]
        say_json({"version": 1, "deleted": options.delete, "bytes": total, "entries": entries})
    else:
        say([*_lines(found), _last(found, total, deleted=options.delete)])
    return int(Exit.DONE)


def _lines(found: Sequence[Surplus]) -> list[str]:
    sizes = [size(item.bytes) for item in found]
    width = max(map(len, sizes), default=0)
    rows = zip(found, sizes, strict=True)
    return columns([(item.kind, text.rjust(width), _name(item.path), inert(item.why)) for item, text in rows])


def _name(path: str) -> str:
    """The path below the store, its long digests cut."""
    folder, *rest = path.removeprefix(".hsdc/").removeprefix("store/").split("/")
    parts = rest or [folder]
    digest, dot, suffix = "".join(parts).partition(".")
    return inert(f"{digest[:12]}{dot}{suffix}".removesuffix(".json") if len(digest) >= 32 else "/".join(parts))


def _last(found: Sequence[Surplus], total: int, *, deleted: bool) -> str:
    if not found:
        return "nothing to remove: all that is stored is needed"
    count = f"{len(found)} {'entry' if len(found) == 1 else 'entries'}, {size(total)}"
    return f"removed {count}" if deleted else f"{count} that nobody needs; hsdc gc --delete removes them"


def size(count: int) -> str:
    """A number of bytes for people, in powers of a thousand."""
    value, unit = float(count), 0
    while value >= 999.95 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{count} {UNITS[0]}" if unit == 0 else f"{value:.1f} {UNITS[unit]}"
