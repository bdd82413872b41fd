"""A run whose training is shared by processes of its own: killed, stopped, stalled and resumed with other numbers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_project import DEMO, digests, record

from hsdc.progress import ProgressView
from hsdc_runtime import watch
from hsdc_runtime.events import Event, StageStalled
from hsdc_runtime.work import Work
from hsdc_runtime.workers import Workers
from hsdc_schemas.errors import HsdcError

PATIENCE = 90.0
PLAIN = DEMO.replace("threads: 1", "threads: 1, processes: 2")
ELASTIC = DEMO.replace("threads: 1", "threads: 1, processes: 2, elastic: true, checkpoint_seconds: 0")


@pytest.fixture
def elastic(fresh: Path, hsdc) -> Path:
    """A project whose profile shares every training between two processes, and saves it after every step."""
    (fresh / "specs/profiles/demo.yaml").write_text(ELASTIC)
    assert hsdc("compile").code == 0
    return fresh


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def workers(leader: int) -> list[int]:
    """The processes that a process has started for its training, zombies left out."""
    found = []
    for child in Path(f"/proc/{leader}/task").glob("*/children"):
        for pid in map(int, child.read_text().split()):
            if alive(pid) and b"hsdc_runtime.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def last_step(root: Path) -> int:
    return max((int(path.name[5:]) for path in root.glob(".hsdc/store/checkpoints/*/step-*[0-9]")), default=0)


@contextmanager
def running(root: Path, after: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`hsdc run base`, which has taken some steps, and its one worker."""
    arguments = [sys.executable, "-m", "hsdc", "run", "base"]
    with subprocess.Popen(arguments, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: last_step(root) >= after or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        [worker] = workers(process.pid)
        yield process, worker
        process.kill()


def test_whoever_is_killed_the_next_run_goes_on_to_the_same_bits(elastic: Path, finished: Path, hsdc) -> None:
    with running(elastic, after=3) as (process, worker):
        os.kill(worker, signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 4, said
        assert "error[E437] process 2 of 2 died (SIGKILL)" in said
        assert "Traceback" not in said
    before = last_step(elastic)
    assert before >= 3
    with running(elastic, after=before + 2) as (process, worker):
        process.kill()
        wait_for(lambda: not alive(worker))  # nobody ends it: it sees that it is alone
    answer = hsdc("run", "base", "--processes", "1")  # no lock is left either
    assert answer.code == 0, answer.err
    assert "epoch 1/" not in answer.err
    found = record(elastic, "base")
    assert digests(found) == digests(record(finished, "base"))
    assert (found["environment"]["processes"], found["environment"]["elastic"]) == (1, True)


def test_sigterm_stops_all_at_a_step_and_two_go_on(elastic: Path, finished: Path, hsdc) -> None:
    with running(elastic, after=2) as (process, worker):
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 75, said
        assert "interrupted: stopped after step" in said
        wait_for(lambda: not alive(worker))
    assert last_step(elastic) == int(said.partition("stopped after step ")[2].partition(";")[0])
    answer = hsdc("run", "base")
    assert answer.code == 0, answer.err
    assert "2 processes: the same bits on any number" in answer.err
    found = record(elastic, "base")
    assert digests(found) == digests(record(finished, "base"))
    assert found["environment"]["processes"] == 2
    assert not workers(os.getpid())


def test_a_worker_that_does_nothing_is_told_from_one_that_died(
    elastic: Path, finished: Path, hsdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.6)

    said = threading.Event()
    say = ProgressView.__call__

    def heard(view: ProgressView, event: Event) -> None:
        say(view, event)
        if isinstance(event, StageStalled) and "is stopped" in event.others:
            said.set()

    def hold() -> None:
        wait_for(lambda: last_step(elastic) >= 3)
        [worker] = workers(os.getpid())
        os.kill(worker, signal.SIGSTOP)
        said.wait(PATIENCE)
        os.kill(worker, signal.SIGCONT)

    monkeypatch.setattr(ProgressView, "__call__", heard)
    holding = threading.Thread(target=hold)
    holding.start()
    answer = hsdc("run", "base")
    holding.join()
    assert answer.code == 0, answer.err
    [line] = [line for line in answer.err.splitlines() if "is stopped" in line][:1]
    assert "computing step" in line
    assert "(process 2 is stopped, at last computing step" in line
    assert digests(record(elastic, "base")) == digests(record(finished, "base"))


@pytest.mark.parametrize(
    ("module", "name", "stage", "doing"),
    [
        ("hsdc_runtime.stages.train", "load_rows", "train", "reading the prepared rows"),
        ("hsdc_runtime.nn.loop", "save_checkpoint", "train", "writing a checkpoint"),
        ("hsdc_runtime.stages.prepare", "read_rows", "prepare", "reading split train"),
    ],
)
def test_a_stalled_reader_is_told_from_a_slow_disk(
    fresh: Path, hsdc, monkeypatch: pytest.MonkeyPatch, module: str, name: str, stage: str, doing: str
) -> None:
    owner, said = import_module(module), threading.Event()
    quick = getattr(owner, name)
    say = ProgressView.__call__

    def heard(view: ProgressView, event: Event) -> None:
        say(view, event)
        if isinstance(event, StageStalled) and event.doing == doing:
            said.set()

    def stalled(*arguments: Any) -> Any:
        assert said.wait(PATIENCE), "nobody said so"
        return quick(*arguments)

    monkeypatch.setattr(owner, name, stalled)
    monkeypatch.setattr(ProgressView, "__call__", heard)
    monkeypatch.setattr(watch, "PATIENCE", 0.5)
    answer = hsdc("run", "base")
    assert answer.code == 0
    assert re.search(rf"^  {stage} +for \d+ s {doing}$", answer.err, re.MULTILINE)


def test_a_worker_that_cannot_start_is_said(elastic: Path, hsdc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    answer = hsdc("run", "base")
    assert answer.code == 4
    assert "error[E437] process 2 of 2 died (exit code 1)" in answer.err


def test_nothing_more_is_begun_without_a_worker_that_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what is added up together goes on, as it may on a CUDA device."""
    begun: list[str] = []
    silent = SimpleNamespace(doing=begun.append)
    given = {field.name: None for field in fields(Work)}
    work = Work(**{**given, "section": {"execution": {"processes": 2}}, "folder": tmp_path, "watch": silent})
    monkeypatch.setattr(sys, "executable", "/bin/false")
    gone = threading.Event()
    with Workers("train", work, gone.set) as group:
        assert gone.wait(PATIENCE), "whoever waits on a device is let go"
        with pytest.raises(HsdcError) as caught:
            group.doing("writing a checkpoint")
    assert [fault.code for fault in caught.value.diagnostics] == ["E437"]
    assert begun == []


def test_without_elastic_the_number_of_processes_is_part_of_the_run(fresh: Path, hsdc) -> None:
    keys = []
    for profile in (PLAIN, PLAIN.replace("processes: 2", "processes: 3")):
        (fresh / "specs/profiles/demo.yaml").write_text(profile)
        assert hsdc("compile").code == 0
        keys.append(planned(fresh))
    assert next(name for name in keys[0] if keys[0][name] != keys[1][name]) == "train"
    answer = hsdc("run", "base", "--processes", "2")
    assert answer.code == 2
    assert "error[E438] 'base' is not elastic: the number of its processes, 3, is part of" in answer.err


def planned(root: Path, run: str = "base") -> dict[str, str]:
    manifest = json.loads((root / f"generated/demo/{run}.lock.json").read_bytes())
    return {stage["name"]: stage["key"] for stage in manifest["stages"]}


def test_with_elastic_neither_processes_nor_checkpoints_make_anything_anew(elastic: Path, hsdc) -> None:
    assert hsdc("run", "base", "--processes", "1").code == 0
    before, old = planned(elastic), record(elastic, "base")
    other = ELASTIC.replace("processes: 2", "processes: 4").replace("checkpoint_seconds: 0", "checkpoint_seconds: 60")
    (elastic / "specs/profiles/demo.yaml").write_text(other)
    assert hsdc("compile", "--check").code == 1
    answer = hsdc("compile")
    assert answer.code == 0, "a finished record does not stand in the way"
    assert planned(elastic) == before
    answer = hsdc("run", "base")
    assert answer.code == 0
    assert answer.err.count("reused") == 6
    assert digests(record(elastic, "base")) == digests(old)
    (elastic / "specs/profiles/demo.yaml").write_text(other.replace("elastic: true", "elastic: false"))
    assert hsdc("compile").code == 3
