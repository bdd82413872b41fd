"""A compilation of what changed comes to what a compilation of everything comes to, and touches what depends on it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hsdc_compiler import known
from hsdc_compiler.compilation import NOWHERE, Compilation, Compiled
from hsdc_compiler.known import FILE
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.publish import write
from hsdc_compiler.recompile import recompile
from hsdc_compiler.stamp import STAMPS, unchanged
from hsdc_schemas.digests import canonical, canonical_ready
from hsdc_schemas.factors import essence, ready_essence
from tests.repository import FILES, ROWS, RUN1, derived

MORE = {
    "specs/other_root.yaml": RUN1.replace("run1", "other_root").replace("corpus", "other"),
    "specs/mixed.yaml": RUN1.replace("run1", "mixed").replace("corpus", "small"),
    "specs/grid.yaml": "hsdc: 1\nrun: grid\nextends: run1\nbudget: 0\nwhy: To see.\n"
    "matrix: {axes: {training.seed: [1, 2]}, replicate: [training.seed]}\n",
    "specs/restored.yaml": derived("restored", "run4", "{}", 1, "restore: {from: run2, paths: [training.epochs]}\n"),
    "specs/again.yaml": derived("again", "run3", "{}", 0, "reproduces: {run: run4}\n"),
    "specs/datasets/small.yaml": "hsdc: 1\ndataset: small\nextends: corpus\n"
    "change: {splits: {test: file:data/other/test.csv}}\n",
}
ALL = {"run1", "run2", "run3", "run4", "other_root", "mixed", "grid.seed-1", "grid.seed-2", "restored", "again"}
ON_RUN1 = ALL - {"other_root", "mixed"}
ON_CORPUS = ALL - {"other_root"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {**FILES, **MORE}.items():
        put(tmp_path / name, text)
    for name in ("corpus", "other"):
        for split in ("train", "validation", "test"):
            put(tmp_path / f"data/{name}/{split}.csv", ROWS.replace("\na", f"\n{name[:1]}{split[:2]}"))
    assert compiled(tmp_path).trace is not None
    assert unchanged(str(tmp_path), "demo") == len(ALL)
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def edit(root: Path, path: str, old: str, new: str) -> None:
    text = (root / path).read_text("utf-8")
    assert old in text
    put(root / path, text.replace(old, new, 1))


def compiled(root: Path, *, check_only: bool = False) -> Compilation:
    """What changed is compiled, compared with all compiled, and written."""
    found, whole = (run(root, profile="demo", check_only=check_only) for run in (recompile, compile_project))
    assert found.diagnostics == whole.diagnostics
    assert found.orphans == whole.orphans
    assert [item(run) for run in found.runs] == [item(run) for run in whole.runs]
    assert (found.trace is None) == (whole.trace is None)
    if found.trace is not None and whole.trace is not None:
        assert found.trace._replace(inputs={}) == whole.trace._replace(inputs={})
        assert found.trace.inputs.items() >= whole.trace.inputs.items()
    return found if check_only else write(root, found)


def item(run: Compiled) -> object:
    """All of a compiled run but the tree and how its manifest is made a value."""
    shown = msgspec.structs.asdict(run)
    del shown["tree"], shown["typed"], shown["texts"]
    return {**shown, "files": run.files, "manifest": run.manifest.digest}


def anew(found: Compilation) -> set[str]:
    """The runs that were compiled, and not taken from what is known."""
    return {run.name for run in found.runs if run.tree is not NOWHERE}


def model_file(root: Path) -> None:
    put(root / "models/tiny/vocab.txt", "one\ntwo\n")


EDITS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "nothing": (lambda root: None, set()),
    "the time of a spec": (lambda root: (root / "specs/run2.yaml").touch(), set()),
    "a root": (lambda root: edit(root, "specs/run1.yaml", "hidden: 32", "hidden: 64"), ON_RUN1),
    "a leaf": (lambda root: edit(root, "specs/restored.yaml", "To see", "To see it"), {"restored"}),
    "what values are restored from": (
        lambda root: edit(root, "specs/run2.yaml", "epochs: 5", "epochs: 6"),
        {"run2", "run3", "again", "restored"},
    ),
    "a matrix": (lambda root: edit(root, "specs/grid.yaml", "[1, 2]", "[1, 3]"), {"grid.seed-1", "grid.seed-3"}),
    "a component": (lambda root: edit(root, "specs/datasets/other.yaml", "format", "title: T\nformat"), {"other_root"}),
    "a component that others extend": (
        lambda root: edit(root, "specs/datasets/corpus.yaml", "format", "title: T\nformat"),
        ON_CORPUS,
    ),
    "a component that extends": (
        lambda root: edit(
            root, "specs/datasets/small.yaml", "test: file:data/other/test", "test: file:data/other/train"
        ),
        {"mixed"},
    ),
    "a component that nobody uses": (lambda root: put(root / "specs/models/idle.yaml", "hsdc: 1\n"), set()),
    "the profile": (lambda root: edit(root, "specs/profiles/demo.yaml", "epochs: 1", "epochs: 2"), ALL),
    "the lock": (lambda root: edit(root, "locks/runtime.txt", "2.4.6", "2.4.7"), ALL),
    "where local data are": (lambda root: put(root / ".hsdc/sources.toml", "[local]\n"), ALL),
    "rows": (lambda root: edit(root, "data/corpus/train.csv", "Come in!", "Come on!"), ON_CORPUS),
    "rows of one data set": (
        lambda root: edit(root, "data/other/test.csv", "Come in!", "Come on!"),
        {"other_root", "mixed"},
    ),
    "a model's file": (lambda root: put(root / "models/tiny/tokenizer.json", '{"a": 1}'), ALL),
    "one more of a model's files": (model_file, ALL),
    "a manifest": (lambda root: edit(root, "generated/demo/run3.lock.json", "run3", "run5"), {"run3"}),
    "a provenance": (lambda root: (root / "generated/demo/run1.provenance.json").unlink(), {"run1"}),
    "a new run": (lambda root: put(root / "specs/late.yaml", derived("late", "run3", "{head: {hidden: 8}}")), {"late"}),
    "a run that went": (lambda root: (root / "specs/mixed.yaml").unlink(), set()),
    "a new name": (
        lambda root: put(root / "specs/mixes.yaml", (root / "specs/mixed.yaml").read_text().replace("mixed", "mixes")),
        {"mixes"},
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_depends_on_an_edit_is_compiled_again_and_nothing_else(root: Path, name: str) -> None:
    change, expected = EDITS[name]
    change(root)
    before = {path: path.read_bytes() for path in root.rglob("*.lock.json")}
    assert anew(compiled(root, check_only=True)) == expected
    assert {path: path.read_bytes() for path in root.rglob("*.lock.json")} == before
    assert anew(compiled(root)) == expected
    assert anew(compiled(root)) == set()
    assert unchanged(str(root), "demo") is not None


FAULTS: dict[str, Callable[[Path], object]] = {
    "a parent that went": lambda root: (root / "specs/run2.yaml").unlink(),
    "a run that is reproduced went": lambda root: (root / "specs/run4.yaml").unlink(),
    "a component that went": lambda root: (root / "specs/datasets/other.yaml").unlink(),
    "a base of a component that went": lambda root: (root / "specs/datasets/corpus.yaml").unlink(),
    "a model's file that went": lambda root: (root / "models/tiny/config.json").unlink(),
    "a spec that is none": lambda root: put(root / "specs/run3.yaml", "hsdc: [\n"),
    "a value that is none": lambda root: edit(root, "specs/run1.yaml", "hidden: 32", "hidden: many"),
    "rows that are none": lambda root: put(root / "data/other/train.csv", "id\n"),
    "a budget": lambda root: edit(root, "specs/run4.yaml", "budget: 1", "budget: 0"),
    "a warning": lambda root: edit(root, "specs/run4.yaml", "3.0e-5", "2.5e-5"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_those_of_compiling_all_and_end_with_their_cause(root: Path, name: str) -> None:
    kept = {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file() and ".hsdc" not in path.parts}
    FAULTS[name](root)
    for _ in range(2):
        assert compiled(root).diagnostics
    assert unchanged(str(root), "demo") is None
    for path, data in kept.items():
        path.write_bytes(data)
    assert not compiled(root).diagnostics
    assert anew(compiled(root)) == set()
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_warning_is_said_again_by_the_runs_that_it_is_about_alone(root: Path) -> None:
    edit(root, "specs/run4.yaml", "3.0e-5", "2.5e-5")
    edit(root, "specs/run4.yaml", "budget: 1", "budget: 0")
    compiled(root)
    found = compiled(root)
    assert [item.code for item in found.diagnostics] == ["W315"]
    assert anew(found) == {"run4"}


def test_another_hsdc_compiles_everything(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "own_code", lambda: "another")
    assert anew(compiled(root)) == ALL
    monkeypatch.undo()
    monkeypatch.setenv("HF_HOME", str(root))
    assert unchanged(str(root), "demo") is None
    assert anew(compiled(root)) == ALL


def test_a_link_that_comes_to_lead_elsewhere_is_noticed(root: Path) -> None:
    (root / "data/other").rename(root / "data/first")
    shutil.copytree(root / "data/first", root / "data/second", copy_function=shutil.copy2)
    edit(root, "data/second/train.csv", "Come in!", "Come on!")
    (root / "data/other").symlink_to("first")
    (root / FILE.format("demo")).unlink()
    compiled(root)
    assert unchanged(str(root), "demo") == len(ALL)
    (root / "data/other").unlink()
    (root / "data/other").symlink_to("second")
    assert unchanged(str(root), "demo") is None
    assert anew(compiled(root)) == {"other_root", "mixed"}


@pytest.mark.parametrize("garbage", ["", "{", "[]", '{"code": 1}', "[" * 100_000])
def test_garbage_costs_time_alone(root: Path, garbage: str) -> None:
    (root / STAMPS.format("demo")).unlink()
    put(root / FILE.format("demo"), garbage)
    assert anew(compiled(root)) == ALL


def test_parts_of_what_is_known_may_be_lost(root: Path) -> None:
    path = root / FILE.format("demo")
    for part in ("sources", "inputs", "outputs"):
        value = json.loads(path.read_bytes())
        put(path, json.dumps({**value, part: {}}))
        assert anew(compiled(root)) == ALL


@pytest.mark.parametrize("seed", range(4))
def test_any_edits_in_any_order_come_to_what_compiling_all_comes_to(root: Path, seed: int) -> None:
    draw = random.Random(seed)
    changes = [change for change, _ in EDITS.values()] + list(FAULTS.values())
    kept = {path: path.read_bytes() for path in root.rglob("*.*") if path.is_file() and ".hsdc" not in path.parts}
    for _ in range(12):
        for change in draw.sample(changes, draw.randint(1, 3)):
            try:
                change(root)
            except (AssertionError, OSError):  # another edit was there first
                continue
        compiled(root)
        if draw.random() < 0.4:
            for path, data in draw.sample(sorted(kept.items()), len(kept) // 2):
                put(path, data.decode())
            compiled(root)


def test_shipped_experiments_are_canonical_in_one_walk() -> None:
    project = Path(__file__).resolve().parents[2]
    found = compile_project(project, lock=False).resolved
    assert {run.experiment.kind for run in found.values()} >= {"encoder", "prompt"}
    for run in found.values():
        assert canonical_ready(ready_essence(run.experiment)) == canonical(essence(run.experiment))


def test_the_process_ends_with_the_code_and_all_that_was_said(root: Path) -> None:
    call = [sys.executable, "-m", "hsdc", "compile", "--check", "--json"]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(call, cwd=root, env=here, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {run["run"] for run in json.loads(done.stdout)["runs"]} == ALL
    edit(root, "specs/run1.yaml", "hidden: 32", "hidden: 64")
    assert subprocess.run(call, cwd=root, env=here, check=False).returncode == 1
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(call, cwd=root, env=here, stdout=full, check=False).returncode == 4
