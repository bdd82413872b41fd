"""Rows whose answers say a number, for tests of what is derived from them."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from hsdc_schemas.answers import Answer
from hsdc_schemas.judged import Judged
from hsdc_schemas.metrics import Metric
from tests.schemas.answered import HEADS, held, made_up

ENDS = {"score": (0.0, 1.0)}
MEAN, STD, MAE, COVERAGE = (Metric("tone", name, "score") for name in ("mean", "std", "mae", "coverage"))


def rows(seed: int, *, said: float = 0.9, shift: float = 0.0, clusters: int = 0, size: int = 120) -> list[Answer]:
    """Rows with references that depend on their number alone, and numbers near them, but for some."""
    source, found = random.Random(seed), []
    for number, row in enumerate(made_up(size, seed=seed, clusters=clusters)):
        right = random.Random(number).uniform(0.3, 0.9)
        value = min(1.0, max(0.0, right + shift + source.gauss(0, 0.1)))
        numbers = {"score": value} if source.random() < said else {}
        known = {"score": right} if number % 5 else {}
        found.append(msgspec.structs.replace(row, numbers={"raw": numbers}, references=known))
    return found


def judged(folder: Path, kept: list[Answer]) -> Judged:
    return Judged.of(held(folder, kept, heads=HEADS, numbers=ENDS))


def values(kept: list[Answer], group: str | None = None) -> list[float]:
    return [
        row.numbers["raw"]["score"] for row in kept if row.numbers["raw"] and (group is None or group in row.groups)
    ]
