"""A comparison of runs with the first of them: the same rows, one measurement, and how many were compared at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hsdc_schemas.alignment import Entrant, digest_of, other_rows, said_of_rows, shared_heads, shared_ids
from hsdc_schemas.confusion import Figure, Unparseable
from hsdc_schemas.contrast import Contrast, contrast, detectable, holm, optimism
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.intervals import CONFIDENCE, Interval
from hsdc_schemas.judged import Judged
from hsdc_schemas.metrics import GROUP, OVERALL, Metric

BETTER, WORSE, UNCLEAR = "better", "worse", "no clear difference"
NOT_COMPARABLE, INCOMPLETE = "not comparable", "incomplete"


@dataclass(frozen=True)
class Ask:
    """What is asked of a comparison.

    `margin` is the difference that does not matter, if one is named; `intersect` leaves the rows that all runs have;
    `across_methods` compares what was measured in different ways; `unparseable` replaces the runs' own policy.
    """

    metrics: Sequence[Metric]
    margin: float | None = None
    intersect: bool = False
    across_methods: bool = False
    unparseable: Unparseable | None = None


@dataclass(frozen=True)
class Standing:
    """A run in one metric: its figure, and but for the baseline its difference, p over the whole family, and a verdict.

    `detectable` is the smallest true difference that so many rows would show with power 0.8, for a family of this size.
    """

    name: str
    coverage: Figure
    figure: Figure
    interval: Interval
    contrast: Contrast | None = None
    p: float | None = None
    detectable: float | None = None
    verdict: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Selected:
    """The best of several runs, and by how much being chosen here makes it look better than it is."""

    name: str
    of: int
    optimism: float | None


@dataclass(frozen=True)
class Comparison:
    """Runs against the baseline, metric by metric. `family` is how many differences were tested at once."""

    baseline: str
    split: str
    rows: int
    digest: str
    unparseable: Unparseable
    family: int
    standings: Mapping[Metric, tuple[Standing, ...]]
    selected: Mapping[Metric, Selected]
    notes: tuple[str, ...] = field(default=())


def compare(entrants: Sequence[Entrant], ask: Ask) -> Comparison:
    """Compare runs with the first one, which has answers.

    Raises HsdcError with exit 3 where they may not be compared as asked: E820 on other rows, E821 by another
    measurement, E822 under another policy for unreadable answers.
    """
    known = set(entrants[0].held.header.heads)
    present = [entrant for entrant in entrants if entrant.answers and known & set(entrant.answers.header.heads)]
    faults = [*_methods(present, ask), *_policies(present, ask)]
    heads = shared_heads(present)
    ids = shared_ids(present, heads)
    notes = list(said_of_rows(present, heads))
    if not ask.intersect or not ids:
        faults += other_rows(present, heads)
    if faults:
        raise HsdcError(faults)
    if any(len(entrant.held.rows) != len(ids) for entrant in present):
        notes.insert(0, f"rescored on the {len(ids):,} rows that all runs have")
    policy = ask.unparseable or present[0].held.header.unparseable
    behind = entrants[0].background
    runs = {
        entrant.name: Judged.of(entrant.held, entrant.variant or None, ids=ids, unparseable=policy, background=behind)
        for entrant in present
    }
    standings = {metric: _standings(metric, entrants, runs) for metric in ask.metrics}
    family, standings = _adjusted(standings, ask)
    return Comparison(
        baseline=entrants[0].name,
        split=present[0].held.header.split,
        rows=len(ids),
        digest=digest_of(present[0].held, heads, set(ids)),
        unparseable=policy,
        family=family,
        standings=standings,
        selected={metric: best for metric in ask.metrics if (best := _best(metric, standings[metric], runs))},
        notes=tuple(notes),
    )


def default_metrics(entrants: Sequence[Entrant]) -> list[Metric]:
    """Macro-F1: of all heads, and where there are several, of each head that the baseline has."""
    heads = list(entrants[0].held.header.heads)
    return [Metric(head, "f1_macro") for head in ([OVERALL, *heads] if len(heads) > 1 else heads)]


def _methods(present: Sequence[Entrant], ask: Ask) -> Iterator[Diagnostic]:
    first = present[0]
    for entrant in present[1:]:
        here, there = (item.held.header.measurement for item in (entrant, first))
        if here != there and not ask.across_methods:
            message = f"'{entrant.name}' was measured by {here}, '{first.name}' by {there}: two measurements, not one"
            yield Diagnostic("E821", Exit.POLICY, message, None, "compare like with like, or say --across-methods")


def _policies(present: Sequence[Entrant], ask: Ask) -> Iterator[Diagnostic]:
    first = present[0]
    for entrant in present[1:]:
        here, there = (item.held.header.unparseable for item in (entrant, first))
        if here != there and ask.unparseable is None:
            message = f"unreadable answers count as '{here}' in '{entrant.name}' and as '{there}' in '{first.name}'"
            yield Diagnostic("E822", Exit.POLICY, message, None, f"choose one for all: --unparseable {there}")


def _standings(metric: Metric, entrants: Sequence[Entrant], runs: Mapping[str, Judged]) -> tuple[Standing, ...]:
    return tuple(_standing(metric, entrant, runs, entrants[0].name) for entrant in entrants)


def _standing(metric: Metric, entrant: Entrant, runs: Mapping[str, Judged], baseline: str) -> Standing:
    base, run = runs[baseline], runs.get(entrant.name)
    reason = entrant.reason if entrant.answers is None else _not_comparable(metric, run, base)
    if reason or run is None:
        nothing, none = Figure(None, reason), Interval(None, None, reason=reason)
        word = INCOMPLETE if entrant.answers is None else NOT_COMPARABLE
        return Standing(entrant.name, nothing, nothing, none, verdict=word, reason=reason)
    coverage = run.figure(Metric(metric.scope, "coverage", None, metric.slice))
    found = Standing(entrant.name, coverage, run.figure(metric), run.interval(metric))
    if entrant.name == baseline:
        return found
    difference = contrast(base, run, metric)
    if difference.difference is None:
        return replace(found, contrast=difference, verdict=NOT_COMPARABLE, reason=difference.interval.reason)
    return replace(found, contrast=difference)


def _not_comparable(metric: Metric, run: Judged | None, base: Judged) -> str:
    """Why a run has no such metric, or one of another meaning; "" where it has."""
    if run is None:
        return "it has none of the baseline's heads"
    for head, labels in base.heads.items():
        if metric.scope in (OVERALL, head):
            if head not in run.heads:
                return f"it has no head '{head}'"
            if set(run.heads[head]) != set(labels):
                return f"its head '{head}' has other labels: {', '.join(run.heads[head])}"
    if metric.scope == OVERALL and run.heads.keys() != base.heads.keys():
        return "it has other heads"
    if metric.is_gap or (metric.slice or "").startswith(f"{GROUP}="):
        here, there = ({name: rows.tolist() for name, rows in item.members.items()} for item in (run, base))
        if here != there:
            return "its rows are in other groups"
    return ""


def _adjusted(
    standings: Mapping[Metric, tuple[Standing, ...]], ask: Ask
) -> tuple[int, dict[Metric, tuple[Standing, ...]]]:
    """The same with p over the whole family (Holm), what could have been shown, and verdicts."""
    tested = [item.contrast.p for items in standings.values() for item in items if item.contrast]
    ps = [p for p in tested if p is not None]
    adjusted = iter(holm(ps))
    found: dict[Metric, tuple[Standing, ...]] = {}
    for metric, items in standings.items():
        kept = []
        for item in items:
            if item.contrast is None or item.contrast.p is None or item.contrast.difference is None:
                kept.append(item)
                continue
            p = next(adjusted)
            reach = detectable(item.contrast.error, len(ps)) if item.contrast.error else None
            kept.append(replace(item, p=p, detectable=reach, verdict=verdict(item.contrast, p, metric, ask.margin)))
        found[metric] = tuple(kept)
    return len(ps), found


def verdict(found: Contrast, p: float, metric: Metric, margin: float | None = None) -> str:
    """In fixed words: within the margin where the whole interval is, else better or worse where p is below 0.05."""
    low, high = found.interval.low, found.interval.high
    if margin is not None and low is not None and high is not None and max(-low, high) <= margin:
        return f"within ±{margin:g}"
    if p < 1 - CONFIDENCE and found.difference:
        return BETTER if (found.difference > 0) != metric.smaller_is_better else WORSE
    return UNCLEAR


def _best(metric: Metric, items: Sequence[Standing], runs: Mapping[str, Judged]) -> Selected | None:
    """The best of the runs that were held against the baseline, where there are several and they differ."""
    rivals = [item for item in items[1:] if item.p is not None and item.figure.value is not None]
    if len(rivals) < 2:
        return None
    sign = -1 if metric.smaller_is_better else 1
    values = np.array([item.figure.value for item in rivals], dtype=np.float64)
    if values.min() == values.max():
        return None
    best = rivals[int((sign * values).argmax())]
    return Selected(best.name, len(rivals), optimism([runs[item.name] for item in rivals], metric))
