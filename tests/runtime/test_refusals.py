"""Runs that cannot be: what the command says, with which exit code, and that no record is left."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from tiny_project import record, spec, write_rows

from hsdc_runtime import environment
from hsdc_runtime.environment import observe
from hsdc_schemas.scores import Confusion
from hsdc_schemas.spec import Execution

WILD = "budget: 1\nchange: {training: {learning_rate: 1.0e+30}}\n"


def one_line(text: str, code: str) -> str:
    """The one line of stderr that is an error, which has this code."""
    lines = [line for line in text.splitlines() if line.startswith("error[")]
    assert len(lines) == 1, text
    assert lines[0].startswith(f"error[{code}] ")
    assert "Traceback" not in text
    return lines[0]


def test_a_loss_that_is_not_finite(project: Path, hsdc) -> None:
    spec(project, "wild", WILD)
    assert hsdc("compile").code == 0
    for _ in range(2):  # the second time it goes on, if at all, from before the step that failed
        answer = hsdc("run", "wild")
        assert answer.code == 1
        said = one_line(answer.err, "E440")
        assert re.search(r"not finite at step [1-9]\d* \(epoch \d+\)", said)
        named = set(re.findall(r"train-\d+", said))
        known = {line.split(",")[0] for line in (project / "data/train.csv").read_text().splitlines()}
        assert named
        assert named <= known
        assert not (project / "generated/demo/wild.record.json").exists()
    assert hsdc("run", "base").code == 0


def test_rows_that_have_one_of_two_labels(fresh: Path, hsdc) -> None:
    write_rows(fresh, one_label=True)
    assert hsdc("compile").code == 0
    answer = hsdc("run", "base")
    assert answer.code == 0, answer.err
    found = record(fresh, "base")
    score = next(stage for stage in found["stages"] if stage["name"] == "score")
    assert score["facts"]["labelled"] == {"sentiment": 30, "stance": 30}
    for variant in ("raw", "calibrated", "tuned"):
        slices = found["scores"][variant]
        assert Confusion.from_json(slices["all"]["stance"]).total == 30
        for label in ("negative", "neutral", "positive"):
            empty = Confusion.from_json(slices[f"sentiment={label}"]["stance"])
            assert empty.total == 0
            assert empty.f1_macro().value is None
    assert "undefined: no labelled rows: stance within sentiment=negative" in answer.out
    calibrate = next(stage for stage in found["stages"] if stage["name"] == "calibrate")
    assert {head: facts["rows"] for head, facts in calibrate["facts"]["heads"].items()} == {
        "sentiment": 30,
        "stance": 30,
    }


def test_a_head_without_a_label_to_fit_on(fresh: Path, hsdc) -> None:
    path = fresh / "data/validation.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *(row.rpartition(",")[0] + "," for row in rows)]) + "\n")
    assert hsdc("compile").code == 0
    answer = hsdc("run", "base")
    assert answer.code == 0, answer.err
    stages = {stage["name"]: stage["facts"] for stage in record(fresh, "base")["stages"]}
    assert stages["train"]["best_metric"] is None
    fitted = stages["calibrate"]["heads"]["stance"]
    assert (fitted["rows"], fitted["temperature"], fitted["bias"], fitted["nll_after"]) == (0, 1.0, [0.0, 0.0], None)
    assert stages["thresholds"]["heads"]["stance"]["f1_macro_after"] is None


@pytest.mark.parametrize("name", ["torch", "safetensors"])
def test_a_library_that_cannot_be_imported(fresh: Path, hsdc, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    ours = ("hsdc_runtime.stages.", "hsdc_runtime.nn.")
    for module in [module for module in sys.modules if module.startswith((*ours, f"{name}."))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    answer = hsdc("run", "base")
    assert answer.code == 4
    assert f"'{name}'" in one_line(answer.err, "E431")
    assert "pip install 'hsdc[runtime]'" in answer.err


@pytest.mark.parametrize("allow", [(), ("--allow-environment",)])
def test_without_the_extra_one_line_says_how_to_install_it(
    fresh: Path, hsdc, monkeypatch: pytest.MonkeyPatch, allow: tuple[str, ...]
) -> None:
    version = environment._version
    gone = ("torch", "transformers", "accelerate")
    monkeypatch.setattr(environment, "_version", lambda name: "" if name in gone else version(name))
    answer = hsdc("run", "base", *allow)
    assert answer.code == 4
    said = one_line(answer.err, "E431")
    assert "accelerate, torch, transformers" in said
    assert said.endswith("pip install 'hsdc[runtime]'")


def test_a_run_that_does_not_exist(project: Path, hsdc) -> None:
    for frozen in ((), ("--frozen",)):
        answer = hsdc("run", "bose", *frozen)
        assert answer.code == 2
        assert "there is no run 'bose'; did you mean 'base'?" in one_line(answer.err, "E004")


def test_a_run_that_was_not_compiled(fresh: Path, hsdc) -> None:
    (fresh / "generated/demo/base.lock.json").unlink()
    answer = hsdc("run", "base")
    assert answer.code == 1
    assert "hsdc compile" in one_line(answer.err, "E505")


def test_another_version_than_the_locked_one(fresh: Path, hsdc) -> None:
    lock = fresh / "locks/runtime.txt"
    lock.write_text(re.sub(r"^scipy==.*$", "scipy==0.0.1", lock.read_text(), flags=re.MULTILINE))
    assert hsdc("compile").code == 0
    answer = hsdc("run", "base")
    assert answer.code == 4
    assert "scipy: locked 0.0.1, installed " in one_line(answer.err, "E430")
    assert "--allow-environment" in answer.err
    assert not (fresh / "generated/demo/base.record.json").exists()
    assert hsdc("run", "base", "--allow-environment").code == 0
    assert list(record(fresh, "base")["environment"]["differs"]) == ["scipy"]


def test_a_local_build_of_the_locked_version_is_the_locked_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_version", {"torch": "2.0.1+cpu", "numpy": "2.0.1"}.get)
    assert observe({"torch": "2.0.1", "numpy": "2.0.1"}, Execution()).differs == {}
    assert observe({"torch": "2.0.1+cpu"}, Execution()).differs == {}
    assert list(observe({"torch": "2.0.1+cu130", "numpy": "2.0.1+cpu"}, Execution()).differs) == ["torch", "numpy"]


def test_rows_that_the_profile_cuts(fresh: Path, hsdc) -> None:
    profile = fresh / "specs/profiles/demo.yaml"
    profile.write_text(profile.read_text().replace("threads: 1}", "threads: 1, limits: {rows: 48, steps: 3}}"))
    assert hsdc("compile").code == 0
    assert hsdc("run", "base", "again").code == 0
    assert {split: rows["kept"] for split, rows in record(fresh, "base")["rows"].items()} == {
        "train": 48,
        "validation": 48,
        "test": 48,
    }
    reason = record(fresh, "again")["reproduction"]["reason"]
    assert "limits.rows cuts the run short" in reason
    assert "limits.steps cuts the run short" in reason


def unusable(root: Path, kind: str) -> None:
    """Spoil the model before it is locked: every file is what was locked, and still it cannot be used."""
    config = json.loads((root / "model/config.json").read_bytes())
    if kind == "too few layers":
        (root / "model/config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    elif kind == "a configuration of nothing":
        (root / "model/config.json").write_text("{}")
    elif kind == "no tokenizer":
        (root / "model/tokenizer.json").write_text("{}")
    elif kind == "weights cut short":
        path = root / "model/model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
    else:
        (root / "model/config.json").write_text(json.dumps(config | {"hidden_size": 64}))


def test_weights_that_are_cut_short_are_not_even_locked(fresh: Path, hsdc) -> None:
    unusable(fresh, "weights cut short")
    answer = hsdc("compile")
    assert answer.code == 4
    assert "model.safetensors" in one_line(answer.err, "E428")


@pytest.mark.parametrize("kind", ["too few layers", "a configuration of nothing", "no tokenizer", "another width"])
def test_a_model_that_cannot_be_used(fresh: Path, hsdc, kind: str) -> None:
    unusable(fresh, kind)
    assert hsdc("compile").code == 0
    answer = hsdc("run", "base")
    assert answer.code == 2
    said = one_line(answer.err, "E435")
    assert "cannot be used: " in said
    if kind == "too few layers":
        assert "last4_mean needs 4 layers, the encoder has 2" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_device_that_is_not_here(fresh: Path, hsdc) -> None:
    profile = fresh / "specs/profiles/demo.yaml"
    profile.write_text(profile.read_text().replace("device: cpu", "device: cuda"))
    assert hsdc("compile").code == 0
    answer = hsdc("run", "base")
    assert answer.code == 4
    assert "no CUDA device is available here" in one_line(answer.err, "E432")


def test_a_full_disk_is_the_environment(fresh: Path, hsdc, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import hsdc_runtime.stages.score as stage

    def full(work: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stage, "score", full)
    answer = hsdc("run", "base")
    assert answer.code == 4
    assert "score: No space left on device" in one_line(answer.err, "E433")
    assert not (fresh / "generated/demo/base.record.json").exists()
