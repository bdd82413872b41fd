"""`hsdc ls`: the tree of runs and their states."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from hsdc.__main__ import main
from hsdc_schemas.digests import canonical
from hsdc_schemas.manifest import sealed

ROOT = Path(__file__).resolve().parents[2]

RUN = "hsdc: 1\nrun: {name}\ntitle: {title}\nextends: {parent}\nbudget: {budget}\nwhy: A test.\nchange: {change}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(ROOT / "tests/cases/base", root)
    add(root, "child", "parent", "{training: {epochs: 4}}")
    add(root, "grandchild", "child", "{training: {epochs: 5}}")
    add(root, "other", "parent", "{training: {learning_rate: 1.0e-5}}")
    monkeypatch.chdir(root)
    return root


def add(root: Path, name: str, parent: str, change: str, budget: int = 1, title: str = "A run") -> None:
    text = RUN.format(name=name, parent=parent, change=change, budget=budget, title=json.dumps(title))
    (root / f"specs/{name}.yaml").write_text(text)


def listed(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["ls", "--json"]) == code
    return {run["run"]: run for run in json.loads(capsys.readouterr().out)["runs"]}


def finish(root: Path, name: str) -> None:
    """A record of the run's manifest: 3 of 4 rows right in each head."""
    manifest = json.loads((root / f"generated/demo/{name}.lock.json").read_bytes())
    counts = {"labels": ["work", "rest"], "counts": [[1, 1], [0, 2]]}
    environment = dict.fromkeys(("python", "platform", "machine", "processor", "device"), "x")
    body = {
        "hsdc": 1,
        "schema_version": 1,
        "run": name,
        "profile": "demo",
        "manifest": manifest["digest"],
        "experiment_digest": manifest["experiment_digest"],
        "started": "",
        "finished": "",
        "seconds": 1.0,
        "peak_memory_bytes": 1,
        "environment": {**environment, "cores": 1, "packages": {}, "differs": {}},
        "rows": {},
        "stages": [],
        "scores": {"raw": {"all": {"tone": counts, "topic": counts}}},
        "reproduction": None,
    }
    (root / f"generated/demo/{name}.record.json").write_bytes(canonical(sealed(body)) + b"\n")


def test_states_as_they_follow_each_other(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {run["state"] for run in listed(capsys).values()} == {"new"}
    assert main(["compile"]) == 0
    assert {run["state"] for run in listed(capsys).values()} == {"locked"}
    finish(project, "child")
    found = listed(capsys)["child"]
    assert found["state"] == "finished"
    # F1 of work is 2·1/(2+1) and of rest 2·2/(2+3), so their mean is 11/15
    assert found["overall.f1_macro"] == pytest.approx(11 / 15)
    assert (found["factors"], found["budget"], found["extends"]) == (["training.epochs"], 1, "parent")
    add(project, "child", "parent", "{training: {epochs: 6}}")
    states = {name: (run["state"], run["overall.f1_macro"]) for name, run in listed(capsys).items()}
    assert states == {
        "parent": ("locked", None),
        "child": ("stale", None),
        "grandchild": ("locked", None),
        "other": ("locked", None),
    }
    add(project, "child", "parent", "{training: {epochs: 4}}", title="Another title")
    found = listed(capsys)["child"]
    assert (found["state"], found["notes"]) == ("finished", ["provenance out of date"])


def test_the_tree(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:5]] == ["parent", "├─ child", "│", "└─ other"]
    assert lines[3].startswith("│  └─ grandchild")
    assert lines[0].split() == ["run", "factors", "F1", "macro", "state", "title"]
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    add(project, "other", "parent", "{training: {learning_rate: 1.0e-5}}", title="Ünders")
    assert main(["ls"]) == 0
    ascii_only.flush()
    lines = ascii_only.buffer.getvalue().decode("ascii").splitlines()  # type: ignore[attr-defined]
    assert lines[2].startswith("|- child")
    assert lines[3].startswith("|  `- grandchild")
    assert lines[4].startswith("`- other")
    assert lines[4].endswith(r"\xdcnders")


def test_absent_inputs_are_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile"]) == 0
    finish(project, "child")
    (project / "data/test.csv").unlink()
    found = listed(capsys)
    assert found["child"]["state"] == "finished"
    assert found["child"]["notes"] == ["inputs absent: dataset.test"]
    shutil.rmtree(project / "generated")
    found = listed(capsys)
    assert {run["state"] for run in found.values()} == {"no inputs"}
    assert found["child"]["factors"] == ["training.epochs"]
    assert main(["ls"]) == 0
    assert "file:data/test.csv" in capsys.readouterr().err


def test_faulty_runs_stand_in_the_tree(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(project, "other", "parent", "{training: {epochs: 4, learning_rate: 1.0e-5}}")
    add(project, "one", "two", "{}")
    add(project, "two", "one", "{}")
    (project / "specs/broken.yaml").write_text("hsdc: 1\nrun: broken\n  a: [\n")
    found = listed(capsys, code=2)
    assert {name: run["state"] for name, run in found.items()} == {
        "broken": "faulty",
        "parent": "not checked",
        "child": "not checked",
        "grandchild": "not checked",
        "other": "faulty",
        "one": "faulty",
        "two": "faulty",
    }
    assert main(["ls"]) == 2
    assert len(capsys.readouterr().out.splitlines()) == len(found) + 2


def test_a_hostile_title_is_inert_and_cut(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(project, "other", "parent", "{training: {learning_rate: 1.0e-5}}", title="\x1b[2J\n::error::" + "x" * 3000)
    assert main(["ls"]) == 0
    text = capsys.readouterr().out
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert len(text.splitlines()) == 6
    assert max(map(len, text.splitlines())) < 150
