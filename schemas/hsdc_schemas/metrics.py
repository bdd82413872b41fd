"""Metrics: their names, which say scope, averaging and group, and their figures from the counts of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hsdc_schemas.confusion import Confusion, Figure, Unparseable, mean
from hsdc_schemas.errors import did_you_mean
from hsdc_schemas.intervals import Interval

OVERALL = "overall"
ALL = "all"  # the slice of all rows
GROUP = "group"
SUPPORTED = 10  # rows below which a group's share says too little to be held against another's
HIGHER = ("accuracy", "f1_macro", "precision_macro", "recall_macro")
WHOLE = (*HIGHER, "coverage")
HIGHER_BY_LABEL = ("f1", "precision", "recall")
RATES = ("fpr", "fnr")
BIAS_AUCS = ("subgroup_auc", "bpsn_auc", "bnsp_auc")
RANKED = ("auroc", *BIAS_AUCS)  # from probabilities, which counts do not hold
OF_NUMBERS = ("mean", "std", "mae")  # of a number that answers say beside their label
BY_LABEL = (*HIGHER_BY_LABEL, *RATES, *RANKED)
GAP = "_gap"

Numbers: TypeAlias = Mapping[str, tuple[float, float]]  # each with the least and the most that it may be
Heads: TypeAlias = Mapping[str, Iterable[str]]
Slices: TypeAlias = Mapping[str, Mapping[str, Confusion]]

_METRIC = re.compile(
    r"(?:([a-z][a-z0-9_]*)\.)?([a-z0-9_]+)(?:\[(.+)\])?(?:@([a-z][a-z0-9_]*)=(.+))?", re.DOTALL | re.ASCII
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, taken apart.

    The head or `overall`, the figure, the label where it is one label's, or the number where it is a number's, and the
    slice of the rows: `group=NAME`, `HEAD=LABEL`, or None for all rows. A figure that ends in `_gap` is the largest
    minus the smallest of the groups.
    """

    scope: str
    name: str
    label: str | None = None
    slice: str | None = None

    def __str__(self) -> str:
        label = f"[{self.label}]" if self.label is not None else ""
        return f"{self.scope}.{self.name}{label}" + (f"@{self.slice}" if self.slice is not None else "")

    @property
    def figure(self) -> str:
        """The figure's name without `_gap`."""
        return self.name.removesuffix(GAP)

    @property
    def is_gap(self) -> bool:
        """Whether it is a difference between groups."""
        return self.name.endswith(GAP)

    @property
    def smaller_is_better(self) -> bool:
        """Whether a smaller figure is the better one: rates of errors, gaps, spreads and distances."""
        return self.figure in (*RATES, "std", "mae") or self.is_gap

    @property
    def is_of_numbers(self) -> bool:
        """Whether it is over a number that answers say, whose name is where other metrics have a label."""
        return self.name in OF_NUMBERS or (self.name == "coverage" and self.label is not None)


@dataclass(frozen=True)
class Counts:
    """What is stored of one variant of a run's decisions: each head's counts over all rows and over slices of them.

    `unparseable` says how answers that could not be read count; coverage is always of all rows. Where rows hang
    together, which counts do not tell, `intervals` has those of metrics by name.
    """

    whole: Mapping[str, Confusion]
    slices: Slices = field(default_factory=dict)
    unparseable: Unparseable = "wrong"
    intervals: Mapping[str, Interval] | None = None

    @classmethod
    def from_json(
        cls,
        variant: Mapping[str, Mapping[str, Any]],
        unparseable: Unparseable = "wrong",
        intervals: Mapping[str, Interval] | None = None,
    ) -> Counts:
        """From a record's counts of a variant; raises ValueError or KeyError where they are none."""
        read = {
            name: {head: Confusion.from_json(item) for head, item in heads.items()} for name, heads in variant.items()
        }
        return cls(read.pop(ALL), read, unparseable, intervals)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, in order."""
        return tuple(sorted(name.partition("=")[2] for name in self.slices if name.startswith(f"{GROUP}=")))

    def figure(self, metric: Metric) -> Figure:
        """A metric's figure; raises ValueError on an unknown head or label."""
        if metric.is_of_numbers:
            return Figure(None, "it takes the numbers of every row, which counts do not hold")
        parse_metric(str(metric), {head: counts.labels for head, counts in self.whole.items()})
        if metric.is_gap:
            return self._gap(metric)
        tables = self.whole if metric.slice is None else self.slices.get(metric.slice)
        if tables is None:
            hint = did_you_mean(metric.slice or "", self.slices) or "there are no groups"
            return Figure(None, f"nothing is scored within '{metric.slice}'; {hint}")
        if metric.scope == OVERALL:
            return mean({f"{head}.{metric.name}": self._of(metric, counts) for head, counts in tables.items()})
        if metric.scope not in tables:
            return Figure(None, f"'{metric.scope}' is not scored within '{metric.slice}'")
        return self._of(metric, tables[metric.scope])

    def _of(self, metric: Metric, counts: Confusion) -> Figure:
        if metric.figure in RANKED:
            return Figure(None, "it takes the chances of every row, which counts do not hold")
        if metric.figure == "coverage":
            return counts.coverage()
        try:
            kept = counts.under(self.unparseable)
        except ValueError as error:
            return Figure(None, str(error))
        found: Figure = getattr(kept, metric.figure)(*(() if metric.label is None else (metric.label,)))
        return found

    def supported(self, metric: Metric) -> dict[str, Figure]:
        """The figure of a metric in each group that has at least `SUPPORTED` rows to take it over."""
        found = {}
        for group in self.groups:
            figure = self.figure(Metric(metric.scope, metric.figure, metric.label, f"{GROUP}={group}"))
            tables = self.slices[f"{GROUP}={group}"]
            rows = min(tables[head].total for head in (tables if metric.scope == OVERALL else (metric.scope,)))
            if figure.value is not None and (figure.count[1] if figure.count else rows) >= SUPPORTED:
                found[group] = figure
        return found

    def _gap(self, metric: Metric) -> Figure:
        values = [figure.value for figure in self.supported(metric).values() if figure.value is not None]
        if len(values) < 2:
            groups = "only one group has" if values else "no group has"
            return Figure(None, f"{groups} at least {SUPPORTED} rows for it")
        return Figure(max(values) - min(values))


def figure(metric: Metric, confusions: Mapping[str, Confusion]) -> Figure:
    """A metric's figure, given each head's counts over all rows; `overall` is the mean over all heads.

    Raises ValueError on an unknown head or label, or one of no known form.
    """
    return Counts(confusions).figure(metric)


def parse_metric(name: str, heads: Heads | None = None, numbers: Numbers | None = None) -> Metric:
    """`SCOPE.NAME`, `HEAD.NAME[LABEL]`, `HEAD.NAME[NUMBER]`, each also `@group=NAME` or `@HEAD=LABEL`, taken apart.

    With the run's `heads` and their labels, the head and label have to be there, or among its `numbers`, and where
    there is just one head, its name may be left out. Raises ValueError, naming the known forms.
    """
    found = _METRIC.fullmatch(name)
    if found is None:
        raise ValueError(f"'{name}' is no metric; {_known()}")
    scope, what, label, kind, value = found.groups()
    if scope is None:
        scope = _only_head(name, what, heads)
    _require_form(name, scope, what, label)
    if what.endswith(GAP) and kind is not None:
        raise ValueError(f"'{name}' is between groups, hence of no slice; write '{scope}.{what}'")
    if what in BIAS_AUCS and kind not in (None, GROUP):
        raise ValueError(f"'{name}' is of a group; write '{scope}.{what}[{label}]@{GROUP}=NAME'")
    metric = Metric(scope, what, label, None if kind is None else f"{kind}={value}")
    if heads is not None:
        _require_known(metric, heads, numbers or {})
    return metric


def span(metric: Metric, numbers: Numbers) -> tuple[float, float]:
    """The least and the most that a figure may be; no numbers spread more than the two ends of their range."""
    if not metric.is_of_numbers or metric.name == "coverage":
        return 0.0, 1.0
    least, most = numbers[metric.label or ""]
    width = most - least
    return {"mean": (least, most), "std": (0.0, width / 2**0.5), "mae": (0.0, width)}[metric.name]


def known_metrics(heads: Heads) -> list[str]:
    """The metrics of all rows by which more is better, of some heads with their labels: what training can choose by.

    Raises ValueError where a head is called `overall`.
    """
    _refuse_overall(heads)
    names = [f"{OVERALL}.{name}" for name in HIGHER]
    for head, labels in heads.items():
        names += [f"{head}.{name}" for name in HIGHER]
        names += [f"{head}.{name}[{label}]" for label in labels for name in HIGHER_BY_LABEL]
    return names


def _only_head(name: str, what: str, heads: Heads | None) -> str:
    if what in HIGHER_BY_LABEL and "[" not in name:
        raise ValueError(f"'{name}' is no metric: '{what}' alone says neither scope nor averaging; {_known()}")
    if what.removesuffix(GAP) not in (*WHOLE, *BY_LABEL, *OF_NUMBERS):
        raise ValueError(f"'{name}' is no metric; {_known()}")
    if heads is not None and len(only := list(heads)) == 1:
        return only[0]
    listed = f"; heads are {', '.join(heads)}" if heads else ""
    mean_of_all = "" if what.removesuffix(GAP) in BY_LABEL else f" or '{OVERALL}.{name}'"
    raise ValueError(f"'{name}' does not say of which head; write 'HEAD.{name}'{mean_of_all}{listed}")


def _require_form(name: str, scope: str, what: str, label: str | None) -> None:
    base = what.removesuffix(GAP)
    if base not in (*WHOLE, *BY_LABEL, *OF_NUMBERS):
        raise ValueError(f"'{name}' is no metric; {_known()}")
    if base in OF_NUMBERS and label is None:
        raise ValueError(f"'{name}' does not say of which number; write '{what}[NUMBER]'")
    if base in BY_LABEL and label is None:
        macro = [f"'{scope}.{what}_macro'"] if what in HIGHER_BY_LABEL else []
        forms = [*macro, *([] if scope == OVERALL else [f"'{scope}.{what}[LABEL]'"])] or [f"'HEAD.{what}[LABEL]'"]
        raise ValueError(f"'{name}' does not say how it is averaged; write {' or '.join(forms)}")
    if label is not None and base in WHOLE and what != "coverage":
        raise ValueError(f"'{name}' is over all labels and takes none; write '{scope}.{what}'")
    if label is not None and scope == OVERALL:
        whose = "a number" if base in (*OF_NUMBERS, "coverage") else "a label"
        raise ValueError(f"'{name}' is {whose}'s, hence a head's: write 'HEAD.{what}[{label}]'")
    if base in (*RANKED, *OF_NUMBERS) and what != base:
        raise ValueError(f"'{name}' is no metric: there are no gaps of '{base}'; {_known()}")


def _require_known(metric: Metric, heads: Heads, numbers: Numbers) -> None:
    _refuse_overall(heads)
    if metric.scope != OVERALL and metric.scope not in heads:
        near = did_you_mean(metric.scope, [OVERALL, *heads])
        raise ValueError(f"'{metric}' is of an unknown head; {near}; known are: {', '.join((OVERALL, *heads))}")
    if metric.is_of_numbers:
        if metric.label not in numbers:
            near = f"{did_you_mean(metric.label or '', numbers)}; known are: {', '.join(numbers)}"
            told = near if numbers else "declare it under 'numbers' of the prompt's format"
            raise ValueError(f"'{metric}': no number '{metric.label}' is read from answers; {told}")
    elif metric.label is not None and metric.label not in (labels := tuple(heads[metric.scope])):
        near = did_you_mean(metric.label, labels)
        raise ValueError(f"'{metric}': unknown label '{metric.label}'; {near}; known are: {', '.join(labels)}")


def _refuse_overall(heads: Iterable[str]) -> None:
    if OVERALL in heads:
        raise ValueError(f"a head is called '{OVERALL}', which names the mean over all heads; rename it")


def _known() -> str:
    whole = ", ".join(f"SCOPE.{name}" for name in WHOLE)
    by_label = ", ".join(f"HEAD.{name}[LABEL]" for name in BY_LABEL)
    of_numbers = ", ".join(f"{name}[NUMBER]" for name in (*OF_NUMBERS, "coverage"))
    known = f"known are {whole} (SCOPE is a head or '{OVERALL}'), {by_label} and {of_numbers}"
    return f"{known}, each also with @{GROUP}=NAME"
