"""What happens during a run, as values; the face decides how to show them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins to execute; `why` says why it is not reused."""

    run: str
    stage: str
    why: str


@dataclass(frozen=True, slots=True)
class StageProgress:
    """A stage got further: `done` of `total` steps; `figures` are what it can say of itself by now."""

    run: str
    stage: str
    done: int
    total: int
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StageStalled:
    """A stage has been `doing` one thing for that many seconds; `others` is what its other processes do meanwhile."""

    run: str
    stage: str
    doing: str
    others: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage is done: executed or reused."""

    run: str
    stage: str
    executed: bool
    seconds: float
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A stored object was damaged or missing; what is left of it was moved to the quarantine."""

    run: str
    stage: str
    output: str
    reason: str


Event = StageStarted | StageProgress | StageStalled | StageFinished | SetAside
Observe = Callable[[Event], None]
