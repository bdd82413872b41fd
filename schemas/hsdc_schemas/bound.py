"""Metrics bound to the units that are drawn: their figures over every draw, what they share being counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np

from hsdc_schemas.resampling import AT_A_TIME, Array, Statistic

Part: TypeAlias = tuple[Array | None, Callable[[Array], Array]]


@dataclass(frozen=True)
class Bound:
    """A metric over a sample's units: `parts` by group and head.

    A part has a table [units, cells] and what turns counts [draws, cells] into figures [draws]; one without a table
    takes the weights of the units instead.
    """

    parts: Sequence[Sequence[Part]]
    across: Callable[[Sequence[Array]], Array]

    @property
    def given(self) -> Iterator[Array | None]:
        """What every part has for a table."""
        return (table for table, _ in chain.from_iterable(self.parts))

    @property
    def tables(self) -> list[Array] | None:
        """All tables, or None where a part has none."""
        found = [table for table in self.given if table is not None]
        return found if len(found) == sum(map(len, self.parts)) else None

    def value(self, counts: Sequence[Array]) -> Array:
        """Figures [draws] from what each part takes, in their order."""
        given = iter(counts)
        return self.across([np.mean([finish(next(given)) for _, finish in heads], axis=0) for heads in self.parts])

    def __call__(self, weights: Array) -> Array:
        """Figures [draws] from how often each unit was drawn [draws, units]."""
        return together([self])(weights)[:, 0]


def together(bounds: Sequence[Bound]) -> Statistic:
    """The figures [draws, metrics] of several metrics; a table that some of them share is multiplied once."""
    tables = {id(table): table for bound in bounds for table in bound.given if table is not None}
    step = max(1, AT_A_TIME // max(1, sum(table.shape[1] for table in tables.values())))

    def some(weights: Array) -> Array:
        counts = {None: weights} | {key: weights @ table for key, table in tables.items()}
        keys = ([None if table is None else id(table) for table in bound.given] for bound in bounds)
        found = [bound.value([counts[key] for key in own]) for bound, own in zip(bounds, keys, strict=True)]
        return np.stack(found, axis=1)

    def statistic(weights: Array) -> Array:
        parts = [some(weights[start : start + step]) for start in range(0, len(weights), step)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    return statistic
