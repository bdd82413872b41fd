"""`hsdc compile` as a person meets it: what it writes, says and exits with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hsdc.__main__ import main
from hsdc_schemas.digests import canonical
from hsdc_schemas.manifest import Manifest, load_sealed, sealed
from hsdc_schemas.record import Record
from tests.cases.update import HERE

ROOT = HERE.parents[1]
DERIVED = """\
hsdc: 1
run: warmer
extends: parent
budget: 1
why: Clip less.
change:
  training: {max_grad_norm: 1.0}
"""
AGAIN = """\
hsdc: 1
run: again
extends: parent
budget: 0
why: To see that it is the same.
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    shutil.copytree(HERE / "base", root)
    (root / "specs/warmer.yaml").write_text(DERIVED)
    (root / "specs/again.yaml").write_text(AGAIN)
    monkeypatch.chdir(root)
    return root


def hsdc(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a call."""
    try:
        code = main(list(arguments))
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def generated(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every generated file, its bytes and when it was written."""
    files = (path for path in sorted((root / "generated").rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_first_time_writes_and_the_second_changes_nothing(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = hsdc(capsys, "compile")
    assert (code, err) == (0, "")
    assert "3 runs compiled for profile demo: 3 written, 0 unchanged" in out
    assert re.search(r"again +parent \+ 0 of 0 .* the same experiment as parent\n", out)
    assert re.search(r"warmer +parent \+ 1 of 1 ", out)
    written = generated(project)
    assert sorted(written) == sorted(
        f"generated/demo/{run}.{kind}.json" for run in ("again", "parent", "warmer") for kind in ("lock", "provenance")
    )
    for _ in range(3):
        code, out, err = hsdc(capsys, "compile")
        assert (code, err) == (0, "")
        assert "written" not in out.replace("0 written", "")
    assert hsdc(capsys, "compile", "--check")[0] == 0
    assert hsdc(capsys, "compile", "--locked")[0] == 0
    assert hsdc(capsys, "compile", "--rehash")[0] == 0
    assert generated(project) == written


def test_it_works_from_a_folder_inside_the_project(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "specs/models")
    assert hsdc(capsys, "compile")[0] == 0
    assert "generated/demo/parent.lock.json" in generated(project)


def test_a_character_of_data_makes_stale_what_reads_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    before = generated(project)
    replaced(project / "data/train.csv", "Come in!", "Come on!")
    code, out, _ = hsdc(capsys, "compile", "--check")
    assert code == 1
    assert "stale: again, parent, warmer\n" in out
    assert re.search(r"input dataset\.train: \S+, 4 rows → \S+, 4 rows  \(file:data/train\.csv\)", out)
    assert "dataset.test" not in out
    assert generated(project) == before
    assert hsdc(capsys, "compile")[0] == 0
    assert hsdc(capsys, "compile", "--check")[0] == 0


def test_a_value_makes_stale_the_run_and_its_heirs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    replaced(project / "specs/warmer.yaml", "max_grad_norm: 1.0", "max_grad_norm: 2.0")
    code, out, _ = hsdc(capsys, "compile", "--check")
    assert code == 1
    assert "stale: warmer\n" in out
    assert "value training.max_grad_norm: 1.0 → 2.0  (specs/warmer.yaml:7)" in out
    replaced(project / "specs/parent.yaml", "rows_per_step: 4", "rows_per_step: 2")
    code, out, _ = hsdc(capsys, "compile", "--check")
    assert code == 1
    assert "stale: again, parent\n" in out
    assert "stale: warmer\n" in out


def test_a_misspelt_key_writes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    before = generated(project)
    replaced(project / "data/train.csv", "Come in!", "Come on!")  # there would be something to write
    replaced(project / "specs/warmer.yaml", "max_grad_norm", "max_gard_norm")
    code, _, err = hsdc(capsys, "compile")
    assert code == 2
    assert err.count("error[") == 1
    assert "error[E201] unknown key 'max_gard_norm'" in err
    assert "specs/warmer.yaml:7:14" in err
    assert "did you mean 'max_grad_norm'?" in err
    assert generated(project) == before


def test_a_run_over_its_budget_names_both_lines(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    before = generated(project)
    (project / "specs/again.yaml").write_text(AGAIN + "change: {encoder: {max_length: 128}}\n")
    code, _, err = hsdc(capsys, "compile")
    assert code == 3
    assert "error[E801] 'again' differs from 'parent' in 1 factor; its budget is 0" in err
    assert "--> specs/again.yaml:4:9" in err
    assert "--> specs/again.yaml:6:20" in err
    assert "--> specs/parent.yaml:7:26" in err
    assert generated(project) == before


def test_a_missing_file_is_named_where_it_is_wanted_and_the_other_runs_compile(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    component = (project / "specs/datasets/sample.yaml").read_text()
    other = component.replace("dataset: sample", "dataset: lost").replace("data/test.csv", "data/lost.csv")
    (project / "specs/datasets/lost.yaml").write_text(other)
    (project / "specs/warmer.yaml").write_text(DERIVED + "  dataset: {use: lost}\n")
    replaced(project / "specs/warmer.yaml", "budget: 1", "budget: 2")
    code, out, err = hsdc(capsys, "compile")
    assert code == 4
    assert err.startswith("error[E403] 'file:data/lost.csv' is not there\n  --> specs/datasets/lost.yaml:8:9\n")
    assert "2 runs compiled" in out
    assert sorted({path.split(".")[0] for path in generated(project)}) == [
        "generated/demo/again",
        "generated/demo/parent",
    ]


def test_check_takes_the_committed_word_for_an_input_that_is_absent(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    (project / "data/train.csv").unlink()
    code, out, err = hsdc(capsys, "compile", "--check")
    assert (code, err) == (0, "")
    assert "parent: dataset.train absent here, not read again" in out
    assert hsdc(capsys, "compile")[0] == 4


def test_json_is_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = hsdc(capsys, "compile", "--json")
    found = json.loads(out)
    assert (code, found["exit"], found["diagnostics"]) == (0, 0, [])
    runs = {run["run"]: run for run in found["runs"]}
    assert runs["warmer"]["factors"] == ["training.max_grad_norm"]
    assert runs["again"]["same_experiment_as"] == "parent"
    assert len(found["written"]) == 6
    replaced(project / "specs/warmer.yaml", "max_grad_norm", "max_gard_norm")
    code, out, _ = hsdc(capsys, "compile", "--check", "--json")
    [fault] = json.loads(out)["diagnostics"]
    assert (code, fault["code"], fault["exit"]) == (2, "E201", 2)
    assert fault["place"] == {"path": "specs/warmer.yaml", "line": 7, "column": 14, "end_column": 27}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("compile", "--chekc"), "--chekc"),
        (("compile", "--profile"), "--profile"),
        (("compile", "--profile", "../demo"), "'../demo' is not a name"),
        (("compile", "--profile", "dmeo"), "error[E002] there is no profile 'dmeo'; did you mean 'demo'?"),
        (("compile", "warner"), "error[E004] there is no run 'warner'; did you mean 'warmer'?"),
        (("compile", "specs/warmer.yaml"), "'specs/warmer.yaml' is not a name; did you mean 'warmer'?"),
        (("compiel",), "compiel"),
        ((), "COMMAND"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_one_message(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    code, out, err = hsdc(capsys, *arguments)
    assert (code, out.replace("nothing written; profile dmeo\n", "")) == (2, "")
    assert err.startswith("error[")
    assert err.count("error[") == 1
    assert says in err
    assert len(err.splitlines()) <= 2, "the fault, and where to read on"
    assert not (project / "generated").exists()


def test_outside_of_a_project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = hsdc(capsys, "compile")
    said = "no folder 'specs' here or above; run hsdc inside a project, or make one: hsdc init"
    assert (code, err) == (2, f"error[E001] {said}\n")


def test_named_runs_are_compiled_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = hsdc(capsys, "compile", "warmer")
    assert code == 0
    assert "1 run compiled" in out
    assert sorted(generated(project)) == ["generated/demo/warmer.lock.json", "generated/demo/warmer.provenance.json"]


def test_the_manifest_of_a_run_that_is_gone_is_removed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    (project / "specs/warmer.yaml").unlink()
    code, out, _ = hsdc(capsys, "compile", "--check")
    assert code == 1
    assert "warmer.lock.json\n  its run is gone" in out
    assert hsdc(capsys, "compile")[0] == 0
    assert not [path for path in generated(project) if "warmer" in path]


def test_a_manifest_that_was_edited_is_written_anew(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    before = {path: data for path, (data, _) in generated(project).items()}
    path = project / "generated/demo/parent.lock.json"
    replaced(path, '"epochs":3', '"epochs":4')
    code, out, _ = hsdc(capsys, "compile", "--check")
    assert code == 1
    assert "stale: parent\n  there is no intact manifest" in out
    assert hsdc(capsys, "compile")[0] == 0
    assert {path: data for path, (data, _) in generated(project).items()} == before


def finished(root: Path, run: str) -> Path:
    """A record that stands on the manifest of a run, as if it had been executed."""
    path = f"generated/demo/{run}.lock.json"
    manifest = load_sealed(root / path, path, Manifest)
    texts = dict.fromkeys(("python", "platform", "machine", "processor", "device"), "")
    body = {
        "hsdc": 1,
        "schema_version": 1,
        "run": run,
        "profile": "demo",
        "manifest": manifest.digest,
        "experiment_digest": manifest.experiment_digest,
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:00:01Z",
        "seconds": 1.0,
        "peak_memory_bytes": 1,
        "environment": {**texts, "cores": 1, "packages": {}, "differs": {}},
        "rows": {},
        "stages": [],
        "scores": {},
        "reproduction": None,
    }
    record = root / f"generated/demo/{run}.record.json"
    record.write_bytes(canonical(sealed(body)) + b"\n")
    assert load_sealed(record, record.name, Record).manifest == manifest.digest
    return record


def test_what_a_finished_record_stands_on_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    record = finished(project, "warmer")
    before = generated(project)
    replaced(project / "specs/warmer.yaml", "max_grad_norm: 1.0", "max_grad_norm: 2.0")
    code, _, err = hsdc(capsys, "compile")
    assert code == 3
    assert err.startswith("error[E804] 'warmer' has a finished record")
    assert "training.max_grad_norm: 1.0 → 2.0" in err
    assert generated(project) == before
    replaced(project / "specs/warmer.yaml", "max_grad_norm: 2.0", "max_grad_norm: 1.0")
    replaced(project / "specs/warmer.yaml", "why: Clip less.", "why: Prose changes nothing that counts.")
    assert hsdc(capsys, "compile")[0] == 0
    assert record.exists()
    replaced(project / "specs/warmer.yaml", "max_grad_norm: 1.0", "max_grad_norm: 2.0")
    assert hsdc(capsys, "compile", "--supersede")[0] == 0
    assert not record.exists()
    assert [path for path in generated(project) if "superseded/warmer" in path]


def test_it_imports_no_heavy_library(project: Path) -> None:
    script = (
        "import sys; from hsdc.__main__ import main; code = main(['compile'])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'scipy', 'sklearn', 'huggingface_hub', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    path = os.pathsep.join(str(ROOT / part) for part in (".", "schemas", "compiler", "runtime"))
    for expected in ("3 written", "nothing has changed"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout
