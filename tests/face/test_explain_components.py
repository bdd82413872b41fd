"""`hsdc explain` of values that one component has from another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hsdc.__main__ import main

BASE = Path(__file__).resolve().parents[2] / "tests/cases/base"
DERIVED = """\
hsdc: 1
dataset: sample_of
extends: sample
change:
  splits: {test: file:data/validation.csv}
  blank: {$unset: true}
"""


def test_what_a_component_extends_is_one_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(BASE, project)
    monkeypatch.chdir(project)
    base = project / "specs/datasets/sample.yaml"
    base.write_text(f"{base.read_text()}blank: mask\n")
    (project / "specs/datasets/sample_of.yaml").write_text(DERIVED)
    profile = project / "specs/profiles/demo.yaml"
    profile.write_text(profile.read_text().replace("corpus: sample", "corpus: sample_of"))
    assert main(["explain", "parent", "dataset", "--json"]) == 0
    values = {item["path"]: item["layers"] for item in json.loads(capsys.readouterr().out)["values"]}
    for path, layers in values.items():
        places = [(layer["file"], layer["line"]) for layer in layers]
        assert len(places) == len(set(places)), path
    found = {path: [(layer["op"], layer["file"], layer["line"]) for layer in values[path]] for path in values}
    lines = base.read_text().splitlines()
    test = next(number for number, line in enumerate(lines, 1) if line.strip().startswith("test:"))
    own = "specs/datasets/sample_of.yaml"
    assert found["dataset.splits.test"][2:] == [("set", "specs/datasets/sample.yaml", test), ("set", own, 5)]
    assert found["dataset.blank"][2:] == [
        ("set", "specs/datasets/sample.yaml", len(lines)),
        ("unset", own, 6),
        ("default", None, None),
    ]
