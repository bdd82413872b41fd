"""A copy of the project to work in: specs, data and locks, and nothing that hsdc has written."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("specs", "data", "locks")


@contextmanager
def workspace(sources: dict[str, Path] | None = None) -> Iterator[Path]:
    """A temporary project; `sources` are folders by the name that specs call them by (`local:NAME`)."""
    with tempfile.TemporaryDirectory(prefix="hsdc-benchmark-") as name:
        root = Path(name)
        for part in PARTS:
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        if sources:
            lines = [f"{key} = '{folder}'" for key, folder in sources.items()]
            (root / ".hsdc").mkdir()
            (root / ".hsdc" / "sources.toml").write_text("\n".join(["[local]", *lines]) + "\n", "utf-8")
        yield root
