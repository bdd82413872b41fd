"""What an execution shows beside a record of the same work: the verdict, the level reached, and what limits it."""

from __future__ import annotations

from dataclasses import dataclass

from hsdc_schemas.record import Difference, Environment, Level, Verdict
from hsdc_schemas.spec import Tolerance

COMPARED = ("python", "platform", "processor", "device", "packages")
COMPARED += ("device_model", "precision", "attention", "optimizer", "threads")
UNKNOWN = ("", 0)  # what a record holds that was written before a field was


@dataclass(frozen=True)
class Apart:
    """The largest differences of an element of a tensor and of a metric; None where one cannot be known."""

    tensors: float | None
    figures: float | None


@dataclass(frozen=True)
class Judgement:
    """The verdict, the level, and what stands in the way of the next higher one."""

    verdict: Verdict
    level: Level
    limits: tuple[str, ...]


def other_fields(before: Environment, now: Environment) -> tuple[str, ...]:
    """The fields in which two environments differ that can change results."""
    names = COMPARED if before.elastic and now.elastic else (*COMPARED, "processes")
    return tuple(
        name for name in names if getattr(before, name) != getattr(now, name) and getattr(before, name) not in UNKNOWN
    )


def judged(
    difference: Difference | None, before: Environment, now: Environment, apart: Apart, tolerance: Tolerance | None
) -> Judgement:
    """Other digests only tell something where the environment is the same one; a tolerance counts in any."""
    if difference is None:
        return _bitwise(before, now)
    fields = other_fields(before, now)
    limits = (place_of(difference), *(f"another {name}" for name in fields))
    if tolerance is not None and _within(apart, tolerance):
        level: Level = "statistical" if tolerance.tensors is None else "numeric"
        return Judgement("within tolerance", level, limits)
    return Judgement("inconclusive" if fields else "diverged", "not comparable", limits)


def _bitwise(before: Environment, now: Environment) -> Judgement:
    if not now.elastic:
        return Judgement("identical", "bitwise", ("the profile is not elastic",))
    if before.processes == now.processes:
        return Judgement("identical", "bitwise", (f"both times it was executed by {_many(now.processes)}",))
    return Judgement("identical", "bitwise across processes", ())


def _many(processes: int) -> str:
    return f"{processes} process{'es' if processes > 1 else ''}"


def _within(apart: Apart, tolerance: Tolerance) -> bool:
    """Whether everything that was declared holds, and something was."""
    bounds = [(apart.tensors, tolerance.tensors), (apart.figures, tolerance.figures)]
    declared = [(found, bound) for found, bound in bounds if bound is not None]
    return bool(declared) and all(found is not None and found <= bound for found, bound in declared)


def place_of(difference: Difference) -> str:
    """Where a difference is: stage, output, and in it the tensor or the field."""
    inside = f", tensor {difference.tensor}" if difference.tensor else ""
    inside = f", field {difference.field}" if difference.field else inside
    return f"{difference.stage}, {difference.output}{inside}"
