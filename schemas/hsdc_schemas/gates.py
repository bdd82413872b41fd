"""Gates: inequalities that a run's scores have to satisfy, read from text, and whether so many rows can tell.

f1_macro >= 0.620                   the figure
delta.f1_macro >= 0.005             the figure minus the baseline's, over the same rows
fpr[hate]@group=lgbtq < 0.35        a label's rate within a group
mean[score] >= 0.82                 of a number that answers say: its mean, or `std`, `mae`, `coverage`
low(f1_macro) >= 0.6                the lower bound of the interval, or `high(…)`, the upper one
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from hsdc_schemas.confusion import Figure
from hsdc_schemas.errors import did_you_mean
from hsdc_schemas.intervals import CONFIDENCE, Interval
from hsdc_schemas.metrics import OF_NUMBERS, RATES, Counts, Heads, Metric, Numbers, parse_metric, span

if TYPE_CHECKING:
    from hsdc_schemas.judged import Judged

DELTA = "delta"
POWER = 0.8
DISCORDANT = 0.1  # share of rows that two runs are taken to judge differently, before anybody has run them
SPREAD = 0.1  # of a number's range: what two runs' numbers of one row are taken to differ by, as a standard deviation
FORMS = "write METRIC >= NUMBER, with delta.METRIC, low(METRIC) or high(METRIC), and >=, >, <= or <"

Side: TypeAlias = Literal["value", "low", "high"]
Outcome: TypeAlias = Literal["pass", "fail", "undecided"]

_GATE = re.compile(r"\s*(.*?)\s*(?<![<>=!])(>=|<=|==|!=|<|>|=)(?![<>=])\s*([^<>=]*?)\s*", re.DOTALL)
_SIDED = re.compile(r"(\w+)\(\s*(.*?)\s*\)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


class GateError(ValueError):
    """A gate that cannot be read: what is wrong, where in its text (from 0, `end` excluded), and the way out."""

    def __init__(self, message: str, start: int, end: int, hint: str = FORMS) -> None:
        super().__init__(message)
        self.start, self.end, self.hint = start, end, hint


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate, taken apart. With `delta`, the metric is the run's minus the baseline's."""

    metric: Metric
    operator: str
    bound: float
    side: Side = "value"
    delta: bool = False

    def __str__(self) -> str:
        metric = f"{DELTA}.{self.metric}" if self.delta else str(self.metric)
        return f"{metric if self.side == 'value' else f'{self.side}({metric})'} {self.operator} {self.bound:g}"

    def admits(self, value: float) -> bool:
        """Whether a value is on the right side of the bound."""
        return {
            ">=": value >= self.bound,
            ">": value > self.bound,
            "<=": value <= self.bound,
            "<": value < self.bound,
        }[self.operator]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a gate came to. `note` says why it is undecided, or that so many rows cannot tell the figure from the bound.

    `resolved` is whether the interval lies on one side of the bound.
    """

    gate: Gate
    outcome: Outcome
    value: float | None
    interval: Interval
    resolved: bool
    note: str = ""


def parse_gate(text: str, heads: Heads | None = None, numbers: Numbers | None = None) -> Gate:
    """A gate from its text; with the run's heads and their labels, and its numbers, its metric has to be one of theirs.

    Raises GateError, which says where in the text.
    """
    found = _GATE.fullmatch(text)
    if found is None:
        raise GateError(f"'{text.strip()}' compares nothing", 0, len(text))
    left, operator, right = found.groups()
    if operator not in (">=", ">", "<=", "<"):
        raise GateError(f"'{operator}' is no comparison of a gate", *found.span(2))
    if not _NUMBER.fullmatch(right):
        hint = f"write {float(right[:-1]) / 100:g}" if _NUMBER.fullmatch(right[:-1]) and right[-1] == "%" else FORMS
        raise GateError(f"'{right}' is no number" if right else "there is no number", *found.span(3), hint)
    side, delta, metric = _measured(left, found.start(1), heads, numbers)
    gate = Gate(metric, operator, float(right), side, delta)
    if not metric.is_of_numbers or numbers:  # else nothing is known of what it may be
        _require_possible(gate, numbers or {}, found.span(3))
    return gate


def _measured(text: str, start: int, heads: Heads | None, numbers: Numbers | None) -> tuple[Side, bool, Metric]:
    side: Side = "value"
    sided = _SIDED.fullmatch(text)
    if sided is not None:
        if sided[1] not in ("low", "high"):
            hint = f"{did_you_mean(sided[1], ('low', 'high'))}; {FORMS}"
            if sided[1] in OF_NUMBERS:
                hint = f"write {sided[1]}[{sided[2]}]"
            raise GateError(f"'{sided[1]}' is no side of an interval", start, start + len(sided[1]), hint)
        side = "low" if sided[1] == "low" else "high"
        text, start = sided[2], start + sided.start(2)
    name = text.removeprefix(f"{DELTA}.")
    start += len(text) - len(name)
    if heads is not None and DELTA in heads:
        raise GateError(f"a head is called '{DELTA}', which names a difference", start, start, "rename the head")
    try:
        return side, name != text, parse_metric(name, heads, numbers)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise GateError(message, start, start + len(name), hint) from None


def _require_possible(gate: Gate, numbers: Numbers, place: tuple[int, int]) -> None:
    """A bound that every value satisfies, or none, is a mistake: a percentage, most often."""
    low, high = span(gate.metric, numbers)
    if gate.delta:
        low, high = low - high, high - low
    if gate.admits(low) == gate.admits(high):
        shares = (low, high) in ((0.0, 1.0), (-1.0, 1.0))
        hint = f"{'shares are written' if shares else f'{gate.metric.name} is'} from {low:.4g} to {high:.4g}"
        if shares and 1 < abs(gate.bound) <= 100:
            hint = f"write {gate.bound / 100:g}; {hint}"
        raise GateError(f"every value {'passes' if gate.admits(low) else 'fails'}", *place, hint)


def evaluate(gate: Gate, run: Counts | Judged, baseline: Judged | None = None) -> Verdict:
    """Whether a run passes. A gate on a value decides by the value; one on a bound, where that bound decides.

    `low(x) >= b` passes where the whole interval satisfies it, fails where none of it does, and is undecided between.
    A figure without a value is undecided. A difference takes answers, of this run and of the baseline, to the same rows
    in the same order; raises ValueError where they are missing.
    """
    figure, interval = _of(gate, run, baseline)
    if figure.value is None or interval.low is None or interval.high is None:
        if figure.value is None or gate.side != "value":
            return Verdict(gate, "undecided", figure.value, interval, False, figure.reason or interval.reason)
        outcome: Outcome = "pass" if gate.admits(figure.value) else "fail"
        return Verdict(gate, outcome, figure.value, interval, False, f"without an interval: {interval.reason}")
    ends = (gate.admits(interval.low), gate.admits(interval.high))
    alike = gate.delta and interval.low == interval.high
    resolved = ends[0] == ends[1] and not alike
    straddles = f"the interval {interval.low:.3f} to {interval.high:.3f} lies on both sides of {gate.bound:g}"
    if alike:
        straddles = f"no resample of these rows differs from {interval.low:.3f}, which other rows still may"
    if gate.side == "value":
        note = "" if resolved else f"not resolved: {straddles}"
        return Verdict(gate, "pass" if gate.admits(figure.value) else "fail", figure.value, interval, resolved, note)
    if gate.admits(interval.low if gate.side == "low" else interval.high):
        return Verdict(gate, "pass", figure.value, interval, resolved, "" if resolved else straddles)
    told = any(ends) or alike
    return Verdict(gate, "undecided" if any(ends) else "fail", figure.value, interval, resolved, straddles * told)


def _of(gate: Gate, run: Counts | Judged, baseline: Judged | None) -> tuple[Figure, Interval]:
    from hsdc_schemas.contrast import contrast
    from hsdc_schemas.resampling import interval

    if not gate.delta:
        bounds = interval(run, gate.metric) if isinstance(run, Counts) else run.interval(gate.metric)
        return run.figure(gate.metric), bounds
    if baseline is None or isinstance(run, Counts):
        raise ValueError(f"'{gate}' takes the answers of the run and of its baseline")
    found = contrast(baseline, run, gate.metric)
    if found.difference is None:
        return Figure(None, found.interval.reason), found.interval
    return Figure(found.difference), found.interval


@dataclass(frozen=True, slots=True)
class Need:
    """How many rows a gate takes, of those that its metric is over; whether there are enough, and a sentence on it."""

    rows: int
    enough: bool
    message: str


def needed_rows(
    gate: Gate,
    rows: int,
    numbers: Numbers | None = None,
    *,
    expected: float | None = None,
    discordant: float = DISCORDANT,
) -> Need | None:
    """What it takes to resolve a gate at 0.05 with power 0.8, given how many rows there are.

    A difference is told from 0 if two runs judge a share of `discordant` rows differently (Connor 1987, of McNemar's
    test on accuracy; other figures need about as many); one of means of a number, if the rows' differences have a
    standard deviation of `SPREAD` of its range. A value is told from its bound if it is the `expected` one, as
    a share of rows. A bound of an interval needs as many rows as would satisfy it if every one of them were as it
    should be. None where nothing can be said before the run.
    """
    from statistics import NormalDist  # weight that few runs need

    normal = NormalDist()
    z, power = normal.inv_cdf((1 + CONFIDENCE) / 2), normal.inv_cdf(POWER)
    if gate.metric.is_of_numbers and gate.metric.name != "coverage":
        return _of_means(gate, rows, (numbers or {}).get(gate.metric.label or ""), z + power)
    if gate.side != "value":
        return _for_a_bound(gate, rows, z)
    if gate.delta and gate.bound:
        margin = abs(gate.bound)
        null = max(discordant, margin)
        other, what = null - margin**2, f"a difference of {margin:g}"
        given = f"if {discordant:.0%} of the rows are judged differently"
    elif not gate.delta and expected not in (None, gate.bound):
        margin, null, other = abs(expected - gate.bound), gate.bound * (1 - gate.bound), expected * (1 - expected)
        what, given = f"the difference of {expected:g} and {gate.bound:g}", "if they are shares of rows"
    else:
        return None
    need = math.ceil((z * math.sqrt(null) + power * math.sqrt(other)) ** 2 / margin**2)
    reach = (z + power) * math.sqrt(null / max(rows, 1))
    message = f"to resolve {what} takes about {need:,} rows, {given}; {rows:,} rows resolve {reach:.3f}"
    return Need(need, rows >= need, message)


def _of_means(gate: Gate, rows: int, ends: tuple[float, float] | None, reach: float) -> Need | None:
    """Of a difference of two means over the same rows, by the standard deviation of the rows' differences."""
    if not gate.delta or not gate.bound or gate.side != "value" or gate.metric.name == "std" or ends is None:
        return None
    spread, margin = SPREAD * (ends[1] - ends[0]), abs(gate.bound)
    need = math.ceil((reach * spread / margin) ** 2)
    given = f"if the rows' differences have a standard deviation of {spread:g}"
    message = f"to resolve a difference of {margin:g} takes about {need:,} rows, {given}"
    return Need(need, rows >= need, f"{message}; {rows:,} rows resolve {reach * spread / math.sqrt(max(rows, 1)):.3f}")


def _for_a_bound(gate: Gate, rows: int, z: float) -> Need | None:
    """Wilson's bounds of n rows are at best n / (n + z²), where all are right, and z² / (n + z²), where none is."""
    upwards = gate.operator in (">=", ">")
    share = gate.bound if upwards else 1 - gate.bound
    if gate.delta or gate.metric.is_gap or upwards != (gate.side == "low") or not 0 < share < 1:
        return None
    need = math.ceil(z * z * share / (1 - share))
    ideal = "wrong" if upwards == (gate.metric.figure in RATES) else "right"
    message = f"'{gate}' takes at least {need:,} rows, if all of them are {ideal}; there are {rows:,}"
    return Need(need, rows >= need, message)
