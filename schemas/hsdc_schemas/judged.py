"""One variant of a run's answers as arrays: its figures, their intervals, and their values over resampled rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hsdc_schemas.answers import Answers
from hsdc_schemas.bound import Bound, Part, together
from hsdc_schemas.confusion import Confusion, Figure, Unparseable
from hsdc_schemas.intervals import Interval, wilson
from hsdc_schemas.metrics import (
    BIAS_AUCS,
    GROUP,
    OF_NUMBERS,
    OVERALL,
    RANKED,
    SUPPORTED,
    Counts,
    Metric,
    Numbers,
    parse_metric,
)
from hsdc_schemas.numbers import from_sums, number_figure, number_sums, unless_same
from hsdc_schemas.ranking import Array, auroc, bias_rows, generalised_mean
from hsdc_schemas.resampling import DRAWS, Sample, at_the_ends, bounds, figures

DRAWS_OF_ROWS = 2_000  # where every row is a unit of its own


@dataclass(frozen=True)
class Judged:
    """Answers of one variant. By head: `codes` [rows] are gold times (labels + 1) plus answer, -1 where not labelled.

    `members` [rows] are whether each row is in a group; `chances` [rows, labels] may be missing for a head. Bias AUCs
    hold a group against the `background`, another group, or all rows outside of it. `numbers` are the ranges of what
    answers say beside their label; `said_numbers` and `right_numbers` [rows] are NaN where there is none.
    """

    heads: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, Array]
    members: Mapping[str, Array]
    chances: Mapping[str, Array]
    clusters: tuple[str, ...] | None
    unparseable: Unparseable
    background: str | None = None
    numbers: Numbers = field(default_factory=dict)
    said_numbers: Mapping[str, Array] = field(default_factory=dict)
    right_numbers: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        answers: Answers,
        variant: str | None = None,
        *,
        ids: Sequence[str] | None = None,
        unparseable: Unparseable | None = None,
        background: str | None = None,
    ) -> Judged:
        """The first variant, or the one that is named; with `ids`, those rows, in that order."""
        header, rows = answers.header, answers.rows
        variant = variant or header.variants[0]
        if ids is not None:
            by_id = {row.id: row for row in rows}
            rows = tuple(by_id[name] for name in ids)
        codes, chances = {}, {}
        for head, labels in header.heads.items():
            places: dict[str | None, int] = {label: place for place, label in enumerate(labels)}
            places[None] = len(labels)
            pairs = ((places[row.gold[head]], places[row.answers[variant][head]]) for row in rows)
            width = len(labels) + 1
            codes[head] = np.array([-1 if gold == len(labels) else gold * width + said for gold, said in pairs], int)
            held = [row.chances.get(variant, {}).get(head) for row in rows]
            if rows and None not in held:
                chances[head] = np.array(held, dtype=np.float64)
        names = sorted({group for row in rows for group in row.groups})
        members = {name: np.array([name in row.groups for row in rows], bool) for name in names}
        clusters = None
        if any(row.cluster is not None for row in rows):  # the rest stand alone
            clusters = tuple(f"r{row.id}" if row.cluster is None else f"c{row.cluster}" for row in rows)
        policy = header.unparseable if unparseable is None else unparseable
        numbers = dict(header.numbers or {})
        said = {name: _column((row.numbers or {}).get(variant, {}).get(name) for row in rows) for name in numbers}
        right = {name: _column((row.references or {}).get(name) for row in rows) for name in numbers}
        return cls(dict(header.heads), codes, members, chances, clusters, policy, background, numbers, said, right)

    def __len__(self) -> int:
        return len(next(iter(self.codes.values())))

    @cached_property
    def counts(self) -> Counts:
        """The counts of all rows, of each group and within each label of each other head."""
        names = [f"{GROUP}={name}" for name in self.members]
        if len(self.heads) > 1:
            names += [f"{head}={label}" for head, labels in self.heads.items() for label in labels]
        slices: dict[str, dict[str, Confusion]] = {}
        for name in names:
            heads = [head for head in self.heads if not name.startswith(f"{head}=")]
            slices[name] = {head: self._confusion(head, self.rows(name)) for head in heads}
        whole = {head: self._confusion(head, self.rows(None)) for head in self.heads}
        return Counts(whole, slices, self.unparseable)

    def rows(self, name: str | None) -> Array:
        """Which rows a slice holds, bool [rows]; none, where it is unknown."""
        if name is None:
            return np.ones(len(self), dtype=bool)
        kind, _, value = name.partition("=")
        if kind == GROUP and value in self.members:
            return self.members[value]
        if kind in self.heads and value in self.heads[kind]:
            return np.asarray(self.gold(kind) == self.heads[kind].index(value))
        return np.zeros(len(self), dtype=bool)

    def gold(self, head: str) -> Array:
        """The place of every row's gold label, -1 where it is not labelled."""
        return np.asarray(np.floor_divide(self.codes[head], len(self.heads[head]) + 1))

    def said(self, head: str) -> Array:
        """The place of every row's answer, the number of labels where it could not be read, -1 where not labelled."""
        codes = self.codes[head]
        return np.where(codes < 0, -1, codes % (len(self.heads[head]) + 1))

    def _confusion(self, head: str, rows: Array) -> Confusion:
        labels = self.heads[head]
        size = len(labels)
        codes = self.codes[head][rows]
        cells = np.bincount(codes[codes >= 0], minlength=size * (size + 1)).reshape(size, size + 1).tolist()
        return Confusion(labels, tuple(map(tuple, cells)))

    def figure(self, metric: Metric) -> Figure:
        """A metric's figure; raises ValueError on an unknown head or label."""
        if metric.is_of_numbers:
            if metric.label not in self.numbers:
                return Figure(None, f"the answers say no number '{metric.label}'")
            return number_figure(metric.name, *(column[self.rows(metric.slice)] for column in self.columns_of(metric)))
        if metric.figure not in RANKED:
            return self.counts.figure(metric)
        parse_metric(str(metric), self.heads)
        if metric.scope not in self.chances:
            return Figure(None, "the answers hold no chances of the labels")
        if metric.name in BIAS_AUCS and metric.slice is None and not self._compared(metric):
            return Figure(None, f"no group with at least {SUPPORTED} rows that has both")
        sample = Sample(np.arange(len(self))[:, None])
        value = float(self.bind(metric, sample)(np.ones((1, len(self))))[0])
        return Figure(value) if np.isfinite(value) else Figure(None, "there are not both, positive and negative rows")

    def interval(self, metric: Metric) -> Interval:
        """A metric's interval over these rows: heads and overlapping groups together, clusters as a whole."""
        return self.intervals([metric])[0]

    def intervals(self, metrics: Sequence[Metric]) -> list[Interval]:
        """The intervals of several metrics, from the same draws."""
        found = [self.figure(metric) for metric in metrics]
        drawn = [metric for metric, figure in zip(metrics, found, strict=True) if self._is_drawn(figure)]
        draws: dict[Metric, Array] = {}
        if drawn:
            sample = self.sample(drawn)
            (columns,) = sample.draw([together([self.bind(metric, sample) for metric in drawn])], draws_for(drawn))
            draws = dict(zip(drawn, columns.T, strict=True))
        return [self._interval(metric, figure, draws) for metric, figure in zip(metrics, found, strict=True)]

    def _is_drawn(self, figure: Figure) -> bool:
        return figure.value is not None and (self.clusters is not None or figure.count is None)

    def _interval(self, metric: Metric, figure: Figure, draws: Mapping[Metric, Array]) -> Interval:
        if figure.value is None:
            return Interval(None, None, reason=figure.reason)
        if figure.count is not None and self.clusters is None:
            return Interval(*wilson(*figure.count), "Wilson")
        found = bounds(draws[metric], "bootstrap" if self.clusters is None else "clustered bootstrap")
        if metric.is_of_numbers:
            return unless_same(found, self.numbers[metric.label or ""])
        return found if metric.is_gap else at_the_ends(figure, found, self._supports(metric))

    def _supports(self, metric: Metric) -> list[int]:
        """How many rows, or clusters of them, there are for each label that a metric stands on."""
        rows = self.rows(metric.slice)
        heads = [head for head in self.heads if metric.scope in (OVERALL, head)]
        kept = [
            np.flatnonzero(rows & (self.gold(head) == place))
            for head in heads
            for place, label in enumerate(self.heads[head])
            if metric.label in (None, label)
        ]
        if self.clusters is None:
            return list(map(len, kept))
        return [len({self.clusters[row] for row in rows}) for rows in kept]

    def columns(self, metrics: Sequence[Metric]) -> list[Array]:
        """All that tells rows apart for these metrics, [rows] each."""
        if any(_of_rows(metric) for metric in metrics):
            return [np.arange(len(self))]
        return [*self.codes.values(), *self.members.values()]

    def sample(self, metrics: Sequence[Metric]) -> Sample:
        """The units to draw for these metrics."""
        return Sample(np.stack(self.columns(metrics), axis=1), self.clusters)

    def bind(self, metric: Metric, sample: Sample) -> Bound:
        """A metric as a statistic of a sample of these rows."""
        groups = metric.is_gap or (metric.figure in BIAS_AUCS and metric.slice is None)
        names = [f"{GROUP}={name}" for name in self._compared(metric)] if groups else [metric.slice]
        parts = []
        for name in names:
            rows = self.rows(name)
            heads = [head for head in self.heads if metric.scope in (OVERALL, head)]
            parts.append([self._part(metric, head, name, rows, sample) for head in heads])
        if metric.is_gap:
            return Bound(parts, lambda values: np.asarray(np.max(values, axis=0) - np.min(values, axis=0)))
        return Bound(parts, generalised_mean if groups else lambda values: values[0])

    def areas(self, head: str, label: str) -> dict[str, dict[str, float | str | None]]:
        """The area under the ROC curve of a label's chances, and its bias areas by group and over the groups.

        By metric: `value`, `low` and `high`, or None each and the `reason`. Empty where there are no chances.
        """
        if head not in self.chances:
            return {}
        metrics = [Metric(head, "auroc", label)]
        for name in BIAS_AUCS:
            groups = self._compared(Metric(head, name, label))
            metrics += [Metric(head, name, label, f"{GROUP}={group}") for group in groups]
            metrics += [Metric(head, name, label)] if groups else []
        return self._told(metrics)

    def of_numbers(self, head: str) -> dict[str, dict[str, float | str | None]]:
        """Coverage, mean, spread and distance of every number that answers say, by metric as `areas` has them."""
        names = ("coverage", *OF_NUMBERS)
        metrics = [Metric(head, name, number) for number in self.numbers for name in names]
        known = [metric for metric in metrics if metric.name != "mae" or np.isfinite(self.columns_of(metric)[1]).any()]
        return self._told(known) if known else {}

    def _told(self, metrics: Sequence[Metric]) -> dict[str, dict[str, float | str | None]]:
        return {
            str(metric): {"value": self.figure(metric).value, "low": to.low, "high": to.high, "reason": to.reason}
            for metric, to in zip(metrics, self.intervals(metrics), strict=True)
        }

    def _compared(self, metric: Metric) -> list[str]:
        """The groups that a gap or a mean is over: those with enough rows."""
        if metric.is_gap:
            return list(self.counts.supported(metric))
        gold, place = self.gold(metric.scope), self._place(metric)
        enough = []
        for name, rows in self.members.items():
            kept = gold[rows & (gold >= 0)]
            if name != self.background and len(kept) >= SUPPORTED and 0 < (kept == place).sum() < len(kept):
                enough.append(name)
        return enough

    def _place(self, metric: Metric) -> int:
        return self.heads[metric.scope].index(metric.label or "")

    def _part(self, metric: Metric, head: str, name: str | None, rows: Array, sample: Sample) -> Part:
        if metric.is_of_numbers:
            columns = [np.where(rows, column, np.nan) for column in self.columns_of(metric)]
            sums = number_sums(metric.name, *columns)
            return sample.sums(np.where(rows[:, None], sums, 0.0)), from_sums(metric.name)
        if metric.figure in RANKED:
            return None, self._ranked(metric, name, rows, sample)
        size = len(self.heads[head])
        shape = (-1, size, size + 1)
        label = None if metric.label is None else self.heads[head].index(metric.label)
        table = sample.table(np.where(rows, self.codes[head], -1), size * (size + 1))
        return table, lambda counts: figures(metric.figure, label, counts.reshape(shape), self.unparseable)

    def columns_of(self, metric: Metric) -> tuple[Array, Array]:
        """What answers say, and what is right, of the number that a metric is over."""
        return self.said_numbers[metric.label or ""], self.right_numbers[metric.label or ""]

    def _ranked(self, metric: Metric, name: str | None, rows: Array, sample: Sample) -> Callable[[Array], Array]:
        gold, place = self.gold(metric.scope), self._place(metric)
        if metric.figure in BIAS_AUCS:
            behind = None if self.background is None else f"{GROUP}={self.background}"
            rows = bias_rows(metric.figure, gold == place, rows, self.rows(behind))
        kept = np.flatnonzero(rows & (gold >= 0))
        areas = auroc(self.chances[metric.scope][kept, place], gold[kept] == place)
        units = sample.of_row[kept]
        return lambda weights: areas(weights[:, units])


def _column(values: Iterable[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _of_rows(metric: Metric) -> bool:
    """Whether no two rows count alike, so that every row is a unit of its own."""
    return metric.is_of_numbers or metric.figure in RANKED


def draws_for(metrics: Sequence[Metric]) -> int:
    """How many draws: fewer where every row is a unit of its own."""
    return DRAWS_OF_ROWS if any(map(_of_rows, metrics)) else DRAWS
