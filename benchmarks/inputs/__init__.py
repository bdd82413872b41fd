"""Hashing of inputs: hsdc beside `hashlib.file_digest` and `dvc add`, on a few large files and on many small ones."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.campaign.measure import Series, interleaved
from benchmarks.campaign.peers import peers
from benchmarks.inputs.project import Big, Files, room, under_dvc
from benchmarks.inputs.report import result
from benchmarks.processes import output_of
from benchmarks.results import Result
from benchmarks.workspace import ROOT, workspace

LARGE, SMALL = Files("large", 4, 10**9), Files("small", 20_000, 2_000)


def run(*, quick: bool, data: Path | None) -> Result:
    """Hashing alone, then whole commands in turn. `data` is not used."""
    rounds = 1 if quick else 2
    found, measured = peers(), {}
    for files in _sizes(quick):
        with workspace() as root, tempfile.TemporaryDirectory(prefix="hsdc-benchmark-") as name:
            big = Big(root, files)
            big.make()
            alone: dict[str, list[dict[str, Any]]] = json.loads(
                output_of(["-m", "benchmarks.inputs.child", str(big.folder), str(rounds)], ROOT)
            )
            cases = [*big.cases(), *under_dvc(Path(name) / "dvc", files, found)]
            series: dict[str, Series] = interleaved(cases, rounds)
        measured[files] = (alone, series)
    return result(measured, found.missing)


def _sizes(quick: bool) -> tuple[Files, Files]:
    if quick:
        return replace(LARGE, count=2, size=10**8), replace(SMALL, count=500)
    enough = room(Path(tempfile.gettempdir())) > 4 * LARGE.bytes
    return (LARGE if enough else replace(LARGE, size=LARGE.size // 4)), SMALL
