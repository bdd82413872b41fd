"""Answers that were made up, for tests of what is derived from them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from hsdc_schemas.answers import Answer, Answers, load_answers, write_answers

HEADS = {"tone": ("normal", "hate")}


def made_up(
    size: int = 200,
    *,
    seed: int = 1,
    right: float = 0.7,
    unreadable: float = 0.0,
    heads: dict[str, tuple[str, ...]] = HEADS,
    groups: Sequence[str] = ("lgbtq", "latino", "few"),
    clusters: int = 0,
) -> list[Answer]:
    """Rows whose gold labels and groups depend on their number alone, and answers that are right with a probability."""
    source, rows = random.Random(seed), []
    for number in range(size):
        own = random.Random(number)
        gold = {head: own.choice(labels) for head, labels in heads.items()}
        of = tuple(name for name in groups if own.random() < (0.02 if name == "few" else 0.4))
        cluster = f"c{number % clusters}" if clusters else None
        said: dict[str, str | None] = {}
        for head, labels in heads.items():
            said[head] = gold[head] if source.random() < right else source.choice(labels)
            if source.random() < unreadable:
                said[head] = None
        faults = {head: "no_label" for head, answer in said.items() if answer is None}
        chance = {head: _chances(source, labels, said[head]) for head, labels in heads.items()}
        rows.append(Answer(f"r{number}", of, cluster, gold, {"raw": said}, {"raw": faults}, {"raw": chance}))
    return rows


def _chances(source: random.Random, labels: tuple[str, ...], said: str | None) -> tuple[float, ...]:
    weights = [round(source.random(), 2) + 0.01 + (label == said) for label in labels]
    return tuple(weight / sum(weights) for weight in weights)


def held(folder: Path, rows: Sequence[Answer], *, name: str = "answers.jsonl", **changes: object) -> Answers:
    """The rows as they come back from a file."""
    options = {"heads": {head: _labels(rows, head) for head in rows[0].gold}, "split": "test", **changes}
    options = {"measurement": "encoder", "variants": tuple(rows[0].answers), **options}
    write_answers(folder / name, rows, **options)
    return load_answers(folder / name, name)


def _labels(rows: Sequence[Answer], head: str) -> tuple[str, ...]:
    return tuple(sorted({row.gold[head] or "" for row in rows} - {""}, reverse=True))
