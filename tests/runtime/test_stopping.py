"""A run that is stopped, killed or doubled: what it leaves is complete, and the next one goes on to the same bits."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from apart import PATIENCE, left, start, wait_for
from tiny_project import record
from uninterrupted import checkpoints, is_the_uninterrupted_one

from hsdc_runtime.ledger import Ledger


def test_sigterm_in_training(fresh: Path, finished: Path, hsdc) -> None:
    arguments = [sys.executable, "-m", "hsdc", "run", "base"]
    with subprocess.Popen(arguments, cwd=fresh, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "epoch 2/" in line:
                break
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=PATIENCE)
    said.append(rest)
    assert process.returncode == 75, "".join(said)
    assert "stopping at the next step (once more: at once)" in rest
    assert "interrupted: stopped after step" in rest
    assert "run again to continue" in rest
    assert "Traceback" not in rest
    assert out == ""
    assert not (fresh / "generated/demo/base.record.json").exists()
    assert checkpoints(fresh)
    answer = hsdc("run", "base")
    assert answer.code == 0
    assert "epoch 1/" not in answer.err  # it did not start over
    is_the_uninterrupted_one(fresh, finished)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_epoch_is_over(fresh: Path, finished: Path, hsdc, number: int) -> None:
    process = start(fresh, "run", "base")
    wait_for(lambda: (fresh / ".hsdc/store/checkpoints").is_dir(), process)
    os.kill(process.pid, number)
    assert left(process) == 75
    assert "interrupted: stopped" in (fresh / "output.txt").read_text()
    assert hsdc("run", "base").code == 0
    is_the_uninterrupted_one(fresh, finished)


@pytest.mark.parametrize("seed", [1, 2])
def test_sigkill_at_any_moment(fresh: Path, finished: Path, hsdc, seed: int) -> None:
    moments = random.Random(seed)
    for _ in range(3):
        before = {path.name for path in checkpoints(fresh)}
        process = start(fresh, "run", "base")
        wait_for(lambda known=before: {path.name for path in checkpoints(fresh)} - known or _over(fresh), process)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        assert left(process) in (-signal.SIGKILL, 0)
    assert hsdc("run", "base").code == 0
    is_the_uninterrupted_one(fresh, finished)


def _over(root: Path) -> bool:
    return (root / "generated/demo/base.record.json").exists()


def test_two_at_once_write_one_record(fresh: Path, finished: Path) -> None:
    first = start(fresh, "run", "base", output="first.txt")
    second = start(fresh, "run", "base", output="second.txt")
    codes = {left(first), left(second)}
    said = (fresh / "first.txt").read_text() + (fresh / "second.txt").read_text()
    assert codes <= {0, 75}, said
    assert 0 in codes
    assert "Traceback" not in said
    if 75 in codes:
        assert "busy: another process is working on base; run again to continue" in said
    written = [entry for entry in Ledger(fresh).entries() if entry["event"] == "run finished"]
    assert [entry["record"] for entry in written] == [record(fresh, "base")["digest"]]
    is_the_uninterrupted_one(fresh, finished)


@pytest.mark.parametrize("what", ["base", "train of base"])
def test_what_another_process_works_on_is_busy(fresh: Path, hsdc, what: str) -> None:
    locks = fresh / ".hsdc/store/locks"
    locks.mkdir(parents=True)
    manifest = json.loads((fresh / "generated/demo/base.lock.json").read_bytes())
    key = next(stage["key"] for stage in manifest["stages"] if stage["name"] == "train")
    name = "run.demo.base.lock" if what == "base" else f"{key.removeprefix('sha256:')[:32]}.lock"
    with (locks / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = hsdc("run", "base")
    assert answer.code == 75
    assert f"busy: another process is working on {what}; run again to continue" in answer.err
    assert not checkpoints(fresh)
    assert hsdc("run", "base").code == 0
