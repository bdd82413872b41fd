"""Runs that ask an endpoint: compiled, executed, stopped, gone on with, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from hsdc.__main__ import main
from hsdc.progress import ProgressView
from hsdc_runtime.events import Observe
from hsdc_runtime.execute import Bench, Done, execute
from hsdc_runtime.inputs import only_locked, verify_inputs
from hsdc_runtime.ledger import Ledger
from hsdc_runtime.plan import plan
from hsdc_runtime.store import Store
from hsdc_schemas.manifest import Manifest, load_sealed
from tests.endpoint.asking import SECRET
from tests.endpoint.server import Asked, Says, Server, error, ok

POSTS = [{"id": f"r{number}", "text": f"post {number}", "label": ("hate", "normal")[number % 2]} for number in range(6)]
PACKAGES = ("jinja2", "numpy", "openai", "tokenizers", "transformers")
FILES = {
    "specs/asks.yaml": """\
hsdc: 1
run: asks
title: Asks an endpoint
kind: prompt
dataset: {use: posts}
model: {use: box}
prompt: {use: plain}
task: {target: label, labels: [hate, normal]}
answer: {method: generate}
generation: {max_tokens: 8}
""",
    "specs/datasets/posts.yaml": """\
hsdc: 1
dataset: posts
format: json
splits: {test: "file:data/posts.json"}
columns: [id, text, label]
labels: {label: label}
""",
    "specs/models/box.yaml": """\
hsdc: 1
model: box
kind: endpoint
url: local:box
served: some-model
key: BOX_KEY
prices: {input_per_million: 1.0, output_per_million: 2.0}
""",
    "specs/prompts/plain.yaml": """\
hsdc: 1
prompt: plain
system: "Answer {{ labels | join(' or ') }}."
user: "Post: {{ text }}"
format: {kind: label}
""",
    "specs/profiles/demo.yaml": """\
hsdc: 1
profile: demo
execution: {requests: {concurrency: 1, timeout_seconds: 20.0, retries: 1}}
""",
    "data/posts.json": json.dumps(POSTS),
    "locks/runtime.txt": "".join(f"{name}=={metadata.version(name)}\n" for name in PACKAGES),
}
ROOT = Path(__file__).resolve().parents[2]


def says(asked: Asked, before: int) -> Says:
    return ok("Hate." if int(asked.text[-1]) % 2 == 0 else "neither")


def place(root: Path, url: str) -> None:
    (root / ".hsdc").mkdir(exist_ok=True)
    (root / ".hsdc/sources.toml").write_text(f'[endpoints]\nbox = "{url}"\n')


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a run that asks an endpoint, compiled where no endpoint is known, as the working directory."""
    root = tmp_path / "project"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    monkeypatch.chdir(root)
    monkeypatch.setenv("BOX_KEY", SECRET)
    assert main(["compile"]) == 0
    return root


def until_parsed(root: Path, *, anew: bool = False, observe: Observe = lambda _: None) -> dict[str, Done]:
    """Every stage before the scores."""
    manifest = load_sealed(root / "generated/demo/asks.lock.json", "asks", Manifest)
    inputs = only_locked(verify_inputs(manifest, root), manifest, root / ".hsdc/store/models")
    bench = Bench("asks", Store(root), Ledger(root), inputs, observe, lambda: False)
    done: dict[str, Done] = {}
    for step in plan(manifest)[:-1]:
        done[step.stage.name] = execute(bench, step, done, anew=anew and step.stage.anew)
    return done


def holds_the_key(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_run_asks_every_row_once_and_parses_the_answers(project: Path) -> None:
    with Server(says) as server:
        place(project, server.url)
        done = until_parsed(project)
        assert [item.text for item in server.asked] == [f"Post: post {number}" for number in range(6)]
        assert server.asked[0].body == {
            "model": "some-model",
            "messages": [
                {"role": "system", "content": "Answer hate or normal."},
                {"role": "user", "content": "Post: post 0"},
            ],
            "max_tokens": 8,
            "temperature": 0.0,
        }
        parsed = done["parse"].outputs["parsed"].path.read_text().splitlines()
        answers = [(row["id"], row["label"], row["fault"]) for row in map(json.loads, parsed)]
        faults = {0: ("hate", ""), 1: (None, "unknown_label")}
        assert answers == [(f"r{number}", *faults[number % 2]) for number in range(6)]
        assert done["ask"].record.facts["cost"] == pytest.approx((60 * 1.0 + 12 * 2.0) / 1e6)
        assert not until_parsed(project)["ask"].record.executed
        assert len(server.asked) == 6
    assert holds_the_key(project) == []


def test_the_place_and_patience_of_an_endpoint_change_no_result(project: Path) -> None:
    with Server(says) as server:
        place(project, server.url)
        before = until_parsed(project)["ask"].record
    with Server(says) as other:
        place(project, other.url)
        profile = project / "specs/profiles/demo.yaml"
        profile.write_text(profile.read_text().replace("retries: 1", "retries: 3"))
        assert main(["compile"]) == 0
        assert until_parsed(project)["ask"].record.key == before.key
        assert other.asked == []


def test_what_is_lost_from_the_store_is_made_again_without_asking(project: Path) -> None:
    with Server(says) as server:
        place(project, server.url)
        first = until_parsed(project)["ask"]
        first.outputs["replies"].path.unlink()
        again = until_parsed(project)["ask"]
        assert again.record.executed
        assert again.record.outputs == first.record.outputs
        assert (again.record.facts["asked"], again.record.facts["kept"], len(server.asked)) == (0, 6, 6)


def test_a_reproduction_asks_anew(project: Path) -> None:
    with Server(says) as server:
        place(project, server.url)
        until_parsed(project)
        assert until_parsed(project, anew=True)["ask"].record.facts["asked"] == 6
        assert len(server.asked) == 12


def test_a_machine_that_does_not_know_the_endpoint_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "asks"]) == 4
    assert "E406" in (said := capsys.readouterr().err)
    assert "[endpoints]: box = " in said


def test_a_key_that_is_refused_ends_the_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(lambda *_: error(401, f"Incorrect API key provided: {SECRET}")) as server:
        place(project, server.url)
        assert main(["run", "asks"]) == 4
        assert len(server.asked) == 1
    said = capsys.readouterr()
    assert "E461" in said.err
    assert "set the right key in BOX_KEY" in said.err
    assert SECRET not in said.err + said.out
    assert holds_the_key(project) == []


def test_what_was_asked_and_what_cannot_be_read_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(lambda asked, before: says(asked, before) if before or "3" not in asked.text else error(500)) as server:
        place(project, server.url)
        view = ProgressView()
        until_parsed(project, observe=view)
    said = capsys.readouterr().err
    assert "6 asked, 0 known, 1 tried again, 0.0001 spent" in said
    assert "3 of 6 answers cannot be read: 3 unknown label" in said


def test_a_finished_run_has_scores_and_can_be_verified(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(says) as server:
        place(project, server.url)
        assert main(["run", "asks"]) == 0
        assert len(server.asked) == 6
        found = json.loads((project / "generated/demo/asks.record.json").read_bytes())
        facts = {stage["name"]: stage["facts"] for stage in found["stages"]}
        assert facts["ask"]["models"] == {"served": 6}
        assert facts["parse"]["faults"] == {"unknown_label": 3}
        assert "label" in json.dumps(facts["score"])
        assert main(["verify", "asks", "--rerun"]) == 0
        assert len(server.asked) == 12, "what is executed again is asked again"
        assert "identical" in capsys.readouterr().out
        server.answer = lambda *_: ok("normal")
        assert main(["verify", "asks", "--rerun"]) == 1
        assert "ask" in capsys.readouterr().out
    assert holds_the_key(project) == []


def test_a_run_that_is_told_to_stop_leaves_with_75_and_keeps_what_it_has(project: Path) -> None:
    with Server(lambda asked, before: Says(body=says(asked, before).body, slow=0.3)) as server:
        place(project, server.url)
        path = os.pathsep.join(str(ROOT / name) for name in (".", "schemas", "compiler", "runtime"))
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-m", "hsdc", "run", "asks"]
        with (project / "said.txt").open("w") as out:
            child = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
            end = time.monotonic() + 100
            while len(server.asked) < 3:
                assert time.monotonic() < end
                assert child.poll() is None, (project / "said.txt").read_text()
                time.sleep(0.01)
            child.send_signal(signal.SIGTERM)
            assert child.wait(30) == 75
        assert "they are kept" in (project / "said.txt").read_text()
        server.answer = says
        assert until_parsed(project)["ask"].record.facts["kept"] == 2
        assert server.times("Post: post 2") == 2
    assert holds_the_key(project) == []
