"""transformers' Trainer with the campaign's settings beside hsdc's loop: each way in processes of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.processes import spend
from benchmarks.results import Result
from benchmarks.trainer.report import ALTERNATED, CHECKED, LIMIT, LONGEST, OURS, WAYS, Series, result
from benchmarks.trainer.way import prepare, take
from benchmarks.workspace import workspace

MOST = 25  # steps of a way, the first of which is not measured: an epoch of the sample data


def run(*, quick: bool, data: Path | None) -> Result:
    """Every way in turn, several rounds, on the sample data or on the data set two_task in the folder `data`."""
    profile = "two_task" if data else "demo"
    with workspace({"two_task": data} if data else None) as root:
        spend(["-m", "hsdc", "compile", "--profile", profile, "run4"], root)
        counts = prepare(root, profile)
        steps, rounds = (1, 1) if quick else (min(counts["steps"], MOST) - 1, 2)
        series: Series = {way: [] for way in WAYS}
        for number in range(rounds):
            for way in WAYS:
                if way is not LIMIT or number == 0:
                    series[way].append(take(root, profile, way, steps))
        turns = take(root, profile, replace(OURS, alternate=True), 2 if quick else ALTERNATED)
        still = {way: take(root, profile, replace(way, dropout=False), CHECKED - 1).losses for way in (LONGEST, OURS)}
    return result(steps, counts, series, turns, still, data is not None)
