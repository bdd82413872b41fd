"""Scores: every figure is derived from integer confusion counts, and is a number or undefined with a reason."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import index
from statistics import NormalDist
from typing import Any

OVERALL = "overall"
WHOLE = ("accuracy", "f1_macro", "precision_macro", "recall_macro")
BY_LABEL = ("f1", "precision", "recall")

_METRIC = re.compile(r"([a-z][a-z0-9_]*)\.([a-z0-9_]+)(?:\[(.+)\])?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, or None with the reason why it is undefined."""

    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.reason):
            raise ValueError("a figure has either a value or the reason why it has none")


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One label's line in a table of scores."""

    label: str
    precision: Figure
    recall: Figure
    f1: Figure
    support: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of one head: `counts[gold][predicted]`, in label order.

    Each row has one count per label, or one more: the last then counts the answers that could not be read, which are
    wrong for every label. Raises ValueError where the labels repeat or the counts are not of that shape.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        size = len(self.labels)
        if size == 0 or len(set(self.labels)) != size:
            raise ValueError("a confusion has at least one label, and each once")
        widths = {len(row) for row in self.counts}
        if len(self.counts) != size or widths not in ({size}, {size + 1}):
            raise ValueError(f"a confusion of {size} labels has {size} rows of {size} or {size + 1} counts")
        if any(type(count) is not int or count < 0 for row in self.counts for count in row):
            raise ValueError("a confusion holds integers of at least 0")

    @classmethod
    def of(cls, labels: Iterable[str], gold: Iterable[int | None], predicted: Iterable[int | None]) -> Confusion:
        """Count label indices, gold against predicted, of equal length.

        A row whose gold index is None or negative is masked: it is skipped. A predicted None is an answer that could
        not be read; the column for these is there only if there are any. Raises ValueError on any other index.
        """
        names = tuple(labels)
        size = len(names)
        counts = [[0] * (size + 1) for _ in names]
        for row, (true, answer) in enumerate(zip(gold, predicted, strict=True)):
            place = -1 if true is None else index(true)
            if place < 0:
                continue
            column = size
            if answer is not None:
                column = index(answer) if index(answer) in range(size) else -1
            if place >= size or column < 0:
                raise ValueError(f"row {row}: gold {place} or predicted {answer} is no index of {size} labels")
            counts[place][column] += 1
        width = size + 1 if any(row[size] for row in counts) else size
        return cls(names, tuple(tuple(row[:width]) for row in counts))

    def as_json(self) -> dict[str, Any]:
        """As JSON values: `labels` and `counts`."""
        return {"labels": list(self.labels), "counts": [list(row) for row in self.counts]}

    @classmethod
    def from_json(cls, value: Any) -> Confusion:
        """From what `as_json` gave; raises ValueError on anything else."""
        if not isinstance(value, Mapping) or set(value) != {"labels", "counts"}:
            raise ValueError("a confusion is an object of 'labels' and 'counts'")
        labels, counts = value["labels"], value["counts"]
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError("the labels of a confusion are a list of strings")
        if not isinstance(counts, list) or not all(isinstance(row, list) for row in counts):
            raise ValueError("the counts of a confusion are a list of lists")
        return cls(tuple(labels), tuple(tuple(row) for row in counts))

    @property
    def total(self) -> int:
        """Rows counted, unreadable answers included."""
        return sum(map(sum, self.counts))

    @property
    def correct(self) -> int:
        """Rows answered with their gold label."""
        return sum(row[place] for place, row in enumerate(self.counts))

    @property
    def invalid(self) -> int:
        """Rows whose answer could not be read."""
        return sum(row[-1] for row in self.counts if len(row) > len(self.labels))

    def support(self, label: str) -> int:
        """Rows whose gold label this is. Raises ValueError on an unknown label, as do the figures."""
        return sum(self.counts[self._place(label)])

    def predicted(self, label: str) -> int:
        """Rows that were answered with this label."""
        place = self._place(label)
        return sum(row[place] for row in self.counts)

    def precision(self, label: str) -> Figure:
        """Share of the rows answered with a label whose gold label it is."""
        return _ratio(self._hits(label), self.predicted(label), f"'{label}' is never predicted")

    def recall(self, label: str) -> Figure:
        """Share of the rows of a gold label that were answered with it."""
        return _ratio(self._hits(label), self.support(label), f"'{label}' does not occur")

    def f1(self, label: str) -> Figure:
        """2TP / (2TP + FP + FN): undefined only where a label neither occurs nor is predicted."""
        bottom = self.support(label) + self.predicted(label)
        return _ratio(2 * self._hits(label), bottom, f"'{label}' neither occurs nor is predicted")

    def accuracy(self) -> Figure:
        """Share of all rows that were answered with their gold label."""
        return _ratio(self.correct, self.total, "there are no rows")

    def f1_macro(self) -> Figure:
        """Mean F1 over all declared labels."""
        return mean({f"f1[{label}]": self.f1(label) for label in self.labels})

    def precision_macro(self) -> Figure:
        """Mean precision over all declared labels."""
        return mean({f"precision[{label}]": self.precision(label) for label in self.labels})

    def recall_macro(self) -> Figure:
        """Mean recall over all declared labels."""
        return mean({f"recall[{label}]": self.recall(label) for label in self.labels})

    def _hits(self, label: str) -> int:
        place = self._place(label)
        return self.counts[place][place]

    def _place(self, label: str) -> int:
        if label not in self.labels:
            raise ValueError(f"unknown label '{label}'; known are: {', '.join(self.labels)}")
        return self.labels.index(label)


def mean(figures: Mapping[str, Figure]) -> Figure:
    """Mean of named figures; undefined where one of them is, naming every such one, and where there are none."""
    missing = [f"{name}: {figure.reason}" for name, figure in figures.items() if figure.value is None]
    if missing or not figures:
        return Figure(None, "; ".join(missing) or "there is nothing to average")
    return Figure(math.fsum(f.value for f in figures.values() if f.value is not None) / len(figures))


def table(confusion: Confusion) -> tuple[ClassRow, ...]:
    """Each label with its figures and support, in label order."""
    c = confusion
    return tuple(
        ClassRow(label, c.precision(label), c.recall(label), c.f1(label), c.support(label)) for label in c.labels
    )


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, taken apart: the head or `overall`, the figure, and the label where it is one label's."""

    scope: str
    name: str
    label: str | None = None

    def __str__(self) -> str:
        return f"{self.scope}.{self.name}" + (f"[{self.label}]" if self.label is not None else "")


def parse_metric(name: str) -> Metric:
    """`SCOPE.NAME` or `HEAD.NAME[LABEL]`, taken apart; raises ValueError, naming the known forms.

    Whether the head and its label exist is known only where the heads are: see `figure` and `known_metrics`.
    """
    found = _METRIC.fullmatch(name)
    if found is None:
        hint = f": 'f1' alone says neither scope nor averaging; {_known()}" if name in BY_LABEL else f"; {_known()}"
        raise ValueError(f"'{name}' is no metric{hint}")
    scope, what, label = found.group(1), found.group(2), found.group(3)
    if what in BY_LABEL and label is None:
        forms = f"'{scope}.{what}_macro'" if scope == OVERALL else f"'{scope}.{what}_macro' or '{scope}.{what}[LABEL]'"
        raise ValueError(f"'{name}' does not say how it is averaged; write {forms}")
    if what not in (*WHOLE, *BY_LABEL):
        raise ValueError(f"'{name}' is no metric; {_known()}")
    if label is not None and what in WHOLE:
        raise ValueError(f"'{name}' is over all labels and takes none; write '{scope}.{what}'")
    if label is not None and scope == OVERALL:
        raise ValueError(f"'{name}' is a label's, hence a head's: write 'HEAD.{what}[{label}]'")
    return Metric(scope, what, label)


def known_metrics(heads: Mapping[str, Iterable[str]]) -> list[str]:
    """Every metric of some heads, given with their labels; raises ValueError where a head is called `overall`."""
    _refuse_overall(heads)
    names = [f"{OVERALL}.{name}" for name in WHOLE]
    for head, labels in heads.items():
        names += [f"{head}.{name}" for name in WHOLE]
        names += [f"{head}.{name}[{label}]" for label in labels for name in BY_LABEL]
    return names


def figure(metric: Metric, confusions: Mapping[str, Confusion]) -> Figure:
    """A metric's figure, given each head's counts; `overall` is the mean over all heads.

    Raises ValueError on an unknown head or label, or one of no known form.
    """
    _refuse_overall(confusions)
    parse_metric(str(metric))
    if metric.scope == OVERALL:
        return mean({f"{head}.{metric.name}": _figure(metric.name, None, c) for head, c in confusions.items()})
    if metric.scope not in confusions:
        raise ValueError(f"'{metric}' is of an unknown head; known are: {', '.join((OVERALL, *confusions))}")
    return _figure(metric.name, metric.label, confusions[metric.scope])


def wilson(x: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of x successes in n trials; raises ValueError unless 0 <= x <= n and n >= 1."""
    if not (0 <= x <= n and n >= 1 and 0 < confidence < 1):
        raise ValueError(f"no interval for {x} of {n} at confidence {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = x + z * z / 2
    spread = z * math.sqrt(x * (n - x) / n + z * z / 4)
    low = 0.0 if x == 0 else max(0.0, (middle - spread) / (n + z * z))
    high = 1.0 if x == n else min(1.0, (middle + spread) / (n + z * z))
    return low, high


def _figure(name: str, label: str | None, confusion: Confusion) -> Figure:
    if label is not None:
        by_label = {"f1": confusion.f1, "precision": confusion.precision, "recall": confusion.recall}
        return by_label[name](label)
    whole = {
        "accuracy": confusion.accuracy,
        "f1_macro": confusion.f1_macro,
        "precision_macro": confusion.precision_macro,
        "recall_macro": confusion.recall_macro,
    }
    return whole[name]()


def _ratio(top: int, bottom: int, reason: str) -> Figure:
    return Figure(top / bottom) if bottom else Figure(None, reason)


def _refuse_overall(heads: Iterable[str]) -> None:
    if OVERALL in heads:
        raise ValueError(f"a head is called '{OVERALL}', which names the mean over all heads; rename it")


def _known() -> str:
    whole = ", ".join(f"SCOPE.{name}" for name in WHOLE)
    by_label = ", ".join(f"HEAD.{name}[LABEL]" for name in BY_LABEL)
    return f"known are {whole} (SCOPE is a head or '{OVERALL}') and {by_label}"
