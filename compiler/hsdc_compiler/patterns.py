"""Regular expressions that others wrote: what is wrong with them, the time that they may take included."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]  # the one reader that reads what `re` reads
from typing import Any

REPEATS = ("MAX_REPEAT", "MIN_REPEAT")
SETTLED = ("POSSESSIVE_REPEAT", "ATOMIC_GROUP", "ASSERT", "ASSERT_NOT")  # what matched in them is not tried otherwise
FEW = 8  # repeats of a repeat that are tried in no time
NESTED = "repeats what repeats, so that a text can take longer than anyone waits"


def pattern_fault(pattern: str) -> tuple[str, str]:
    """Why a pattern is not to be used, and the way out; twice nothing where it is sound.

    It cannot be read, has not one group, or may take for ever.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            groups = re.compile(pattern).groups
        nested = _nested(_parser.parse(pattern), inside=False)
    except (re.error, OverflowError, RecursionError, ValueError, Warning) as error:
        return f"cannot be read: {str(error).splitlines()[0]}", "mend it"
    if groups != 1:
        hint = "put one pair of parentheses around what is meant"
        return f"has {groups} groups; the one group is what is taken", hint
    return (NESTED, r"let the inner one give nothing back: '++' or '*+', as in (?:\w++ )*") if nested else ("", "")


def _nested(parsed: Any, *, inside: bool) -> bool:
    """Whether a repeat stands inside another one, and each is of many lengths."""
    for operation, value in parsed:
        repeats = str(operation) in REPEATS and value[1] - value[0] > FEW
        if repeats and inside:
            return True
        settled = str(operation) in SETTLED
        if any(_nested(part, inside=(inside or repeats) and not settled) for part in _parts(value)):
            return True
    return False


def _parts(value: Any) -> Iterator[Any]:
    """The patterns that an operation holds, however deep in its operands."""
    if isinstance(value, _parser.SubPattern):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _parts(item)
