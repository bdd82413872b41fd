"""Regular expressions that others wrote, read by RE2: the time that one takes grows with the text, and no faster."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

MEMORY = 1 << 16  # bytes of a compiled pattern: what does not fit would take seconds for a text of a megabyte
LARGE = "write fewer and shorter repeats with bounds"
OTHERWISE = "mend it; as RE2 reads patterns, they look neither ahead nor back, and repeat no '++' and no group again"


def pattern_fault(pattern: str) -> tuple[str, str]:
    """Why a pattern is not to be used, and the way out; twice nothing where it is sound.

    It cannot be read, is too large, or has not one group.
    """
    import re2  # weight that few specs need

    try:
        groups = _compiled(pattern).groups
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        if "too large" in why:
            return "is too large to be quick", LARGE
        return f"cannot be read: {why}", OTHERWISE
    except UnicodeEncodeError:
        return "cannot be read: it is not UTF-8", OTHERWISE
    if groups != 1:
        hint = "put one pair of parentheses around what is meant, and (?: ) around the rest"
        return f"has {groups} groups; the one group is what is taken", hint
    return "", ""


def finder(pattern: str) -> Callable[[str], str | None]:
    """What gives the text of the pattern's one group in a text, where it is found first; `.` is any character."""
    search = _compiled(pattern).search

    def find(text: str) -> str | None:
        found = search(text)
        return None if found is None else found.group(1)

    return find


@cache
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.dot_nl, options.log_errors, options.max_mem = True, False, MEMORY
    return re2.compile(pattern, options)
