"""What a run that was stopped, killed or failed by its machine must come to."""

from __future__ import annotations

from pathlib import Path

from tiny_project import digests, record

from hsdc_runtime.ledger import Ledger


def checkpoints(root: Path) -> list[Path]:
    """Those of all stages that have not finished; a stage may finish, and take its own away, under the search."""
    try:
        return list(root.glob(".hsdc/store/checkpoints/*/step-*"))
    except FileNotFoundError:
        return []


def is_the_uninterrupted_one(root: Path, finished: Path) -> None:
    """The run `base` of one project has, bit by bit, what it has in another, and left nothing that is half done."""
    found, expected = record(root, "base"), record(finished, "base")
    assert digests(found) == digests(expected)
    assert found["scores"] == expected["scores"]
    assert _counted(found) == _counted(expected)
    assert not checkpoints(root)
    Ledger(root).entries()


def _counted(found: dict) -> dict:
    """What training says of itself, but how fast it was."""
    facts = next(stage["facts"] for stage in found["stages"] if stage["name"] == "train")
    return {name: value for name, value in facts.items() if not name.endswith("_per_second")}
