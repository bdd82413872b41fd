"""The chain of what happened: an edit or a cut is noticed and named, a line that was left half is cut off."""

from __future__ import annotations

import json
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from tiny_project import record

from hsdc_runtime import ledger as ledger_module
from hsdc_runtime.ledger import HEAD, LEDGER, Ledger, read_only
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
    ledger.path.write_bytes(whole + b'{"event":"half')
    ledger.append("counted", number=9)
    assert [entry["number"] for entry in ledger.entries()] == [0, 1, 2, 3, 9]


def head(ledger: Ledger) -> Path:
    return ledger.root / HEAD


def test_the_head_names_the_last_line(ledger: Ledger) -> None:
    lines = ledger.path.read_bytes().splitlines()
    expected = {"lines": 4, "last": f"sha256:{sha256(lines[-1]).hexdigest()}"}
    assert json.loads(head(ledger).read_bytes()) == expected
    assert [json.loads(line)["line"] for line in lines] == [1, 2, 3, 4]


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_cut_of_whole_lines_at_the_end_is_noticed(ledger: Ledger, kept: int) -> None:
    rewrite(ledger, ledger.path.read_bytes().splitlines()[:kept])
    before = ledger.path.read_bytes()
    gone = "the last line was" if kept == 3 else f"the last {4 - kept} lines were"
    assert f"{gone} cut off; there were 4" in broken(ledger)
    with pytest.raises(HsdcError, match="cut off"):
        ledger.append("counted", number=9)
    with pytest.raises(HsdcError, match="cut off"):
        read_only(ledger.root)
    assert ledger.path.read_bytes() == before, "what shows the cut is not written over"


def test_a_ledger_that_is_gone_is_noticed(ledger: Ledger) -> None:
    ledger.path.unlink()
    assert "the last 4 lines were cut off" in broken(ledger)
    with pytest.raises(HsdcError, match="cut off"):
        read_only(ledger.root)
    head(ledger).unlink()  # nothing was ever written here
    with pytest.raises(FileNotFoundError):
        read_only(ledger.root)


def test_a_whole_last_line_that_was_made_half_is_no_torn_line(ledger: Ledger) -> None:
    """The head tells a line that was once whole from one that a killed writer left half."""
    data = ledger.path.read_bytes()[:-5]
    ledger.path.write_bytes(data)
    assert "the last line was cut off" in broken(ledger)
    assert ledger.path.read_bytes() == data


def test_an_edit_of_the_last_line_is_noticed(ledger: Ledger) -> None:
    ledger.path.write_bytes(ledger.path.read_bytes().replace(b'"number":3', b'"number":7'))
    assert f"{LEDGER}:4: the chain is broken, it is not the line that {HEAD} names" in broken(ledger)
    with pytest.raises(HsdcError, match="is not the line"):
        ledger.append("counted", number=9)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not as it was written"),
        (b"[]\n", "is not as it was written"),
        (b'{"last":"","lines":-1}\n', "is not as it was written"),
        (b'{"last":"sha256:0","lines":4}\n', "is not the line"),
        (b'{"last":"sha256:0","lines":40}\n', "the last 36 lines were cut off"),
        (None, "was taken away"),
    ],
)
def test_a_changed_head_is_noticed(ledger: Ledger, data: bytes | None, says: str) -> None:
    head(ledger).unlink() if data is None else head(ledger).write_bytes(data)
    assert says in broken(ledger)
    with pytest.raises(HsdcError, match=says):
        ledger.append("counted", number=9)


def test_lines_that_were_cut_and_written_anew_are_noticed(ledger: Ledger, tmp_path: Path) -> None:
    lines = ledger.path.read_bytes().splitlines()
    other = Ledger(tmp_path / "other")
    (tmp_path / "other" / LEDGER).write_bytes(b"".join(line + b"\n" for line in lines[:2]))
    (tmp_path / "other" / HEAD).write_bytes(b'{"last":"sha256:%b","lines":2}\n' % sha256(lines[1]).hexdigest().encode())
    for number in (2, 3, 4):
        other.append("counted", number=number, forged=True)
    ledger.path.write_bytes(other.path.read_bytes())
    assert f"{LEDGER}:4: " in broken(ledger)


class Killed(Exception):  # noqa: N818 - it is no error
    pass


def test_a_kill_between_line_and_head_is_mended_silently(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(ledger_module, "write_atomically", die)
        with pytest.raises(Killed):
            ledger.append("counted", number=4)
        (ledger.root / "fresh").mkdir()
        with pytest.raises(Killed):  # the first line of all
            Ledger(ledger.root / "fresh").append("counted", number=0)
    for made, count in ((ledger, 5), (Ledger(ledger.root / "fresh"), 1)):
        assert len(read_only(made.root)[0]) == count
        assert len(made.entries()) == count
        made.append("counted", number=count)
        assert [entry["number"] for entry in made.entries()] == list(range(count + 1))
        assert json.loads(head(made).read_bytes())["lines"] == count + 1


def test_what_follows_the_head_has_to_follow_it(ledger: Ledger) -> None:
    with ledger.path.open("ab") as file:
        file.write(b'{"event":"counted","previous":"sha256:0"}\n')
    assert f"{LEDGER}:5: " in broken(ledger)
    with pytest.raises(HsdcError, match="line 4 was edited or taken out"):
        ledger.append("counted", number=9)


def test_a_ledger_from_before_there_were_heads_gets_one(ledger: Ledger) -> None:
    previous, lines = f"sha256:{sha256(b'').hexdigest()}", []
    for number in range(3):
        lines.append(b'{"event":"old","number":%d,"previous":"%b"}' % (number, previous.encode()))
        previous = f"sha256:{sha256(lines[-1]).hexdigest()}"
    rewrite(ledger, lines)
    head(ledger).unlink()
    assert len(read_only(ledger.root)[0]) == len(ledger.entries()) == 3
    ledger.append("new", number=3)
    assert json.loads(head(ledger).read_bytes())["lines"] == 4
    head(ledger).unlink()  # as a kill before the first head leaves it
    ledger.append("new", number=4)
    assert json.loads(head(ledger).read_bytes())["lines"] == 5
    rewrite(ledger, ledger.path.read_bytes().splitlines()[:4])
    assert "cut off" in broken(ledger)


def test_writers_take_turns(tmp_path: Path) -> None:
    writers = [
        threading.Thread(target=lambda: [Ledger(tmp_path).append("counted") for _ in range(10)]) for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(Ledger(tmp_path).entries()) == 40
