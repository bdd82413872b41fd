"""Which lines of a text went and which came: prompts are reviewed as texts, not as values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from hsdc_schemas.factors import ABSENT

LONGEST = 120  # characters of a value that is shown on one line
MOST_MATCHED = 300  # lines that are aligned; the time grows with their square and more
Line = tuple[str, str]  # "-", "+" or " ", and the line; "…" where lines that stand are left out


def line_diff(before: Any, after: Any, shown: Callable[[Any], str]) -> list[Line]:
    """The lines that differ, with one line around them; nothing where both values fit into a line each."""
    sides = [_lines(value, shown) for value in (before, after)]
    if any(side is None for side in sides) or all(map(_fits, (before, after))):
        return []
    old, new = ([*side] for side in sides if side is not None)
    return list(_around(list(_aligned(old, new))))


def counts(lines: Sequence[Line]) -> str:
    """How many lines went and came, in words."""
    went, came = (sum(sign == kind for sign, _ in lines) for kind in "-+")
    return f"{went} line{'' if went == 1 else 's'} out, {came} in"


def _lines(value: Any, shown: Callable[[Any], str]) -> list[str] | None:
    """The lines of a text, or the items of a list; none of what is neither."""
    if value is ABSENT or value is None:
        return []
    if isinstance(value, str):
        return value.splitlines()
    return [shown(item) for item in value] if isinstance(value, list | tuple) else None


def _fits(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return not any(isinstance(item, dict) for item in value)
    return not isinstance(value, str) or (len(value) <= LONGEST and "\n" not in value.rstrip("\n"))


def _aligned(old: list[str], new: list[str]) -> Iterator[Line]:
    start = _alike(old, new)
    end = _alike(old[start:][::-1], new[start:][::-1])
    yield from ((" ", line) for line in old[:start])
    went, came = old[start : len(old) - end], new[start : len(new) - end]
    whole = max(len(went), len(came)) > MOST_MATCHED
    steps = [("replace", 0, len(went), 0, len(came))] if whole else SequenceMatcher(None, went, came, False)
    for kind, i, j, k, m in steps if isinstance(steps, list) else steps.get_opcodes():
        if kind == "equal":
            yield from ((" ", line) for line in went[i:j])
        else:
            yield from (("-", line) for line in went[i:j])
            yield from (("+", line) for line in came[k:m])
    yield from ((" ", line) for line in old[len(old) - end :])


def _alike(old: list[str], new: list[str]) -> int:
    """How many lines both begin with."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((number for number, (a, b) in pairs if a != b), min(len(old), len(new)))


def _around(lines: list[Line]) -> Iterator[Line]:
    """The lines that differ with their neighbours; an ellipsis for each stretch of others."""
    near = {at + step for at, (sign, _) in enumerate(lines) if sign != " " for step in (-1, 0, 1)}
    for at, line in enumerate(lines):
        if at in near:
            yield line
        elif at == 0 or at - 1 in near:
            yield "…", ""
