"""What stages hand to each other line by line: one JSON object each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, one after another; the file is never held whole."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)
