"""A record's scores and verdict as text."""

from __future__ import annotations

from collections.abc import Mapping

from hsdc.terminal import columns
from hsdc_schemas.digests import short
from hsdc_schemas.record import Record, Reproduction
from hsdc_schemas.scores import ClassRow, Confusion, Figure, figure, parse_metric, table, wilson

VARIANTS = {"raw": "as trained", "calibrated": "calibrated", "tuned": "with thresholds"}


def scores(record: Record) -> list[str]:
    """Per-class figures of the raw decisions, then every variant's macro-F1, then the slices."""
    counts = _confusions(record)
    raw = counts["raw"]["all"]
    lines = [f"scores of {record.run} on {_split(record)}"]
    rows = [("  head", "label", "precision", "recall", "its 95 % interval", "F1", "support")]
    for head, confusion in raw.items():
        for row in table(confusion):
            figures = (shown(row.precision), shown(row.recall), _interval(row), shown(row.f1))
            rows.append((f"  {head}", row.label, *figures, f"{row.support:,}"))
    lines += columns(rows)
    lines.append("")
    lines += columns(_variant_rows(counts))
    slices = [name for name in counts["raw"] if name != "all"]
    if slices:
        lines += ["", *columns(_slice_rows(counts["raw"], slices))]
    reasons = sorted(set(_undefined(counts)))
    return lines + [f"  undefined: {reason}" for reason in reasons]


def _interval(row: ClassRow) -> str:
    """Wilson's interval of a recall: what other rows of the same kind might give."""
    if row.recall.value is None:
        return "–"
    low, high = wilson(round(row.recall.value * row.support), row.support)
    return f"{low:.2f} to {high:.2f}"


def _confusions(record: Record) -> dict[str, dict[str, dict[str, Confusion]]]:
    return {
        variant: {
            name: {head: Confusion.from_json(item) for head, item in heads.items()} for name, heads in slices.items()
        }
        for variant, slices in record.scores.items()
    }


def _split(record: Record) -> str:
    return next((str(stage.facts["split"]) for stage in record.stages if stage.name == "score"), "the scored split")


def shown(value: Figure) -> str:
    """A figure with four decimals, or a dash where it is undefined."""
    return "–" if value.value is None else f"{value.value:.4f}"


def _variant_rows(counts: Mapping[str, Mapping[str, Mapping[str, Confusion]]]) -> list[tuple[str, ...]]:
    heads = list(counts["raw"]["all"])
    rows = [("  F1 macro", "overall", *heads)]
    for variant in (name for name in VARIANTS if name in counts):
        whole = counts[variant]["all"]
        overall = shown(figure(parse_metric("overall.f1_macro"), whole))
        rows.append((f"  {VARIANTS[variant]}", overall, *(shown(whole[head].f1_macro()) for head in heads)))
    return rows


def _slice_rows(raw: Mapping[str, Mapping[str, Confusion]], slices: list[str]) -> list[tuple[str, ...]]:
    rows = [("  within", "head", "rows", "accuracy", "F1 macro")]
    for name in slices:
        for head, confusion in raw[name].items():
            figures = (f"{confusion.total:,}", shown(confusion.accuracy()), shown(confusion.f1_macro()))
            rows.append((f"  {name}", head, *figures))
    return rows


def _undefined(counts: Mapping[str, Mapping[str, Mapping[str, Confusion]]]) -> list[str]:
    found, empty = [], []
    for name, heads in counts["raw"].items():
        for head, confusion in heads.items():
            macro = confusion.f1_macro()
            if not confusion.total:
                empty.append(f"{head} within {name}" if name != "all" else head)
            elif macro.value is None:
                where = "" if name == "all" else f" within {name}"
                found.append(f"{head}.f1_macro{where}: {macro.reason}")
    return found + ([f"no labelled rows: {', '.join(empty)}"] if empty else [])


def verdict(record: Record) -> list[str]:
    """What a claim came to: reproduced or not, and the reported figure beside ours."""
    claim = record.reproduction
    if claim is None:
        return []
    return [_digests(record, claim), *_reported(claim)]


def _digests(record: Record, claim: Reproduction) -> str:
    executed = ", ".join(claim.executed)
    if claim.verdict == "identical":
        return (
            f"verdict  identical: {record.run} reproduces {claim.run}; every output has the same digest "
            f"({executed} executed anew)"
        )
    difference = claim.difference
    where = "" if difference is None else f"first difference in {difference.stage}, {difference.output}"
    if difference is not None and difference.tensor:
        where += f", tensor {difference.tensor}"
    if difference is not None:
        where += f": {short(difference.expected)} → {short(difference.found)}"
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
    """Whether the record says yes: no claim, or one that was reproduced and whose figure is not contradicted."""
    claim = record.reproduction
    return claim is None or (claim.verdict == "identical" and claim.reported not in ("outside", "undefined"))
