"""A record's scores and verdict as text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hsdc.output import inert
from hsdc.terminal import columns, style
from hsdc_schemas.digests import short
from hsdc_schemas.record import GateVerdict, Record, Reproduction, counts_of
from hsdc_schemas.resampling import interval
from hsdc_schemas.scores import OVERALL, SUPPORTED, Counts, Figure, Metric, table

AGREE = ("identical", "within tolerance")
VARIANTS = {"raw": "as trained", "calibrated": "calibrated", "tuned": "with thresholds"}
VARIANTS |= {"answers": "as answered", "adapter": "with the adapter", "base": "without the adapter"}
PARSED = {"parse": "base", "parse_adapter": "adapter"}  # stage to variant, where there is more than one
NONE = "–"
FEW = f"under {SUPPORTED} rows"
POLICIES = {"wrong": "count as wrong", "drop": "are left out", "error": "are errors"}
Rows = list[tuple[str, ...]]


def scores(record: Record) -> list[str]:
    """Figures of every label in the first variant, then every variant, then groups and slices, all with intervals."""
    counts = counts_of(record)
    if not counts:
        return []
    first, meant = next(iter(counts.items()))
    lines = [f"scores of {record.run} on {_split(record)}, {VARIANTS.get(first, first)}{_unread(meant)}"]
    if clusters := _facts(record).get("clusters"):
        lines.append(f"  intervals over {clusters:,} clusters, whose rows are not independent")
    lines += columns(_label_rows(meant))
    lines += ["", *columns(_variant_rows(counts)), *columns(_fault_rows(record, counts))]
    if meant.groups:
        lines += ["", *_dimmed(columns(_group_rows(meant))), *_gaps(meant)]
    if areas := _area_rows(record):
        lines += ["", *columns(areas)]
    if numbers := _number_rows(record):
        lines += ["", *columns(numbers)]
    if slices := [name for name in meant.slices if not name.startswith("group=")]:
        lines += ["", *columns(_slice_rows(meant, slices))]
    return lines + [f"  undefined: {reason}" for reason in sorted(set(_undefined(meant)))]


def _facts(record: Record) -> Mapping[str, Any]:
    return next((stage.facts for stage in record.stages if stage.name == "score"), {})


def _split(record: Record) -> str:
    said = _facts(record)
    subset = f" ({said['subset']})" if said.get("subset") else ""
    return f"{said.get('split', 'the scored split')}{subset}"


def _unread(counts: Counts) -> str:
    """That there are answers that could not be read, and how they count."""
    unread = sum(confusion.invalid for confusion in counts.whole.values())
    total = sum(confusion.total for confusion in counts.whole.values())
    return f": {unread:,} of {total:,} answers could not be read and {POLICIES[counts.unparseable]}" if unread else ""


def _label_rows(counts: Counts) -> Rows:
    rows = [("  head", "label", "precision", "recall", "95 % interval", "F1", "95 % interval", "support")]
    for head, confusion in counts.whole.items():
        kept = confusion.under("drop") if counts.unparseable == "drop" else confusion
        for row in table(kept):
            recall, f1 = (Metric(head, name, row.label) for name in ("recall", "f1"))
            figures = (shown(row.precision), *_with_interval(counts, recall), *_with_interval(counts, f1))
            rows.append((f"  {head}", inert(row.label), *figures, f"{row.support:,}"))
    return rows


def _with_interval(counts: Counts, metric: Metric) -> tuple[str, str]:
    return shown(counts.figure(metric)), _interval(counts, metric)


def _interval(counts: Counts, metric: Metric) -> str:
    """What other rows of the same kind might give."""
    found = interval(counts, metric)
    return NONE if found.low is None else f"{found.low:.2f} to {found.high:.2f}"


def shown(value: Figure) -> str:
    """A figure with four decimals, or a dash where it is undefined."""
    return NONE if value.value is None else f"{value.value:.4f}"


def _read(value: Figure) -> str:
    """Coverage: the share of answers that could be read."""
    return NONE if value.value is None else f"{100 * value.value:.4g} %"


def _variant_rows(variants: Mapping[str, Counts]) -> Rows:
    rows = [("  decisions", "head", "read", "F1 macro", "95 % interval", "accuracy", "95 % interval")]
    for variant, counts in variants.items():
        name = VARIANTS.get(variant, variant)
        for scope in ([OVERALL] if len(counts.whole) > 1 else []) + list(counts.whole):
            read = _read(counts.figure(Metric(scope, "coverage")))
            figures = (_with_interval(counts, Metric(scope, what)) for what in ("f1_macro", "accuracy"))
            rows.append((f"  {name}", scope, read, *(cell for pair in figures for cell in pair)))
            name = ""
    return rows


def _fault_rows(record: Record, variants: Iterable[str]) -> Rows:
    """What was wrong with answers that could not be read, class by class."""
    known, rows = list(variants), []
    for stage in record.stages:
        faults = stage.facts.get("faults") if stage.name in PARSED else None
        if faults:
            variant = PARSED[stage.name] if PARSED[stage.name] in known else known[0]
            told = ", ".join(f"{count:,} {inert(fault).replace('_', ' ')}" for fault, count in faults.items())
            rows.append((f"  not read, {VARIANTS.get(variant, variant)}", told))
    return rows


def _group_rows(counts: Counts) -> Rows:
    """Error rates of every label in every group, each with the counts that it is of."""
    rows = [("  group", "label", "read", "FPR", "of", "95 % interval", "FNR", "of", "95 % interval", "")]
    for group in counts.groups:
        for head, confusion in counts.slices[f"group={group}"].items():
            read = _read(counts.figure(Metric(head, "coverage", None, f"group={group}")))
            for label in confusion.labels:
                rates = [Metric(head, rate, label, f"group={group}") for rate in ("fpr", "fnr")]
                cells = [cell for rate in rates for cell in _rate(counts, rate)]
                few = any(_of(counts, rate) < SUPPORTED for rate in rates)
                name = label if len(counts.whole) == 1 else f"{head} {label}"
                rows.append((f"  {inert(group)}", inert(name), read, *cells, FEW if few else ""))
    return rows


def _rate(counts: Counts, rate: Metric) -> tuple[str, str, str]:
    figure = counts.figure(rate)
    of = NONE if figure.count is None else f"{figure.count[0]:,}/{figure.count[1]:,}"
    return shown(figure), of, _interval(counts, rate)


def _of(counts: Counts, rate: Metric) -> int:
    count = counts.figure(rate).count
    return 0 if count is None else count[1]


def _dimmed(lines: Iterable[str]) -> Iterator[str]:
    """Lines about few rows are grey where there is colour; they say so anyway."""
    for line in lines:
        yield style(line, "dim", sys.stdout) if line.endswith(FEW) else line


def _gaps(counts: Counts) -> Iterator[str]:
    """Between groups with enough rows, the largest minus the smallest rate."""
    for head, confusion in counts.whole.items():
        for label in confusion.labels:
            for rate in ("fpr", "fnr"):
                metric = Metric(head, f"{rate}_gap", label)
                figure = counts.figure(metric)
                if figure.value is not None:
                    told = ", ".join(inert(group) for group in counts.supported(metric))
                    yield f"  gap: {metric} {figure.value:.4f} ({_interval(counts, metric)}) between {told}"


def _area_rows(record: Record) -> Rows:
    """Areas under curves, which are of the answers' chances: the record holds them, since counts do not."""
    facts = _facts(record)
    against = facts.get("background") or "all rows outside the group"
    rows = [(f"  area under the curve (background: {inert(against)})", "decisions", "area", "95 % interval")]
    return rows + found if (found := _held(facts.get("areas", {}))) else []


def _number_rows(record: Record) -> Rows:
    """Figures over the numbers that answers say, which the record holds as well."""
    found = _held(_facts(record).get("numbers", {}))
    return [("  number", "decisions", "figure", "95 % interval"), *found] if found else []


def _held(variants: Mapping[str, Any]) -> Rows:
    """Figures that the record holds with their bounds, by variant and metric."""
    rows = []
    for variant, figures in variants.items():
        for metric, figure in figures.items():
            value, low, high = (figure[name] for name in ("value", "low", "high"))
            bounds = NONE if low is None else f"{low:.2f} to {high:.2f}"
            told = NONE if value is None else f"{value:.4f}"
            rows.append((f"  {inert(metric)}", VARIANTS.get(variant, variant), told, bounds))
    return rows


def _slice_rows(counts: Counts, slices: list[str]) -> Rows:
    rows = [("  within", "head", "rows", "accuracy", "95 % interval", "F1 macro", "95 % interval")]
    for name in slices:
        for head, confusion in counts.slices[name].items():
            figures = (_with_interval(counts, Metric(head, what, None, name)) for what in ("accuracy", "f1_macro"))
            cells = (cell for pair in figures for cell in pair)
            rows.append((f"  {inert(name)}", head, f"{confusion.total:,}", *cells))
    return rows


def _undefined(counts: Counts) -> Iterator[str]:
    empty = []
    for name, heads in (("all", counts.whole), *counts.slices.items()):
        where = "" if name == "all" else f" within {inert(name)}"
        for head, confusion in heads.items():
            macro = counts.figure(Metric(head, "f1_macro", None, None if name == "all" else name))
            if not confusion.total:
                empty.append(f"{head}{where}")
            elif macro.value is None:
                yield f"{head}.f1_macro{where}: {inert(macro.reason)}"
    if empty:
        yield f"no labelled rows: {', '.join(empty)}"


def verdict(record: Record) -> list[str]:
    """What gates and a claim came to: passed or not, reproduced or not, the reported figure beside ours."""
    lines = columns([_gate(gate) for gate in record.gates]) if record.gates else []
    lines += [f"         {gate.gate}: {inert(gate.note)}" for gate in record.gates if gate.note]
    claim = record.reproduction
    return lines if claim is None else [*lines, _digests(record, claim), *_reported(claim)]


def _gate(gate: GateVerdict) -> tuple[str, ...]:
    value = NONE if gate.value is None else f"{gate.value:.4f}"
    bounds = NONE if gate.low is None or gate.high is None else f"{gate.low:.3f} to {gate.high:.3f}"
    return "gate   ", inert(gate.gate), gate.outcome, value, bounds


def _digests(record: Record, claim: Reproduction) -> str:
    executed = ", ".join(claim.executed)
    if claim.verdict == "identical":
        return (
            f"verdict  identical: {record.run} reproduces {claim.run}; every output has the same digest "
            f"({executed} executed anew)"
        )
    difference = claim.difference
    where = "" if difference is None else f"first difference in {difference.stage}, {difference.output}"
    if difference is not None:
        where += f", tensor {difference.tensor}" if difference.tensor else ""
        where += f", field {difference.field}" if difference.field else ""
        where += f": {short(difference.expected)} → {short(difference.found)}"
    if claim.verdict == "within tolerance":
        return f"verdict  within tolerance ({claim.level}): {record.run} and {claim.run} are not the same bits; {where}"
    if claim.verdict == "inconclusive":
        return f"verdict  inconclusive: another environment ({', '.join(claim.environment)}); {where}"
    return f"verdict  diverged: {record.run} does not reproduce {claim.run}; {where}"


def _reported(claim: Reproduction) -> list[str]:
    if claim.reported == "not claimed":
        return []
    found = "undefined" if claim.found is None else f"{claim.found:.4f}"
    says = f"reported {claim.metric} {claim.claimed}"
    if claim.reported == "not comparable":
        return [f"{says}: not comparable with {found} here: {claim.reason}"]
    if claim.reported == "undefined":
        return [f"{says}: {claim.reason}"]
    return [f"{says}: {found} here is {claim.reported} {claim.within}"]


def holds(record: Record) -> bool:
    """Whether the record says yes: every gate passed, and no claim is contradicted."""
    claim = record.reproduction
    if any(gate.outcome != "pass" for gate in record.gates):
        return False
    return claim is None or (claim.verdict in AGREE and claim.reported not in ("outside", "undefined"))
