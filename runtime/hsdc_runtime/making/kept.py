"""The rows between the stages of a data run: an array of columns on each line, and beside them what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hsdc_runtime.making.files import blocks

DROPPED = 255
"""In place of a split's number: the row is not kept."""

Columns = tuple[Any, ...]
Counts = dict[str, Any]


@dataclass(frozen=True)
class Layout:
    """The columns of the rows with their types, the sources in their order, and what became of their records."""

    columns: dict[str, str]
    sources: dict[str, Counts]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in the order in which rows have them."""
        return tuple(self.columns)

    @property
    def bounds(self) -> list[int]:
        """Where the rows of each source end."""
        return list(accumulate(counts["kept"] for counts in self.sources.values()))

    def source_of(self, rows: int) -> np.ndarray:
        """The number of the source of each row: int [rows]."""
        return np.searchsorted(self.bounds, np.arange(rows), side="right")

    def write(self, path: Path) -> None:
        """Put it into a file."""
        path.write_text(json.dumps(asdict(self)) + "\n")  # in their order, which canonical bytes would not keep

    @staticmethod
    def read(path: Path) -> Layout:
        """What `write` wrote; sources and columns in their order."""
        value = json.loads(path.read_bytes())
        return Layout(dict(value["columns"]), dict(value["sources"]))


def batches_of(path: Path) -> Iterator[list[Columns]]:
    """The rows of a file, in lists of many."""
    decode = msgspec.json.Decoder(tuple).decode_lines
    with path.open("rb") as file:
        for block in blocks(file, 1 << 62):
            if block is not None:
                yield decode(block)


def placed(path: Path, wanted: Mapping[int, Any]) -> Iterator[tuple[int, Columns]]:
    """Some rows, with their numbers."""
    number = 0
    for rows in batches_of(path):
        for row in rows:
            if number in wanted:
                yield number, row
            number += 1
