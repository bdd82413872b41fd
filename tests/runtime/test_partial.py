"""A file that grows line by line is known whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hsdc_runtime.partial import LINES, STATE, Partial

ROWS = [[{"id": f"{group}-{row}", "text": "ü" * row} for row in range(3)] for group in range(4)]
WHOLE = [row for group in ROWS for row in group]


def written(folder: Path) -> list[object]:
    Partial(folder).finish(folder.parent / "out")
    return [json.loads(line) for line in (folder.parent / "out").read_text().splitlines()]


@pytest.fixture
def half(tmp_path: Path) -> Path:
    partial = Partial(tmp_path / "part")
    partial.add(ROWS[0], {"tokens": 5})
    partial.add(ROWS[1], {"tokens": 6})
    return tmp_path / "part"


def go_on(folder: Path) -> Partial:
    partial = Partial(folder)
    for group in ROWS[partial.rows // 3 :]:
        partial.add(group, {"tokens": 1})
    return partial


def test_it_goes_on_where_it_was(half: Path) -> None:
    assert (Partial(half).rows, Partial(half).counts) == (6, {"tokens": 11})
    assert go_on(half).counts == {"tokens": 13}
    assert written(half) == WHOLE


def test_rows_behind_the_state_are_forgotten(half: Path) -> None:
    before = (half / STATE).read_bytes()
    Partial(half).add(ROWS[2], {"tokens": 1})
    (half / STATE).write_bytes(before)  # as if killed between the two
    assert Partial(half).rows == 6
    assert written(half) == WHOLE[:6]
    go_on(half)
    assert written(half) == WHOLE


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "state", "no state", "counts"])
def test_what_is_damaged_is_made_anew(half: Path, damage: str) -> None:
    lines, state = half / LINES, half / STATE
    data = bytearray(lines.read_bytes())
    if damage == "flip":
        data[7] ^= 1
        lines.write_bytes(data)
    elif damage == "cut":
        lines.write_bytes(data[:-1])
    elif damage == "gone":
        lines.unlink()
    elif damage == "state":
        state.write_bytes(b'{"rows": ')
    elif damage == "no state":
        state.unlink()
    else:
        state.write_text(json.dumps({**json.loads(state.read_bytes()), "counts": [1]}))
    partial = go_on(half)
    assert (partial.rows, partial.counts) == (12, {"tokens": 4})
    assert written(half) == WHOLE
