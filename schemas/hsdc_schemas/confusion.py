"""Confusion counts of one head, and the figures that follow from them: a number, or undefined with a reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import index
from typing import Any, Literal, TypeAlias

Unparseable: TypeAlias = Literal["wrong", "drop", "error"]
POLICIES: tuple[Unparseable, ...] = ("wrong", "drop", "error")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, or None with the reason why it is undefined; `count` is (x, n) where it is a share x/n of rows."""

    value: float | None
    reason: str = ""
    count: tuple[int, int] | None = field(default=None, compare=False)

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

    def under(self, policy: Unparseable) -> Confusion:
        """The counts as a policy for unreadable answers wants them: `drop` takes them out, `wrong` leaves them.

        Raises ValueError where there are some and the policy is `error`.
        """
        if policy == "error" and self.invalid:
            raise ValueError(f"{self.invalid} of {self.total} answers could not be read")
        if policy == "wrong":
            return self
        return Confusion(self.labels, tuple(row[: len(self.labels)] for row in self.counts))

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
        return _share(self._hits(label), self.predicted(label), f"'{label}' is never predicted")

    def recall(self, label: str) -> Figure:
        """Share of the rows of a gold label that were answered with it."""
        return _share(self._hits(label), self.support(label), f"'{label}' does not occur")

    def fnr(self, label: str) -> Figure:
        """Share of the rows of a gold label that were not answered with it: 1 - recall."""
        support = self.support(label)
        return _share(support - self._hits(label), support, f"'{label}' does not occur")

    def fpr(self, label: str) -> Figure:
        """Share of the rows of all other gold labels that were answered with this one."""
        others = self.total - self.support(label)
        return _share(self.predicted(label) - self._hits(label), others, f"no row is anything but '{label}'")

    def f1(self, label: str) -> Figure:
        """2TP / (2TP + FP + FN): undefined only where a label neither occurs nor is predicted."""
        bottom = self.support(label) + self.predicted(label)
        if not bottom:
            return Figure(None, f"'{label}' neither occurs nor is predicted")
        return Figure(2 * self._hits(label) / bottom)

    def accuracy(self) -> Figure:
        """Share of all rows that were answered with their gold label."""
        return _share(self.correct, self.total, "there are no rows")

    def coverage(self) -> Figure:
        """Share of all rows whose answer could be read."""
        return _share(self.total - self.invalid, self.total, "there are no rows")

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


def _share(part: int, whole: int, reason: str) -> Figure:
    return Figure(part / whole, count=(part, whole)) if whole else Figure(None, reason)
