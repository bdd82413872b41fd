"""A run that learns from rows that a data run made: the whole chain, by the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tiny_project import record, stored

from tests.repository import IDENTITY

MADE = """\
hsdc: 1
run: made
kind: data
corpus:
  shapes:
    plain:
      fields: {id: {}, text: {}, sentiment: {}, stance: {}}
      columns: {id: id, text: text, sentiment: sentiment, stance: stance}
  sources:
    all: {source: "file:data/all.csv", format: csv, shapes: [plain]}
filters:
  - {kind: length, column: text, minimum: 5}
splits: {kind: drawn, shares: {train: 0.6, validation: 0.2, test: 0.2}, stratify: [sentiment, stance]}
leakage: {exact: drop, similar: allow}
outputs: {rows: {kind: rows}}
"""
LEARNT = """\
hsdc: 1
run: learnt
extends: base
budget: 2
why: Learn from the rows that were made.
change: {dataset: {use: made}, training: {epochs: 2}}
"""
DATASET = """\
hsdc: 1
dataset: made
format: jsonl
splits: {train: "run:made/rows.train", validation: "run:made/rows.validation", test: "run:made/rows.test"}
columns: [id, text, sentiment, stance]
labels: {sentiment: sentiment, stance: stance}
"""


@pytest.fixture
def made(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project with a data run over all of its rows, and a run that learns from what that makes."""
    root = tmp_path / "project"
    shutil.copytree(compiled, root)
    for name in ("base", "warmer", "other_seed", "again", "far"):
        if name != "base":
            (root / f"specs/{name}.yaml").unlink()
    shutil.rmtree(root / "generated")
    tables = [(root / f"data/{split}.csv").read_text().splitlines() for split in ("train", "validation", "test")]
    (root / "data/all.csv").write_text("\n".join([tables[0][0], *(line for table in tables for line in table[1:])]))
    for name, text in (("made", MADE), ("learnt", LEARNT), ("datasets/made", DATASET)):
        (root / f"specs/{name}.yaml").write_text(text)
    lock = root / "locks/runtime.txt"
    more = [f"{name}=={metadata.version(name)}" for name in ("google-re2", "jinja2", "msgspec", "pyarrow")]
    lock.write_text(lock.read_text() + "\n".join(more) + "\n")
    monkeypatch.chdir(root)
    return root


def manifest(root: Path, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / f"generated/demo/{run}.lock.json").read_bytes())
    return found


def test_rows_are_made_first_and_learnt_from(made: Path, hsdc: Callable[..., Any]) -> None:
    assert hsdc("compile").code == 0
    key = next(stage["key"] for stage in manifest(made, "made")["stages"] if stage["name"] == "write")
    sources = {item["name"]: item for item in manifest(made, "learnt")["inputs"]}
    assert sources["dataset.train"]["revision"] == key
    assert sources["dataset.train"]["digest"] != sources["dataset.test"]["digest"]
    answer = hsdc("run", "learnt")
    assert answer.code == 0, answer.err
    assert answer.err.index("made  profile") < answer.err.index("learnt  profile")
    rows, learnt = record(made, "made"), record(made, "learnt")
    kept = {split: len(stored(made, rows, "write", f"rows.{split}").read_text().splitlines()) for split in sources_of()}
    assert set(learnt["rows"]) == set(kept)
    assert all(learnt["rows"][split]["read"] == kept[split] for split in learnt["rows"])
    counts = rows["rows"]["all"]
    assert counts["read"] == 240 == counts["kept"] + sum(counts["filtered"].values())
    assert "  all     240" in answer.out
    stored(made, rows, "write", "rows.train").unlink()
    again = hsdc("run", "learnt")
    assert again.code == 0, again.err  # what was lost is made again
    assert again.err.count("set aside") <= 1
    assert "write      done" in again.err


def sources_of() -> tuple[str, ...]:
    return ("train", "validation", "test")


def test_another_filter_makes_the_dependent_run_stale_and_the_difference_says_so(
    made: Path, hsdc: Callable[..., Any]
) -> None:
    assert hsdc("compile").code == 0
    before = manifest(made, "learnt")
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "state"]):
        subprocess.run(["git", *arguments], cwd=made, env={**os.environ, **IDENTITY}, check=True)
    text = (made / "specs/made.yaml").read_text()
    (made / "specs/made.yaml").write_text(text.replace("minimum: 5", "minimum: 20"))
    assert hsdc("compile", "--check").code == 1
    shown = hsdc("diff")
    assert "learnt" in shown.out, shown.err
    assert "dataset.train" in shown.out
    assert hsdc("compile").code == 0
    after = manifest(made, "learnt")
    changed = [item["name"] for item, other in zip(before["inputs"], after["inputs"], strict=True) if item != other]
    assert changed == ["dataset.test", "dataset.train", "dataset.validation"]
    assert before["experiment_digest"] == after["experiment_digest"]


def test_who_takes_rows_is_compiled_with_who_makes_them(made: Path, hsdc: Callable[..., Any]) -> None:
    assert hsdc("compile", "learnt").code == 0
    assert (made / "generated/demo/made.lock.json").exists()
    assert hsdc("run", "learnt").code == 0


def test_without_specs_the_rows_are_made_first_too(made: Path, hsdc: Callable[..., Any]) -> None:
    assert hsdc("compile").code == 0
    shutil.rmtree(made / "specs")
    answer = hsdc("run", "--frozen", "learnt")
    assert answer.code == 0, answer.err
