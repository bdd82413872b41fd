"""Where rows hang together, the intervals of what tables show: counts do not tell them, so a record holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from hsdc_schemas.answers import Answers
from hsdc_schemas.judged import Judged
from hsdc_schemas.metrics import GAP, GROUP, HIGHER_BY_LABEL, OVERALL, RATES, WHOLE, Counts, Metric

AT_ONCE = 500  # metrics whose draws are held together; the next ones take the same draws again


def clustered(answers: Answers, scores: Mapping[str, Any]) -> dict[str, Any]:
    """`clusters`, how many are drawn, and `intervals` by variant and metric, for the answers that `scores` counts.

    Empty where no row is in a cluster. They are those of gates and comparisons: of the same draws.
    """
    if all(row.cluster is None for row in answers.rows):
        return {}
    runs = {variant: Judged.of(answers, variant) for variant in answers.header.variants}
    units = len(set(next(iter(runs.values())).clusters or ()))
    return {"clusters": units, "intervals": {variant: _of(run, scores[variant]) for variant, run in runs.items()}}


def _of(run: Judged, scores: Mapping[str, Any]) -> dict[str, Any]:
    counts = Counts.from_json(scores, run.unparseable)
    metrics = [metric for metric in tabled(counts) if counts.figure(metric).value is not None]
    parts = (metrics[start : start + AT_ONCE] for start in range(0, len(metrics), AT_ONCE))
    return {
        str(metric): asdict(found) for part in parts for metric, found in zip(part, run.intervals(part), strict=True)
    }


def tabled(counts: Counts) -> Iterator[Metric]:
    """What tables show with an interval: of all rows, of each group and between groups, and within labels of heads."""
    if len(counts.whole) > 1:
        yield from (Metric(OVERALL, name) for name in WHOLE)
    for head, confusion in counts.whole.items():
        yield from (Metric(head, name) for name in WHOLE)
        for label in confusion.labels:
            yield from (Metric(head, name, label) for name in (*HIGHER_BY_LABEL, *RATES))
            yield from (Metric(head, f"{name}{GAP}", label) for name in RATES)
    for name, heads in counts.slices.items():
        for head, confusion in heads.items():
            yield from (Metric(head, what, None, name) for what in WHOLE)
            if name.startswith(f"{GROUP}="):
                yield from (Metric(head, rate, label, name) for label in confusion.labels for rate in RATES)
