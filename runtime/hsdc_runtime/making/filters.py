"""What a row must pass to be kept: each filter looks at one column of many rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hsdc_runtime.making.likeness import Near, keys
from hsdc_schemas.making import AtLeast, Distinct, Length, NotSimilar, OneOf

Filter = AtLeast | Length | OneOf | Distinct | NotSimilar
Passing = Callable[[Sequence[Any]], list[bool]]


def passing(rule: Filter) -> Passing:
    """Whether rows pass a filter, asked of their values in the column, some rows after the others.

    `distinct` and `not_similar` compare with every earlier row that came so far, whether or not it was kept; null is
    like nothing and passes these two alone.
    """
    match rule:
        case AtLeast(minimum=minimum):
            return lambda values: [value is not None and value >= minimum for value in values]
        case Length(minimum=minimum, maximum=maximum):
            most = float("inf") if maximum is None else maximum
            return lambda values: [value is not None and minimum <= len(value) <= most for value in values]
        case OneOf(values=wanted):
            kept = frozenset(wanted)
            return lambda values: [value is not None and written(value) in kept for value in values]
        case Distinct():
            seen: set[int] = set()
            return lambda values: [
                value is None or _first(key, seen)
                for value, key in zip(values, keys(list(map(written, values))), strict=True)
            ]
        case NotSimilar(similarity=similarity, shingle=shingle):
            near = Near(similarity, shingle)
            return lambda values: [
                value is None or found is None
                for value, found in zip(values, near.add(list(map(written, values))), strict=True)
            ]


def named(rule: Filter) -> str:
    """What a filter is called where rows are counted."""
    match rule:
        case AtLeast(column=column, minimum=minimum):
            return f"{column} under {minimum:g}"
        case Length(column=column, minimum=minimum, maximum=maximum):
            return f"length of {column} not {minimum} to {'any' if maximum is None else maximum}"
        case OneOf(column=column, values=values):
            return f"{column} not {' or '.join(values) if len(values) < 5 else 'among the values'}"
        case Distinct(column=column):
            return f"{column} seen before"
        case NotSimilar(column=column, similarity=similarity):
            return f"{column} similar by {similarity:g}"


def _first(value: int, seen: set[int]) -> bool:
    before = len(seen)
    seen.add(value)
    return len(seen) > before


def written(value: Any) -> str:
    """A value as it is written in specs."""
    if value is None:
        return ""
    if type(value) is str:
        return value
    return str(value).lower() if type(value) is bool else str(value)
