"""Runs that differ in nothing but their seed, as one line: how many, the mean and the spread."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean, stdev

from hsdc.terminal import columns
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Record, counts_of
from hsdc_schemas.scores import OVERALL, Counts, Metric


def pooled(runs: Iterable[tuple[Manifest, Record]]) -> list[str]:
    """F1 macro over the replicates of each matrix, with the sample's standard deviation."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for manifest, record in runs:
        if manifest.matrix is not None and manifest.matrix.replicate:
            kept = {
                name: value for name, value in manifest.matrix.axes.items() if name not in manifest.matrix.replicate
            }
            shown = ", ".join(f"{name} {value}" for name, value in kept.items())
            groups.setdefault((manifest.matrix.run, shown), []).append(record)
    rows = [row for (run, shown), records in groups.items() if len(records) > 1 for row in _rows(run, shown, records)]
    if not rows:
        return []
    title = "pooled over replicates, F1 macro: mean ± standard deviation (smallest to largest)"
    return [title, *columns([("  run", "axes", "runs", "head", "read", "F1 macro"), *rows])]


def _rows(run: str, shown: str, records: list[Record]) -> list[tuple[str, ...]]:
    """A line for each head, and one for all where there are several."""
    counts = {record.run: next(iter(counts_of(record).values())) for record in records}
    heads = list(next(iter(counts.values())).whole)
    name = (f"  {run}", shown or "–", str(len(records)))
    found = []
    for scope in [OVERALL, *heads] if len(heads) > 1 else heads:
        found.append((*name, scope, _read(scope, counts.values()), _spread(Metric(scope, "f1_macro"), counts)))
        name = ("", "", "")
    return found


def _read(scope: str, counts: Iterable[Counts]) -> str:
    """Of all replicates, the least share of answers that could be read."""
    shares = [item.figure(Metric(scope, "coverage")).value or 0.0 for item in counts]
    return f"{100 * min(shares):.4g} %"


def _spread(metric: Metric, counts: dict[str, Counts]) -> str:
    values = []
    for run, item in counts.items():
        value = item.figure(metric).value
        if value is None:
            return f"undefined in {run}"
        values.append(value)
    return f"{mean(values):.4f} ± {stdev(values):.4f} ({min(values):.4f} to {max(values):.4f})"
