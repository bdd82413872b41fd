"""The bootstrap: rows drawn again with replacement, and figures of every draw at once.

Rows that cannot be told apart are one unit that counts several times, so the counts of a confusion are drawn as a
multinomial (Efron and Tibshirani 1993, chapter 6). Rows of one cluster are one unit, and are drawn together (Davison
and Hinkley 1997, section 3.8). The seed follows from what is drawn, so the same counts give the same interval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hsdc_schemas.confusion import Confusion, Figure, Unparseable
from hsdc_schemas.intervals import CONFIDENCE, Interval, wilson
from hsdc_schemas.metrics import GROUP, OVERALL, Counts, Metric

DRAWS = 10_000
AT_A_TIME = 2_000_000  # numbers held for the draws that are made together
MOST_UNDEFINED = 0.05  # share of the draws that may have no figure

Array: TypeAlias = npt.NDArray[Any]
Statistic: TypeAlias = Callable[[Array], Array]  # how often each unit was drawn [draws, units] -> figures [draws, …]


class Sample:
    """Units that are drawn: `times` [units] says how many rows or clusters each stands for, `row` one row of it."""

    def __init__(self, columns: Array, clusters: Sequence[str] | None = None) -> None:
        """`columns` [rows, n] is all that tells rows apart; rows of one cluster are drawn together."""
        self.clustered = clusters is not None
        if clusters is None:
            _, self.row, self.of_row, self.times = np.unique(
                columns, axis=0, return_index=True, return_inverse=True, return_counts=True
            )
        else:
            _, self.row, self.of_row = np.unique(np.array(clusters), return_index=True, return_inverse=True)
            self.times = np.ones(len(self.row), dtype=np.int64)
        self.of_row = self.of_row.reshape(-1)
        self._seed = (columns, self.of_row)
        self._tables: dict[tuple[bytes, int], Array] = {}

    def table(self, codes: Array, cells: int) -> Array:
        """Float64 [units, cells]: how often each code is in one unit, given every row's code or -1 for none.

        The same codes have one and the same table, so that metrics share it.
        """
        key = (hashlib.sha256(codes.tobytes()).digest(), cells)
        if key not in self._tables:
            self._tables[key] = self._table(codes, cells)
        return self._tables[key]

    def _table(self, codes: Array, cells: int) -> Array:
        table = np.zeros((len(self.times), cells))
        if self.clustered:
            counted = codes >= 0
            np.add.at(table, (self.of_row[counted], codes[counted]), 1)
        else:
            first = codes[self.row]
            table[np.arange(len(first))[first >= 0], first[first >= 0]] = 1
        return table

    def sums(self, values: Array) -> Array:
        """Float64 [units, k]: the sums over one unit of every row's values [rows, k]."""
        if not self.clustered:
            return np.asarray(values[self.row])
        table = np.zeros((len(self.times), values.shape[1]))
        np.add.at(table, self.of_row, values)
        return table

    def generator(self) -> np.random.Generator:
        """A generator whose seed follows from the rows."""
        state = hashlib.sha256()
        for part in self._seed:
            state.update(np.ascontiguousarray(part, dtype=np.int64).tobytes())
        return np.random.default_rng(int.from_bytes(state.digest()[:16], "big"))

    def chunks(self, draws: int) -> Iterator[int]:
        """How many draws to make together, so that memory stays small."""
        step = max(1, AT_A_TIME // len(self.times))
        yield from (min(step, draws - start) for start in range(0, draws, step))

    def draw(self, statistics: Sequence[Statistic], draws: int = DRAWS) -> list[Array]:
        """Figures [draws, …] of each statistic, all of the same draws."""
        generator, total = self.generator(), int(self.times.sum())
        found: list[list[Array]] = [[] for _ in statistics]
        for count in self.chunks(draws):
            weights = generator.multinomial(total, self.times / total, size=count).astype(np.float64)
            for place, statistic in enumerate(statistics):
                found[place].append(statistic(weights))
        return [np.concatenate(parts) for parts in found]


def figures(name: str, label: int | None, counts: Array, unparseable: Unparseable) -> Array:
    """Figures [...] of counts [..., labels, labels + 1], as `Confusion` has them; NaN where they are undefined.

    The last column counts unreadable answers; `label` is a place among the labels, where the figure is one label's.
    """
    total = counts.sum((-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "coverage":
            return np.asarray(1 - counts[..., -1].sum(-1) / total)
        read = counts[..., :-1]
        if unparseable == "drop":
            counts, total = read, read.sum((-1, -2))
        hits, support, predicted = np.diagonal(read, axis1=-2, axis2=-1), counts.sum(-1), read.sum(-2)
        if name == "accuracy":
            found = hits.sum(-1) / total
        elif name == "fpr":
            found = (predicted - hits)[..., label] / (total - support[..., label])
        elif name == "fnr":
            found = 1 - (hits / support)[..., label]
        else:
            by_label = {
                "precision": lambda: hits / predicted,
                "recall": lambda: hits / support,
                "f1": lambda: 2 * hits / (support + predicted),
            }[name.removesuffix("_macro")]()
            found = by_label.mean(-1) if label is None else by_label[..., label]
    return np.asarray(found)


def full(confusion: Confusion) -> Array:
    """Counts int64 [labels, labels + 1], with the column of unreadable answers."""
    size = len(confusion.labels)
    counts = np.zeros((size, size + 1), dtype=np.int64)
    counts[:, : len(confusion.counts[0])] = confusion.counts
    return counts


def bounds(draws: Array, method: str) -> Interval:
    """The percentile interval of a figure's draws; none where too many of them are undefined."""
    kept = draws[np.isfinite(draws)]
    if len(kept) < (1 - MOST_UNDEFINED) * len(draws):
        share = 1 - len(kept) / len(draws)
        return Interval(None, None, reason=f"undefined in {share:.0%} of the resamples")
    low, high = np.quantile(kept, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high), method)


def interval(counts: Counts, metric: Metric) -> Interval:
    """A metric's interval: the one that is held beside the counts, or from these alone, as of independent rows.

    Of counts alone it is Wilson's where the figure is a share of rows, else the bootstrap of the counts. `overall` gets
    the mean of the heads' bounds, which is right where heads fail on the same rows and too wide where they do not; a
    gap is resampled as if no row were in two groups.
    """
    figure = counts.figure(metric)
    if figure.value is None:
        return Interval(None, None, reason=figure.reason)
    if counts.intervals is not None:
        none = Interval(None, None, reason="rows hang together, which counts do not tell")
        return counts.intervals.get(str(metric), none)
    if figure.count is not None:
        return Interval(*wilson(*figure.count), "Wilson")
    if metric.is_gap:
        draws = [
            _draws(counts, Metric(metric.scope, metric.figure, metric.label, f"{GROUP}={group}"))
            for group in counts.supported(metric)
        ]
        return bounds(np.max(draws, axis=0) - np.min(draws, axis=0), "bootstrap")
    if metric.scope == OVERALL:
        heads = counts.whole if metric.slice is None else counts.slices[metric.slice]
        parts = [interval(counts, Metric(head, metric.name, None, metric.slice)) for head in heads]
        return _mean_of(parts)
    return at_the_ends(figure, bounds(_draws(counts, metric), "bootstrap"), _supports(counts, metric))


def at_the_ends(figure: Figure, found: Interval, supports: Sequence[int]) -> Interval:
    """The interval, or Wilson's of the rows that it stands on where no resample of a perfect figure can differ."""
    if found.low is None or found.low != found.high or figure.value not in (0.0, 1.0):
        return found
    ends = [wilson(n if figure.value else 0, n) for n in supports if n]
    low, high = (sum(end[side] for end in ends) / len(ends) for side in (0, 1))
    return Interval(low, high, "Wilson")


def _draws(counts: Counts, metric: Metric) -> Array:
    if metric.scope == OVERALL:
        heads = counts.whole if metric.slice is None else counts.slices[metric.slice]
        parts = [_draws(counts, Metric(head, metric.name, None, metric.slice)) for head in heads]
        return np.asarray(np.mean(parts, axis=0))
    tables = counts.whole if metric.slice is None else counts.slices[metric.slice]
    confusion = tables[metric.scope]
    cells = full(confusion)
    codes = np.repeat(np.arange(cells.size), cells.reshape(-1))
    sample = Sample(codes[:, None])
    table = sample.table(codes, cells.size)
    label = None if metric.label is None else confusion.labels.index(metric.label)

    def statistic(weights: Array) -> Array:
        drawn = (weights @ table).reshape(-1, *cells.shape)
        return figures(metric.figure, label, drawn, counts.unparseable)

    return sample.draw([statistic])[0]


def _supports(counts: Counts, metric: Metric) -> list[int]:
    confusion = (counts.whole if metric.slice is None else counts.slices[metric.slice])[metric.scope]
    return [confusion.support(label) for label in ([metric.label] if metric.label else confusion.labels)]


def _mean_of(parts: Sequence[Interval]) -> Interval:
    lows = [part.low for part in parts if part.low is not None]
    highs = [part.high for part in parts if part.high is not None]
    if len(lows) < len(parts):
        return Interval(None, None, reason="; ".join(part.reason for part in parts if part.reason))
    return Interval(sum(lows) / len(lows), sum(highs) / len(highs), "mean of the heads' bounds")
