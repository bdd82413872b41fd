"""The stages that ask a local model: their files, and that a run which was killed ends in the same bytes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_causal

from hsdc_runtime.inputs import Located
from hsdc_runtime.stages.generate import generate
from hsdc_runtime.stages.rank import rank
from hsdc_runtime.watch import Watch
from hsdc_runtime.work import Interrupted, Made, Output, Work
from hsdc_schemas.errors import HsdcError

LABELS = ["hate", "not hate", "normal"]
COUNT = 150
STAGES: dict[str, Callable[[Work], Made]] = {"rank": rank, "generate": generate}
OUTPUT = {"rank": "rankings", "generate": "replies"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal.build(tmp_path_factory.mktemp("llama"))


class Project:
    """Runs a stage over prompts in a folder; `stop` is called before every pass, with the number of the call."""

    def __init__(self, model: Path, folder: Path, count: int = COUNT, **generation: Any) -> None:
        self.model, self.folder = model, folder
        self.prompts = tiny_causal.write(folder / "prompts.jsonl", tiny_causal.prompts(count, longest=12))
        self.generation = {"max_tokens": 5, **generation}
        self.seen: list[tuple[int, int]] = []

    def run(self, name: str, stop: Callable[[int], bool] = lambda call: False) -> tuple[bytes, dict[str, Any]]:
        calls: Iterator[int] = iter(range(10**9))
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        work = Work(
            section={
                "experiment": {
                    "model": {"kind": "pretrained", "source": "file:model", "remote_code": False},
                    "task": {"target": "label", "labels": LABELS},
                    "prompt": {"format": {"kind": "json", "field": "classification"}},
                    "generation": self.generation,
                },
                "execution": {"device": "cpu", "threads": 1, "tokens_per_batch": 60},
            },
            inputs=Located({}, {}, self.model),
            needs={"render": {"prompts": Output(self.prompts, "sha256:0")}},
            keys={},
            folder=out,
            checkpoints=self.folder / "checkpoints",
            responses=self.folder,
            progress=lambda at, total, figures: self.seen.append((at, total)),
            stop=lambda: stop(next(calls)),
            watch=Watch(lambda *told: None),
        )
        made = STAGES[name](work)
        return made.files[OUTPUT[name]].read_bytes(), dict(made.facts)


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, dict[str, Any]]]:
    return {name: Project(model, tmp_path_factory.mktemp(name)).run(name) for name in STAGES}


@pytest.mark.parametrize("name", STAGES)
def test_there_is_a_line_for_every_prompt_in_their_order(whole: Any, name: str) -> None:
    data, facts = whole[name]
    rows = [json.loads(line) for line in data.splitlines()]
    assert [row["id"] for row in rows] == [f"row-{number}" for number in range(COUNT)]
    if name == "rank":
        assert {tuple(row) for row in rows} == {("id", "loglikelihoods", "tokens")}
        assert all(len(row["loglikelihoods"]) == len(row["tokens"]) == 3 for row in rows)
        assert all(value < 0 for row in rows for value in row["loglikelihoods"])
    else:
        keys = ("completion_tokens", "finish", "id", "prompt_tokens", "text")
        assert {tuple(row) for row in rows} == {keys}
        assert all(1 <= row["completion_tokens"] <= 5 and row["finish"] in ("stop", "length") for row in rows)
        assert sum(row["prompt_tokens"] for row in rows) == facts["tokens"]
    assert facts["rows"] == COUNT
    assert facts["method"] == {"rank": "rank", "generate": "greedy"}[name]
    assert facts["shared_prefix_tokens"] > 50
    assert facts["computed_tokens"] < facts["tokens"] / 3
    assert COUNT / 8 < facts["batches"] < COUNT


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_run_ends_in_the_same_bytes(model: Path, tmp_path: Path, whole: Any, name: str) -> None:
    """Killed before a pass again and again, each time a few passes later: in the first window, then beyond it."""
    project = Project(model, tmp_path)
    for at in (3, whole[name][1]["batches"] * 2 // 3, 2):
        child = os.fork()
        if child == 0:
            project.run(name, lambda call, at=at: bool(call == at and os.kill(os.getpid(), signal.SIGKILL)))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    rows = json.loads((tmp_path / "checkpoints/state.json").read_bytes())["rows"]
    assert 0 < rows < COUNT
    data, facts = project.run(name)
    assert data == whole[name][0]
    timeless = {"rows_per_second"}
    assert {k: v for k, v in facts.items() if k not in timeless} == {
        k: v for k, v in whole[name][1].items() if k not in timeless
    }
    assert [done for done, _ in project.seen[:1]] == [rows], "it goes on behind what was kept, and says so"


@pytest.mark.parametrize("name", STAGES)
def test_a_run_stops_where_it_is_asked_to_and_goes_on(model: Path, tmp_path: Path, whole: Any, name: str) -> None:
    project = Project(model, tmp_path)
    calls = whole[name][1]["batches"] * 3 // 4
    with pytest.raises(Interrupted, match=r"stopped after row \d+; all before it are kept"):
        project.run(name, lambda call: call == calls)
    assert project.seen
    assert project.run(name)[0] == whole[name][0]
    assert project.seen[-1] == (COUNT, COUNT)
    assert project.run(name, lambda call: True)[0] == whole[name][0], "nothing was left to do"


def test_draws_are_those_of_the_seed(model: Path, tmp_path: Path, whole: Any) -> None:
    texts = []
    for number, generation in enumerate(({"seed": 1}, {"seed": 1}, {"seed": 2}, {"temperature": 0.0})):
        folder = tmp_path / str(number)
        folder.mkdir()
        data, facts = Project(model, folder, 40, sample=True, **generation).run("generate")
        texts.append(data)
        assert facts["method"] == ("greedy" if "temperature" in generation else "sample")
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    assert texts[3].splitlines() == whole["generate"][0].splitlines()[:40]


def test_a_prompt_without_a_text_is_refused(model: Path, tmp_path: Path) -> None:
    project = Project(model, tmp_path, 2)
    tiny_causal.write(project.prompts, [{"id": "a", "messages": [], "text": None}])
    with pytest.raises(HsdcError, match="the prompt of row a has no text"):
        project.run("rank")
