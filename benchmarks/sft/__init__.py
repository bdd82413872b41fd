"""TRL's SFTTrainer beside hsdc's loop: the same steps of the same rows, each way in a process of its own, in turns."""

from __future__ import annotations

from pathlib import Path

from benchmarks.installed import installed
from benchmarks.processes import spend
from benchmarks.results import Result
from benchmarks.sft.report import ALIKE, FILLED, LIBRARY, NOT_SLOWER, OURS, PACKED, PADDED, PLAIN, result
from benchmarks.sft.way import ask, take, take_in_turns
from benchmarks.workspace import workspace

__all__ = ["ALIKE", "LIBRARY", "NOT_SLOWER", "packages", "run"]
STEPS, SOME, FEW = 50, 12, 3
RUN = "lora_validation"


def run(*, quick: bool, data: Path | None) -> Result:
    """Measure; with `quick`, three steps. `data` is not used."""
    steps, some = (FEW, FEW) if quick else (STEPS, SOME)
    library = packages(installed(LIBRARY))
    with workspace() as root:
        spend(["-m", "hsdc", "compile", RUN], root)
        facts = ask(root, {})
        taken = take_in_turns(root, {PACKED: steps, OURS: steps, PADDED: some, PLAIN: some // 2 + 1}, library)
        taken[FILLED] = take(root, FILLED, max(some, 2 * FEW), library)
    return result(taken, facts, steps)


def packages(environment: Path) -> Path:
    """Where the packages of a virtual environment are."""
    return next(environment.glob("lib/python*/site-packages"))
