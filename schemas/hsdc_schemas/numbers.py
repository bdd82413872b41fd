"""Figures over a number that answers say beside their label: its mean, its spread, how far it is from what is right.

They are over the rows whose answer says the number; `coverage` is the share of rows whose answer does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hsdc_schemas.confusion import Figure
from hsdc_schemas.intervals import Interval

Array: TypeAlias = npt.NDArray[Any]


def number_figure(name: str, said: Array, right: Array) -> Figure:
    """A figure over rows: `said` [rows] is NaN where an answer says no number, `right` [rows] where none is known.

    `std` is that of a sample: over n - 1, hence of two numbers or more.
    """
    there = np.isfinite(said)
    if name == "coverage":
        count = (int(there.sum()), len(said))
        return Figure(count[0] / count[1], count=count) if count[1] else Figure(None, "there are no rows")
    if name == "mae":
        both = there & np.isfinite(right)
        far = np.abs(said[both] - right[both])
        return Figure(float(far.mean())) if len(far) else Figure(None, "no row has both, a number and what is right")
    least = 2 if name == "std" else 1
    if there.sum() < least:
        return Figure(None, "no answer says the number" if not there.any() else "one answer alone says the number")
    kept = said[there]
    return Figure(float(kept.std(ddof=1) if name == "std" else kept.mean()))


def number_sums(name: str, said: Array, right: Array) -> Array:
    """What `from_sums` takes the sums of, float64 [rows, 3]: rows, a value and its square, all 0 where there is none.

    Of `coverage` the value is whether the number is said.
    """
    value = {"coverage": np.isfinite(said).astype(np.float64), "mae": np.abs(said - right)}.get(name, said)
    there = np.isfinite(value)
    kept = np.where(there, value, 0.0)
    return np.stack([there.astype(np.float64), kept, kept**2], axis=1)


def from_sums(name: str) -> Callable[[Array], Array]:
    """Figures [draws] of the sums of drawn rows [draws, 3]; NaN where they are undefined."""

    def figures(sums: Array) -> Array:
        rows, value, square = np.moveaxis(sums, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            if name != "std":
                return np.asarray(value / rows)
            return np.asarray(np.sqrt(np.maximum(square - value**2 / rows, 0.0) / (rows - 1)))

    return figures


def unless_same(found: Interval, ends: tuple[float, float]) -> Interval:
    """The interval, or none where all rows say one number, so that no resample differs but by rounding."""
    same = found.low is not None and found.high is not None and found.high - found.low < 1e-7 * (ends[1] - ends[0])
    return Interval(None, None, reason="no resample differs") if same else found
