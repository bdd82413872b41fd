"""`hsdc run` as a face: which runs it asks for, its exit codes, what goes to stdout and what to stderr, its tables."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hsdc.__main__ import main
from hsdc.commands import run as command
from hsdc.progress import ProgressView
from hsdc_runtime.events import SetAside, StageFinished, StageProgress, StageStalled, StageStarted
from hsdc_runtime.run import Outcome
from hsdc_runtime.work import Busy, Interrupted
from hsdc_schemas.record import Record
from hsdc_schemas.spec import Execution
from tests.face.recorded import DIGEST, claimed, made


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Manifests `one`, `two` and `three`, of which `two` is compared with `three`; runs are noted, not executed."""
    folder = tmp_path / "generated/demo"
    folder.mkdir(parents=True)
    for name in ("one", "two", "three"):
        (folder / f"{name}.lock.json").touch()
    monkeypatch.chdir(tmp_path)
    state = SimpleNamespace(runs=[], finished=set(), answer=lambda name: Outcome(made(name), "record.json", True, ()))

    def manifest(root: Path, profile: str, name: str) -> SimpleNamespace:
        claim = SimpleNamespace(run="three") if name == "two" else None
        plain = {"execution": Execution(), "matrix": None, "inputs": (), "experiment": SimpleNamespace(kind="data")}
        return SimpleNamespace(run=name, profile=profile, reproduces=claim, **plain)

    def run(root: Path, manifest: SimpleNamespace, **options: Any) -> Outcome:
        state.runs.append(manifest.run)
        state.options = options
        return state.answer(manifest.run)

    monkeypatch.setattr(command, "_manifest", manifest)
    monkeypatch.setattr(command, "finished_record", lambda root, item: item.run if item.run in state.finished else None)
    monkeypatch.setattr(command, "run", run)
    return state


def test_all_runs_each_after_the_one_it_is_compared_with(asked: SimpleNamespace) -> None:
    assert main(["run", "--frozen"]) == 0
    assert asked.runs == ["one", "three", "two"]


def test_finished_runs_are_left_alone_unless_they_are_named(
    asked: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    asked.finished = {"one", "three"}
    assert main(["run", "--frozen"]) == 0
    assert asked.runs == ["two"]
    asked.runs.clear()
    assert main(["run", "--frozen", "two"]) == 0  # its original needs no more than its record
    assert asked.runs == ["two"]
    asked.runs.clear()
    assert main(["run", "--frozen", "one", "two", "three"]) == 0
    assert asked.runs == ["one", "three", "two"]
    asked.runs.clear()
    asked.finished = {"one", "two", "three"}
    capsys.readouterr()
    assert main(["run", "--frozen"]) == 0
    assert asked.runs == []
    assert capsys.readouterr().out == "every run of profile demo is up to date\n"


def test_the_option_for_another_environment_is_passed_on(asked: SimpleNamespace) -> None:
    main(["run", "--frozen", "one"])
    assert asked.options["allow_environment"] is False
    main(["run", "--frozen", "one", "--allow-environment"])
    assert asked.options["allow_environment"] is True


@pytest.mark.parametrize(("reason", "word"), [(Interrupted("stopped"), "interrupted"), (Busy("taken"), "busy")])
def test_interrupted_and_busy_are_75_and_end_the_call(
    asked: SimpleNamespace, capsys: pytest.CaptureFixture[str], reason: Exception, word: str
) -> None:
    def stop(name: str) -> Outcome:
        raise reason

    asked.answer = stop
    assert main(["run", "--frozen"]) == 75
    assert asked.runs == ["one"]
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{word}: {reason}; run again to continue\n" in said.err


@pytest.mark.parametrize(
    ("verdict", "reported", "code"),
    [
        ("identical", "within", 0),
        ("identical", "not comparable", 0),
        ("identical", "not claimed", 0),
        ("identical", "outside", 1),
        ("identical", "undefined", 1),
        ("diverged", "within", 1),
        ("inconclusive", "within", 1),
    ],
)
def test_the_exit_code_is_the_answer(asked: SimpleNamespace, verdict: str, reported: str, code: int) -> None:
    asked.answer = lambda name: Outcome(made(name, claim=claimed(verdict, reported)), "record.json", True, ())
    assert main(["run", "--frozen", "one"]) == code


def test_one_no_among_several_is_no(asked: SimpleNamespace) -> None:
    asked.answer = lambda name: Outcome(
        made(name, claim=claimed("diverged") if name == "one" else None), "record.json", True, ()
    )
    assert main(["run", "--frozen"]) == 1
    assert asked.runs == ["one", "three", "two"]


def test_json_on_stdout_and_nothing_else(asked: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--frozen", "--json", "one"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    assert [Record.model_validate_json(json.dumps(item)) for item in found["records"]] == [made()]
    asked.finished = {"one", "two", "three"}
    assert main(["run", "--frozen", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": 1, "records": [], "diagnostics": []}


def test_what_became_of_the_record_is_told(asked: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    told = {
        (True, ("train",)): "record   here (abababababab, written)\n",
        (False, ()): "record   here (abababababab, stands)\n",
        (False, ("train", "score")): "(abababababab, stands; train, score made anew with the same digests)\n",
    }
    for (written, remade), line in told.items():
        asked.answer = lambda name, w=written, r=remade: Outcome(made(name), "here", w, r)
        main(["run", "--frozen", "one"])
        assert line in capsys.readouterr().out


def test_unknown_runs_are_named_each(asked: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--frozen", "thre", "owt"]) == 2
    said = capsys.readouterr()
    assert "there is no run 'thre'; did you mean 'three'?" in said.err
    assert "there is no run 'owt'" in said.err
    assert asked.runs == []


@pytest.mark.parametrize("arguments", [["run", "Bad-Name"], ["run", "--froze"], ["run", "--profile"], ["walk"]])
def test_a_wrong_call_is_2_in_two_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("error[E000] ")
    assert "--help" in said[1]


def test_the_first_signal_asks_and_the_second_stops() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with command.Stop().listening() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


FIGURES = {"epoch": 1, "epochs": 2, "loss": 0.5, "metric": None}
FACTS = {"steps": 2, "padded_tokens": 30, "real_tokens": 20, "best_epoch": 1}
STORY = (
    StageStarted("one", "prepare", "nothing is stored under its key"),
    StageProgress("one", "prepare", 0, 3, {"split": "train"}),
    StageFinished("one", "prepare", True, 0.1, {}),
    SetAside("one", "train", "weights", "its bytes have changed"),
    StageStarted("one", "train", "weights: its bytes have changed"),
    StageProgress("one", "train", 1, 2, FIGURES),
    StageProgress("one", "train", 2, 2, {**FIGURES, "metric": 0.75}),
    StageFinished("one", "train", True, 2.0, FACTS),
    StageFinished(
        "one", "parse", True, 0.1, {"rows": 9, "unreadable": {"rows": 3}, "faults": {"no_label": 2, "empty": 1}}
    ),
    StageFinished("one", "score", True, 0.1, {"rows": DIGEST, "unparseable": "wrong"}),
    StageFinished("one", "score", False, 0.2, {}),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_progress_is_plain_lines_and_on_a_terminal_a_bar(
    stream: Callable[[], io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with ProgressView() as view:
        for event in STORY:
            view(event)
    text = view.stream.getvalue()
    assert "epoch 1/2  loss 0.5000  validation 0.7500" in text
    assert "2 steps, 10 tokens/s, 1.50 padded per real token, best epoch 1" in text
    assert "weights: its bytes have changed" in text
    assert "3 of 9 answers cannot be read: 2 no label, 1 empty" in text
    if stream is Terminal:
        assert "━" in text
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again
    else:
        assert "\x1b" not in text
        assert "\r" not in text
        assert "train      started: weights: its bytes have changed" in text
        assert "score      reused  (0.2 s saved)" in text


def test_a_log_gets_a_few_lines_a_second_however_quick_the_epochs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("hsdc.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    view = ProgressView()
    for step in range(3000):  # a minute of steps, each with an evaluation
        now[0] += 0.02
        view(StageProgress("one", "train", step, 3000, {**FIGURES, "epoch": step, "metric": 0.5}))
        view(StageProgress("one", "train", step, 3000, FIGURES))
    lines = view.stream.getvalue().splitlines()
    assert 100 < len(lines) <= 20 + 2 * 60 + 6
    assert lines[0].startswith("  train      epoch 0/")


def test_what_takes_long_is_said_once_with_what_the_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    view = ProgressView()
    view(StageStalled("one", "train", "writing a checkpoint", "", 61.2))
    view(StageStalled("one", "train", "computing step 7", "process 2 is stopped, at last computing step 7", 120.4))
    assert view.stream.getvalue().splitlines() == [
        "  train      for 61 s writing a checkpoint",
        "  train      for 120 s computing step 7 (process 2 is stopped, at last computing step 7)",
    ]


def test_a_bar_is_taken_down_when_a_stage_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    view = ProgressView()
    view(STORY[0])
    assert view.bar is not None
    with pytest.raises(RuntimeError), view:
        raise RuntimeError
    assert view.bar is None
    assert "\x1b[?25h" in view.stream.getvalue()  # the cursor is shown again
