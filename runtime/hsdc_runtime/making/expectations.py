"""What the result must be, held against what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from hsdc_schemas.errors import Diagnostic, Exit
from hsdc_schemas.making import Between, Expect


def unexpected(expect: Expect, rows: Mapping[str, int], values: Mapping[str, Counter[str]]) -> Iterator[Diagnostic]:
    """Every figure that is outside its bounds; `rows` are per split, `values` per column and value over all splits."""
    hint = "mend the sources or the filters, or what is expected"
    for what, found, bounds in _figures(expect, {**rows, "all": sum(rows.values())}, values):
        low = float("-inf") if bounds.minimum is None else bounds.minimum
        high = float("inf") if bounds.maximum is None else bounds.maximum
        if not low <= found <= high:
            message = f"{what}: {found:.6g}, expected {_between(bounds.minimum, bounds.maximum)}"
            yield Diagnostic("E619", Exit.NO, message, None, hint)


def _figures(
    expect: Expect, rows: Mapping[str, int], values: Mapping[str, Counter[str]]
) -> Iterator[tuple[str, float, Between]]:
    for name, bounds in expect.rows.items():
        yield f"rows of {name}", rows[name], bounds
    for column, wanted in expect.counts.items():
        for value, bounds in wanted.items():
            yield f"rows with {column} '{value}'", values[column][value], bounds
    for column, wanted in expect.shares.items():
        for value, bounds in wanted.items():
            share = values[column][value] / rows["all"] if rows["all"] else 0.0
            yield f"the share of {column} '{value}'", share, bounds


def _between(low: float | None, high: float | None) -> str:
    if low is not None and low == high:
        return f"{low:.6g}"
    least, most = f"at least {low:.6g}" if low is not None else "", f"at most {high:.6g}" if high is not None else ""
    return " and ".join(filter(None, (least, most)))
