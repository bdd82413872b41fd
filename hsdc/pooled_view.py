"""Runs that differ in nothing but their seed, as one line: how many, the mean and the spread."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean, stdev

from hsdc.terminal import columns
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Record
from hsdc_schemas.scores import Confusion, figure, parse_metric


def pooled(runs: Iterable[tuple[Manifest, Record]]) -> list[str]:
    """F1 macro of the raw decisions over the replicates of each matrix, with the sample's standard deviation."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for manifest, record in runs:
        if manifest.matrix is not None and manifest.matrix.replicate:
            kept = {
                name: value for name, value in manifest.matrix.axes.items() if name not in manifest.matrix.replicate
            }
            shown = ", ".join(f"{name} {value}" for name, value in kept.items())
            groups.setdefault((manifest.matrix.run, shown), []).append(record)
    rows = [_row(run, shown, records) for (run, shown), records in groups.items() if len(records) > 1]
    if not rows:
        return []
    heads = sorted(next(iter(groups.values()))[0].scores["raw"]["all"])
    return ["pooled over replicates, F1 macro: mean ± standard deviation", *columns([_header(heads), *rows])]


def _header(heads: list[str]) -> tuple[str, ...]:
    return ("  run", "axes", "runs", "overall", *heads)


def _row(run: str, shown: str, records: list[Record]) -> tuple[str, ...]:
    heads = sorted(records[0].scores["raw"]["all"])
    names = ("overall.f1_macro", *(f"{head}.f1_macro" for head in heads))
    return (f"  {run}", shown or "–", str(len(records)), *(_spread(name, records) for name in names))


def _spread(metric: str, records: list[Record]) -> str:
    values = []
    for record in records:
        whole = {head: Confusion.from_json(counts) for head, counts in record.scores["raw"]["all"].items()}
        value = figure(parse_metric(metric), whole).value
        if value is None:
            return f"undefined in {record.run}"
        values.append(value)
    return f"{mean(values):.4f} ± {stdev(values):.4f}"
