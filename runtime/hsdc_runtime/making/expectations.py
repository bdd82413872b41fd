"""What the result must be, held against what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from hsdc_schemas.errors import Diagnostic, Exit
from hsdc_schemas.making import Between, Expect


def unexpected(
    expected: Sequence[Expect], rows: Mapping[str, int], values: Mapping[str, Counter[str]]
) -> Iterator[Diagnostic]:
    """Every figure that is outside its bounds; `rows` are per split, `values` per column and value over all splits.

    A split of which nothing is expected holds one row at least: what is empty was named or filtered wrongly.
    """
    hint = "mend the sources or the filters, or what is expected"
    named = {name for expect in expected for name in expect.rows}
    silent = Expect(rows={name: Between(minimum=1) for name in rows if name not in named})
    all_rows = {**rows, "all": sum(rows.values())}
    figures = (found for expect in (*expected, silent) for found in _figures(expect, all_rows, values))
    for what, found, bounds in figures:
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
