"""A clock that is set back, and process ids that are used again: neither decides anything."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from apart import left, start, wait_for
from filelock import SoftFileLock
from injection import clock_set_back, traced
from tiny_project import edit, record
from uninterrupted import checkpoints, is_the_uninterrupted_one

from hsdc_runtime.endpoint.waiting import asked_wait
from hsdc_runtime.ledger import Ledger
from hsdc_schemas.digests import write_atomically

YEAR = 365 * 24 * 3600
ROOT = Path(__file__).resolve().parents[2]
WALL_CLOCK = {"datetime.now", "datetime.utcnow", "date.today", "time.time", "time.time_ns", "time.localtime"}
MAY_READ_IT = {
    "runtime/hsdc_runtime/ledger.py",  # to write it down
    "runtime/hsdc_runtime/run.py",  # the same
    "runtime/hsdc_runtime/endpoint/client.py",  # for an endpoint that says until when to wait, and not what time it is
    "runtime/hsdc_runtime/leftovers.py",  # what is a day old is left behind, whoever has its process's number now
}


def test_a_clock_that_is_set_back_a_year(fresh: Path, finished: Path, tmp_path: Path) -> None:
    behind = clock_set_back(tmp_path, YEAR)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hsdc", *arguments]
        return subprocess.run(command, cwd=fresh, env=behind, capture_output=True, text=True, check=False)

    process = start(fresh, "run", "base")
    wait_for(lambda: checkpoints(fresh), process)
    process.kill()
    left(process)
    before = Ledger(fresh).entries()
    answer = call("run", "base")
    assert answer.returncode == 0, answer.stderr
    assert " epoch 1/" not in answer.stderr  # it went on from a checkpoint of the future
    after = Ledger(fresh).entries()[len(before) :]
    gap = datetime.fromisoformat(before[-1]["at"]) - datetime.fromisoformat(after[0]["at"])
    assert abs(gap.total_seconds() - YEAR) < 3600  # the clock was set back
    assert record(fresh, "base")["finished"] < before[0]["at"]
    is_the_uninterrupted_one(fresh, finished)
    assert call("run", "base").stderr.count("reused") == 6
    assert call("verify", "base").returncode == 0
    edit(fresh, "warmer", "8.0e-3", "9.0e-3")
    assert call("compile", "--check").returncode == 1
    assert call("compile").returncode == 0
    rows = fresh / "data/test.csv"
    rows.write_bytes(rows.read_bytes().replace(b"word1 ", b"word2 ", 1))  # as long as before
    assert "data/test.csv" in call("compile", "--check").stdout


def _reads_the_clock(text: str) -> set[str]:
    return {ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)} & WALL_CLOCK


def test_the_clock_is_read_to_be_written_down_and_nowhere_else() -> None:
    assert _reads_the_clock("x = time.time() - datetime.now(UTC)") == {"time.time", "datetime.now"}
    files = [path for name in ("schemas", "compiler", "runtime", "hsdc") for path in (ROOT / name).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in files if _reads_the_clock(path.read_text("utf-8"))}
    assert found <= MAY_READ_IT
    assert len(found) > 1


def test_an_endpoint_that_says_until_when_to_wait_is_not_waited_for_by_our_clock() -> None:
    said = {"date": "Tue, 05 Jan 2027 10:00:00 GMT", "retry-after": "Tue, 05 Jan 2027 10:00:03 GMT"}
    assert asked_wait(said, now=0.0) == asked_wait(said, now=4e9) == 3.0
    del said["date"]
    assert asked_wait(said, now=datetime(2027, 1, 5, 10, tzinfo=UTC).timestamp()) == 3.0


def test_what_a_process_of_the_same_id_left_is_in_nobodys_way(
    fresh: Path, finished: Path, hsdc, tmp_path: Path
) -> None:
    manifest = json.loads((fresh / "generated/demo/base.lock.json").read_bytes())
    keys = [stage["key"].removeprefix("sha256:") for stage in manifest["stages"]]
    locks = fresh / ".hsdc/store/locks"
    locks.mkdir(parents=True)
    for name in ("collect", "run.demo.base", *(key[:32] for key in keys)):
        (locks / f"{name}.lock").write_text(f"{os.getpid()}\n")  # an id that somebody has, who holds nothing
    (fresh / ".hsdc/ledger.lock").write_text(f"{os.getppid()}\n")
    for key in keys:
        work = fresh / ".hsdc/store/work" / key[:32]
        work.mkdir(parents=True)
        (work / "weights.safetensors").write_bytes(b"of another")
    assert hsdc("run", "base").code == 0
    is_the_uninterrupted_one(fresh, finished)
    assert not list((fresh / ".hsdc/store/work").iterdir())


def test_two_processes_of_one_id_do_not_write_into_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two containers that share a folder may have."""
    opened: list[str] = []
    real = os.fsync

    def meanwhile(handle: int) -> None:
        real(handle)
        if len(opened) < 1:
            opened.append("the other")
            write_atomically(tmp_path / "made", b"the other")
            assert (tmp_path / "made").read_bytes() == b"the other"

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomically(tmp_path / "made", b"one of the two")
    assert (tmp_path / "made").read_bytes() == b"one of the two"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


NO_LOCKS = "error=ENOSYS"  # a file system without locks: a lock is a file then, which a killed process leaves


@pytest.mark.parametrize("holder", ["alive", "dead", "another one with its id"])
def test_a_lock_that_a_killed_process_left(fresh: Path, finished: Path, holder: str) -> None:
    path = fresh / ".hsdc/store/locks/run.demo.base.lock"
    path.parent.mkdir(parents=True)
    with SoftFileLock(str(path)):
        pid, host, began = path.read_text().split()
    assert int(pid) == os.getpid()
    if holder == "dead":
        pid = str(_dead())
    elif holder != "alive":
        began = str(int(began) - 1)
    path.write_text(f"{pid}\n{host}\n{began}\n")
    found = traced(fresh, "run", "base", call="flock", fault=NO_LOCKS)
    assert any(call.injected for call in found.calls)
    assert found.code == (75 if holder == "alive" else 0), found.said
    if holder == "alive":
        assert "busy: another process is working on base" in found.said
    else:
        is_the_uninterrupted_one(fresh, finished)


def _dead() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid
