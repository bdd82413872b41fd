"""Two runs on the same rows: the difference of a metric, how sure it is, and what so many rows could have shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hsdc_schemas.bound import Bound
from hsdc_schemas.intervals import CONFIDENCE, Interval
from hsdc_schemas.judged import Judged, draws_for
from hsdc_schemas.metrics import OVERALL, RANKED, Metric
from hsdc_schemas.resampling import Array, Sample, bounds

POWER = 0.8
OUTCOMES = 2_000  # draws in which the best of several is chosen anew


@dataclass(frozen=True, slots=True)
class Discordance:
    """Rows that only one of two runs has right, and the exact p that they fall so unevenly by chance.

    `p` is None where rows come in clusters, hence are not independent, and of metrics that no single row decides: gaps,
    areas and figures of numbers.
    """

    baseline_only: int
    other_only: int
    p: float | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """Another run minus the baseline, of one metric over the same rows.

    `p` is that of the paired randomisation test, or of the bootstrap where the metric is one of probabilities;
    `error` is the standard error of the difference. All are None where the metric is undefined in one of the runs.
    """

    difference: float | None
    interval: Interval
    error: float | None
    p: float | None
    discordance: Discordance


def contrast(baseline: Judged, other: Judged, metric: Metric) -> Contrast:
    """The paired difference of a metric; both runs hold the same rows in the same order."""
    before, after = baseline.figure(metric), other.figure(metric)
    discordance = discordant(baseline, other, metric)
    if before.value is None or after.value is None:
        reasons = {"baseline": before.reason, "run": after.reason}
        reason = "; ".join(f"undefined in the {name}: {text}" for name, text in reasons.items() if text)
    else:
        reason = _of_other_numbers(baseline, other, metric)
    if reason or before.value is None or after.value is None:
        return Contrast(None, Interval(None, None, reason=reason), None, None, discordance)
    difference = after.value - before.value
    sample = paired_sample([baseline, other], [metric])
    old, new = baseline.bind(metric, sample), other.bind(metric, sample)
    draws = sample.draw([lambda weights: new(weights) - old(weights)], draws_for([metric]))[0]
    found = bounds(draws, "paired bootstrap" if not sample.clustered else "paired clustered bootstrap")
    kept = draws[np.isfinite(draws)]
    error = float(kept.std()) if len(kept) > 1 else None
    p = _exchanged(sample, old, new, difference, draws_for([metric]))
    return Contrast(difference, found, error, _by_draws(kept) if p is None else p, discordance)


def _of_other_numbers(baseline: Judged, other: Judged, metric: Metric) -> str:
    """Why two figures over a number of one name are not of one number; "" where they are."""
    if not metric.is_of_numbers:
        return ""
    name = metric.label or ""
    if baseline.numbers[name] != other.numbers[name]:
        return f"'{name}' has another range in the other run"
    same = np.array_equal(baseline.right_numbers[name], other.right_numbers[name], equal_nan=True)
    if metric.name == "mae" and not same:
        return f"the rows of the other run hold other values of '{name}'"
    return ""


def paired_sample(runs: Sequence[Judged], metrics: Sequence[Metric]) -> Sample:
    """The units of several runs of the same rows, which are drawn for all of them at once."""
    columns = [column for run in runs for column in run.columns(metrics)]
    return Sample(np.stack(columns, axis=1), runs[0].clusters)


def _exchanged(sample: Sample, old: Bound, new: Bound, difference: float, draws: int) -> float | None:
    """p of the paired randomisation test (Fisher 1935; Yeh 2000): each unit's two answers change places by chance."""
    before, after = old.tables, new.tables
    if before is None or after is None:
        return None
    generator, times = sample.generator(), sample.times
    as_far = 0
    for count in sample.chunks(draws):
        swapped = generator.binomial(times, 0.5, size=(count, len(times))).astype(np.float64)
        moved = [swapped @ (b - a) for a, b in zip(before, after, strict=True)]
        left = [times @ a + change for a, change in zip(before, moved, strict=True)]
        right = [times @ b - change for b, change in zip(after, moved, strict=True)]
        found = np.abs(new.value(right) - old.value(left))
        as_far += int((~(found < abs(difference) - 1e-12)).sum())  # an undefined one counts as just as far
    return (1 + as_far) / (1 + draws)


def _by_draws(draws: Array) -> float:
    """p by the share of the bootstrap's draws on the other side of no difference."""
    share = (1 + min(int((draws <= 0).sum()), int((draws >= 0).sum()))) / (1 + len(draws))
    return min(1.0, 2 * share)


def discordant(baseline: Judged, other: Judged, metric: Metric) -> Discordance:
    """McNemar's exact test (1947) on what the metric counts: rows right, or a label's hits or false alarms.

    Of `overall`, a row is right where every labelled head is. Rows that one of the runs drops are left out.
    """
    heads = list(baseline.heads) if metric.scope == OVERALL else [metric.scope]
    kept = baseline.rows(metric.slice).copy()
    right = [np.ones(len(baseline), dtype=bool) for _ in range(2)]
    counted = np.zeros(len(baseline), dtype=bool)
    for head in heads:
        for position, run in enumerate((baseline, other)):
            gold, said = run.gold(head), run.said(head)
            place = None if metric.label is None or metric.is_of_numbers else run.heads[head].index(metric.label)
            over = gold >= 0
            if metric.figure == "fpr":
                over &= gold != place
            elif metric.figure in ("fnr", "recall"):
                over &= gold == place
            right[position] &= ~over | (said != place if metric.figure == "fpr" else said == gold)
            counted |= over
            if run.unparseable == "drop":
                kept &= ~over | (said != len(run.heads[head]))
    kept &= counted
    only = [int((kept & right[one] & ~right[1 - one]).sum()) for one in (0, 1)]
    by_row = not (metric.is_gap or metric.is_of_numbers or metric.figure in RANKED)
    exact = baseline.clusters is None and by_row
    return Discordance(only[0], only[1], mcnemar(*only) if exact else None)


def mcnemar(first: int, second: int) -> float:
    """Exact two-sided p that `first` and `second` of as many discordant pairs fall so unevenly by chance."""
    pairs, fewer = first + second, min(first, second)
    if pairs == 0:
        return 1.0
    ways, below = 1, 0
    for count in range(fewer + 1):
        below += ways
        ways = ways * (pairs - count) // (count + 1)
    return min(1.0, 2 * below / 2**pairs) if pairs < 1000 else min(1.0, math.exp(_log(2 * below) - pairs * math.log(2)))


def _log(value: int) -> float:
    """The logarithm of a whole number of any size."""
    shift = max(0, value.bit_length() - 1000)
    return math.log(value >> shift) + shift * math.log(2)


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p of a family of tests (Holm 1979), in the order given."""
    order = sorted(range(len(ps)), key=lambda place: ps[place])
    adjusted, reached = [0.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        reached = max(reached, min(1.0, ps[place] * (len(ps) - rank)))
        adjusted[place] = reached
    return adjusted


def detectable(error: float, family: int = 1) -> float:
    """The smallest true difference that so many rows show with power 0.8, given the standard error of one difference.

    Tests are at 0.05 over the whole family, as if each had to pass the first step of Holm's procedure.
    """
    normal = NormalDist()
    return error * (normal.inv_cdf(1 - (1 - CONFIDENCE) / (2 * family)) + normal.inv_cdf(POWER))


def optimism(runs: Sequence[Judged], metric: Metric) -> float | None:
    """By how much the best of several runs looks better than it is, because it was chosen on these very rows.

    The mean, over resamples, of the chosen run's figure there minus its figure here (Efron and Tibshirani 1993,
    section 17.6); None where a figure is undefined.
    """
    values = [run.figure(metric).value for run in runs]
    if any(value is None for value in values):
        return None
    here = np.array(values, dtype=np.float64)
    sample = paired_sample(runs, [metric])
    draws = np.stack(sample.draw([run.bind(metric, sample) for run in runs], OUTCOMES), axis=1)
    draws = draws[np.isfinite(draws).all(axis=1)]
    if not len(draws):
        return None
    sign = -1 if metric.smaller_is_better else 1
    chosen = (sign * draws).argmax(axis=1)
    return float((draws[np.arange(len(draws)), chosen] - here[chosen]).mean())
