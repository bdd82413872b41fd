"""The chain of what happened: an edit is noticed and named, a line that was left half is cut."""

from __future__ import annotations

import json
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from tiny_project import record

from hsdc_runtime.ledger import LEDGER, Ledger
from hsdc_schemas.errors import HsdcError


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path)
    for number in range(4):
        made.append("counted", number=number)
    return made


def broken(ledger: Ledger) -> str:
    with pytest.raises(HsdcError) as caught:
        ledger.entries()
    assert [fault.code for fault in caught.value.diagnostics] == ["E520"]
    assert caught.value.exit == 1
    return str(caught.value)


def rewrite(ledger: Ledger, lines: list[bytes]) -> None:
    ledger.path.write_bytes(b"".join(line + b"\n" for line in lines))


def test_a_run_writes_what_happened(finished: Path) -> None:
    entries = Ledger(finished).entries()
    events = [entry["event"] for entry in entries]
    assert events == ["run started", *["stage started", "stage finished"] * 6, "run finished"]
    found = record(finished, "base")
    assert entries[0]["manifest"] == found["manifest"]
    assert entries[-1]["record"] == found["digest"]
    outputs = {entry["stage"]: entry["outputs"] for entry in entries if entry["event"] == "stage finished"}
    assert outputs == {stage["name"]: stage["outputs"] for stage in found["stages"]}


def test_each_line_names_the_line_before_it(ledger: Ledger) -> None:
    lines = ledger.path.read_bytes().splitlines()
    previous = [json.loads(line)["previous"] for line in lines]
    assert previous == [f"sha256:{sha256(line).hexdigest()}" for line in (b"", *lines[:-1])]


def test_an_edited_line_is_named(ledger: Ledger) -> None:
    lines = ledger.path.read_bytes().splitlines()
    rewrite(ledger, [lines[0], lines[1].replace(b'"number":1', b'"number":7'), *lines[2:]])
    assert "line 2 was edited" in broken(ledger)


@pytest.mark.parametrize(("kept", "line"), [((1, 2, 3), 1), ((0, 2, 3), 2), ((0, 2, 1, 3), 2), ((0, 0, 1), 2)])
def test_a_line_taken_out_or_moved_is_noticed(ledger: Ledger, kept: tuple[int, ...], line: int) -> None:
    lines = ledger.path.read_bytes().splitlines()
    rewrite(ledger, [lines[number] for number in kept])
    assert f"{LEDGER}:{line}: " in broken(ledger)


@pytest.mark.parametrize("garbage", [b"garbage", b"[]", b"{}", b"\xff", b""])
def test_a_line_that_is_no_entry_is_named(ledger: Ledger, garbage: bytes) -> None:
    lines = ledger.path.read_bytes().splitlines()
    rewrite(ledger, [*lines[:2], garbage, lines[3]])
    assert f"{LEDGER}:3: " in broken(ledger)


def test_a_torn_last_line_is_cut(ledger: Ledger) -> None:
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + b'{"event":"half')
    assert [entry["number"] for entry in ledger.entries()] == [0, 1, 2, 3]
    assert ledger.path.read_bytes() == whole
    ledger.path.write_bytes(whole[:-5])
    ledger.append("counted", number=9)
    assert [entry["number"] for entry in ledger.entries()] == [0, 1, 2, 9]


def test_writers_take_turns(tmp_path: Path) -> None:
    writers = [
        threading.Thread(target=lambda: [Ledger(tmp_path).append("counted") for _ in range(10)]) for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(Ledger(tmp_path).entries()) == 40
