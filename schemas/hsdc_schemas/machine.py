"""What the machine below could not do, a full or a failing disk or too little memory, as an error with its way out."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from pathlib import Path

from hsdc_schemas.errors import Exit, HsdcError, fail

WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room and run again"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make it writable for this user and run again"),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST), "move away what is there and run again"),
    errno.EIO: "what was being written was not kept; look at the disk before anything is run again",
}
NO_MEMORY = ("can't allocate memory", "out of memory")  # how libraries say it that raise a class of their own
LESS = "lower tokens_per_micro_batch (training) or tokens_per_batch (asking), or close other programs"

_WRAPPED = re.compile(r"\(os error (\d+)\)")  # how libraries that are not written in Python hand on an error


def machine_fault(error: BaseException, doing: str = "") -> HsdcError | None:
    """The error as E433, beginning with what was being done; None where it is no fault of the machine."""
    message = f"{doing}: " if doing else ""
    if isinstance(error, MemoryError) or any(text in str(error).lower() for text in NO_MEMORY):
        return fail("E433", Exit.ENVIRONMENT, f"{message}out of memory", None, LESS)
    wrapped = _WRAPPED.search(str(error))
    number = error.errno if isinstance(error, OSError) else int(wrapped[1]) if wrapped else None
    if number not in WAYS_OUT:
        return None
    where = _shown(error.filename) if isinstance(error, OSError) and error.filename else "the disk"
    return fail("E433", Exit.ENVIRONMENT, f"{message}{os.strerror(number)}: {where}", None, WAYS_OUT[number])


def _shown(path: str | bytes | int) -> str:
    """A path as somebody in the working folder would write it."""
    with suppress(OSError, ValueError):
        name = path if isinstance(path, int) else os.fsdecode(path)
        return Path(str(name)).relative_to(Path.cwd()).as_posix()
    return str(path)
