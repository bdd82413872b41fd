"""What an adapter changed: the rows that it mends and those that it spoils, beside the model without it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from hsdc.output import cut, inert
from hsdc.scores_view import shown
from hsdc.terminal import columns
from hsdc_runtime.store import Damaged, Store
from hsdc_runtime.verdicts import BASE
from hsdc_schemas.answers import Answer, Answers, load_answers
from hsdc_schemas.contrast import contrast
from hsdc_schemas.gates import parse_gate
from hsdc_schemas.judged import Judged
from hsdc_schemas.metrics import GROUP, RANKED, SUPPORTED, Metric
from hsdc_schemas.record import Record, StageRecord

CASES = 5  # of each kind that are shown
TEXT = 60  # characters of a row's text
FIXED, BROKEN = "fixed", "broken"


def changed(root: Path, record: Record) -> list[str]:
    """Counts, the difference with its interval, and the first cases; nothing where no adapter was measured."""
    stages = {stage.name: stage for stage in record.stages}
    if "parse_adapter" not in stages:
        return []
    try:
        answers = load_answers(_output(root, stages["score"], "answers"), f"the answers of '{record.run}'")
        texts = _texts(_output(root, stages["prepare"], "rows"))
    except Damaged as damaged:
        return [f"what the adapter changed is not here: {damaged}"]
    (head,) = answers.header.heads
    after, metric = answers.header.variants[0], Metric(head, "f1_macro")
    runs = Judged.of(answers, BASE), Judged.of(answers, after)
    found = contrast(*runs, metric)
    cases = list(_cases(answers, head, after))
    lines = [f"the adapter against its base, on the same {len(answers.rows):,} rows", *columns(_counts(cases))]
    if found.difference is not None and found.interval.low is not None and found.interval.high is not None:
        bounds = f"{found.interval.low:+.3f} to {found.interval.high:+.3f}"
        lines.append(f"  delta.{metric} {found.difference:+.4f} (95 % interval {bounds})")
    lines += _by_group(*runs, [metric, *_gated(record)])
    return lines + _shown(cases, texts, head, after)


def _output(root: Path, stage: StageRecord, name: str) -> Path:
    return Store(root).look(stage.outputs[name].object)


def _texts(rows: Path) -> dict[str, str]:
    with rows.open("rb") as file:
        return {row["id"]: row["text"] for row in map(json.loads, file)}


def _cases(answers: Answers, head: str, after: str) -> Iterator[tuple[str, Answer]]:
    """Rows that only one of the two gets right; what cannot be read is not right."""
    for row in answers.rows:
        right = [row.answers[variant][head] == row.gold[head] for variant in (BASE, after)]
        if row.gold[head] is not None and right[0] != right[1]:
            yield FIXED if right[1] else BROKEN, row


def _counts(cases: list[tuple[str, Answer]]) -> list[tuple[str, ...]]:
    return [(f"  {kind}", f"{sum(kind == found for found, _ in cases):,}") for kind in (FIXED, BROKEN)]


def _gated(record: Record) -> Iterator[Metric]:
    """What the gates are over, of all rows; areas stand in the scores."""
    for gate in record.gates:
        metric = replace(parse_gate(gate.gate).metric, slice=None)
        if not metric.is_gap and metric.figure not in RANKED:
            yield metric


def _by_group(base: Judged, run: Judged, metrics: Iterable[Metric]) -> list[str]:
    """The difference of each metric over all rows, and within each group that has enough of them."""
    groups = [name for name, members in sorted(run.members.items()) if members.sum() >= SUPPORTED]
    rows = [("  difference", "group", "before", "after", "delta", "95 % interval")]
    for metric in dict.fromkeys(metrics):
        for group in (None, *groups):
            held = replace(metric, slice=None if group is None else f"{GROUP}={group}")
            found = contrast(base, run, held)
            low, high = found.interval.low, found.interval.high
            bounds = "–" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
            delta = "–" if found.difference is None else f"{found.difference:+.4f}"
            figures = (shown(judged.figure(held)) for judged in (base, run))
            rows.append((f"  {metric}", inert(group or "all rows"), *figures, delta, bounds))
    return columns(rows) if len(rows) > 2 else []


def _shown(cases: list[tuple[str, Answer]], texts: dict[str, str], head: str, after: str) -> list[str]:
    rows = [("  case", "row", "label", "before", "after", "text")]
    left = 0
    for kind in (FIXED, BROKEN):
        found = [row for what, row in cases if what == kind]
        left += len(found[CASES:])
        for row in found[:CASES]:
            said = [_said(row, variant, head) for variant in (BASE, after)]
            gold = inert(str(row.gold[head]))
            rows.append((f"  {kind}", cut(row.id, 24), gold, *said, cut(texts.get(row.id, ""), TEXT)))
    more = [f"  and {left:,} more"] if left else []
    return [*columns(rows), *more] if len(rows) > 1 else []


def _said(row: Answer, variant: str, head: str) -> str:
    answer = row.answers[variant][head]
    return inert(answer) if answer is not None else row.faults.get(variant, {}).get(head, "unread").replace("_", " ")
