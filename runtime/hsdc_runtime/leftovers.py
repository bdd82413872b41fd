"""Half-written files, and folders of files, that killed processes left under the name `.NAME.….PID.part`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hsdc_schemas.places import GENERATED

PART = re.compile(r"\..+\.(\d+)\.part")
OLD = 24 * 3600.0  # seconds; nothing takes so long to write, so the process of that number is another one
YOUNG = 60.0  # seconds; the process may be one of another machine, or container, that shares the folder


def leftovers(root: Path) -> Iterator[Path]:
    """Those in `generated/`, in the caches and beside the ledger whose writer is gone."""
    own = root / ".hsdc"
    for folder in (root / GENERATED, own / "cache"):
        yield from filter(_is_left, sorted(folder.rglob("*.part")))
    yield from filter(_is_left, sorted(own.glob("*.part")))


def _is_left(path: Path) -> bool:
    named = PART.fullmatch(path.name)
    with suppress(OSError):
        if named is not None and (path.is_file() or path.is_dir()) and not path.is_symlink():
            age = time.time() - path.stat().st_mtime
            return age > OLD or (age > YOUNG and not _lives(int(named[1])))
    return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
