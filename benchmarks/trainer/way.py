"""A way to train, as a value that a process of its own is given, and what that process measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.processes import spend
from benchmarks.workspace import ROOT

BATCH = 16
"""Rows of Trainer's batches; three of them make a step."""


@dataclass(frozen=True)
class Way:
    """Who trains, how rows become batches, and what is switched on.

    `alternate` lets torch take any algorithm in every second step, beginning with the first that is measured;
    `own_products` are hsdc's linear layers, which are faster than torch's on some processors; Trainer has torch's.
    """

    name: str
    by: Literal["Trainer", "hsdc"]
    padded: Literal["limit", "longest", "length"]
    checkpointing: bool = True
    alternate: bool = False
    own_products: bool = True
    dropout: bool = True


@dataclass(frozen=True)
class Taken:
    """Losses of all steps; of those after the first, CPU seconds (user, system) and padded tokens of each.

    `peak` are the process's most resident bytes until its last step ended.
    """

    losses: list[float]
    seconds: list[tuple[float, float]]
    padded_tokens: list[int]
    peak: int

    @property
    def cpu(self) -> float:
        """CPU seconds of all measured steps."""
        return sum(map(sum, self.seconds))


def prepare(root: Path, profile: str) -> dict[str, Any]:
    """Bring the project to where training starts; exact counts of an epoch by each kind of padding."""
    counts: dict[str, Any] = _child(root, {"profile": profile})
    return counts


def take(root: Path, profile: str, way: Way, steps: int) -> Taken:
    """Train some steps in a process of its own, after one that is not measured."""
    found = _child(root, {"profile": profile, "way": asdict(way), "steps": steps})
    return Taken(**{**found, "seconds": [(user, system) for user, system in found["seconds"]]})


def _child(root: Path, asked: dict[str, Any]) -> Any:
    answer = root / "answer.json"
    spend(["-m", "benchmarks.trainer.child", str(root), json.dumps(asked), str(answer)], ROOT)
    return json.loads(answer.read_bytes())
