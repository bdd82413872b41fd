"""The verdict on a run that says it reproduces another, and what is said of the figure that was reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import f1_score
from tiny_project import digests, record, stored

from hsdc_schemas.digests import canonical
from hsdc_schemas.manifest import sealed

ANEW = ["train", "predict", "calibrate", "thresholds", "score"]


def rewrite(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit the record of `base` and give it a digest that fits: only its content can tell that something is wrong."""
    path = root / "generated/demo/base.record.json"
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(canonical(sealed(value)) + b"\n")


def names(found: dict[str, Any]) -> list[str]:
    return [stage["name"] for stage in found["stages"] if stage["executed"]]


def test_identical(project: Path, hsdc) -> None:
    answer = hsdc("run", "again")
    assert answer.code == 0, answer.err
    found = record(project, "again")
    verdict = found["reproduction"]
    assert verdict["verdict"] == "identical"
    assert verdict["difference"] is None
    assert verdict["executed"] == names(found) == ANEW
    assert verdict["record"] == record(project, "base")["digest"]
    assert digests(found) == digests(record(project, "base"))
    assert "identical: again reproduces base" in answer.out
    assert answer.err.count("it is executed anew to be compared") == len(ANEW)
    # the demo's data set stands in for another
    assert verdict["reported"] == "not comparable"
    assert "dataset is sample, not rows" in verdict["reason"]
    assert "not comparable" in answer.out


def test_the_run_that_is_compared_with_is_run_first(fresh: Path, hsdc) -> None:
    assert hsdc("run", "again").code == 0
    assert record(fresh, "again")["reproduction"]["verdict"] == "identical"
    assert names(record(fresh, "base")) == ["prepare", *ANEW]


def test_a_finished_reproduction_is_not_executed_again(project: Path, hsdc) -> None:
    assert hsdc("run", "again").code == 0
    path = project / "generated/demo/again.record.json"
    before = path.read_bytes()
    answer = hsdc("run", "again")
    assert answer.code == 0
    assert "started" not in answer.err
    assert "identical" in answer.out
    assert path.read_bytes() == before


def test_the_figure_is_compared_where_nothing_stands_in(project: Path, hsdc) -> None:
    assert hsdc("compile", "--profile", "plain").code == 0
    assert hsdc("run", "base", "again", "--profile", "plain").code == 0
    verdict = record(project, "again", "plain")["reproduction"]
    assert (verdict["verdict"], verdict["reported"]) == ("identical", "within")
    from safetensors.numpy import load_file

    logits = load_file(stored(project, record(project, "base"), "predict", "logits"))
    found = [
        f1_score(logits[f"test/targets/{head}"], logits[f"test/logits/{head}"].argmax(axis=1), average="macro")
        for head in ("sentiment", "stance")
    ]
    assert verdict["found"] == pytest.approx(sum(found) / 2, abs=1e-12)
    answer = hsdc("run", "far", "--profile", "plain")
    assert answer.code == 1
    verdict = record(project, "far", "plain")["reproduction"]
    assert (verdict["verdict"], verdict["reported"]) == ("identical", "outside")
    assert "outside 0.001" in answer.out


def test_a_record_of_other_weights_is_diverged_from(project: Path, hsdc) -> None:
    assert hsdc("run", "other_seed").code == 0
    other = record(project, "other_seed")["stages"][1]
    assert other["name"] == "train"
    mine = record(project, "base")
    rewrite(project, lambda value: value["stages"][1].update(outputs=other["outputs"]))
    answer = hsdc("run", "again")
    assert answer.code == 1
    verdict = record(project, "again")["reproduction"]
    difference = verdict["difference"]
    assert verdict["verdict"] == "diverged"
    assert verdict["environment"] == []
    assert (difference["stage"], difference["output"]) == ("train", "weights")
    assert difference["expected"] == other["outputs"]["weights"]["digest"]
    assert difference["found"] == digests(mine)["train"]["weights"]
    assert difference["tensor"] == _first_that_differs(project, mine, record(project, "other_seed"))
    assert "diverged: again does not reproduce base" in answer.out
    assert f"tensor {difference['tensor']}" in answer.out


def _first_that_differs(project: Path, mine: dict[str, Any], theirs: dict[str, Any]) -> str:
    from safetensors.numpy import load_file

    ours, other = (load_file(stored(project, found, "train", "weights")) for found in (mine, theirs))
    return next(name for name in sorted(ours) if (ours[name] != other[name]).any())


def test_training_that_gives_other_bits_is_diverged_from(project: Path, hsdc, monkeypatch: pytest.MonkeyPatch) -> None:
    import hsdc_runtime.stages.train as stage

    learn = stage.learn

    def slightly_off(*arguments: Any, **options: Any) -> Any:
        trained = learn(*arguments, **options)
        weights = trained.weights["head_stance.1.bias"]
        weights[0] = torch.nextafter(weights[0], torch.tensor(1.0))
        return trained

    monkeypatch.setattr(stage, "learn", slightly_off)
    assert hsdc("run", "again").code == 1
    difference = record(project, "again")["reproduction"]["difference"]
    assert (difference["stage"], difference["output"]) == ("train", "weights")
    assert difference["tensor"] == "head_stance.1.bias"
    monkeypatch.undo()
    monkeypatch.chdir(project)
    path = project / "generated/demo/again.record.json"
    before = path.read_bytes()
    answer = hsdc("run", "again")  # its verdict stands, and what `base` made is still what the store has
    assert answer.code == 1
    assert "diverged" in answer.out
    assert path.read_bytes() == before
    assert "stands" in hsdc("run", "base").out


def test_a_later_stage_that_differs_is_named(project: Path, hsdc) -> None:
    def other_thresholds(value: dict[str, Any]) -> None:
        value["stages"][4]["outputs"]["thresholds"]["digest"] = "sha256:" + "0" * 64

    rewrite(project, other_thresholds)
    answer = hsdc("run", "again")
    assert answer.code == 1
    difference = record(project, "again")["reproduction"]["difference"]
    assert (difference["stage"], difference["output"], difference["tensor"]) == ("thresholds", "thresholds", None)


@pytest.mark.parametrize("field", ["processor", "packages"])
def test_another_environment_is_inconclusive(project: Path, hsdc, field: str) -> None:
    def elsewhere(value: dict[str, Any]) -> None:
        value["environment"][field] = {"torch": "0.0.1"} if field == "packages" else "another"
        value["stages"][1]["outputs"]["weights"]["digest"] = "sha256:" + "0" * 64

    rewrite(project, elsewhere)
    answer = hsdc("run", "again")
    assert answer.code == 1
    verdict = record(project, "again")["reproduction"]
    assert verdict["verdict"] == "inconclusive"
    assert verdict["environment"] == [field]
    assert field in answer.out


def test_the_same_bits_in_another_environment_are_identical(project: Path, hsdc) -> None:
    rewrite(project, lambda value: value["environment"].update(processor="another"))
    assert hsdc("run", "again").code == 0
    verdict = record(project, "again")["reproduction"]
    assert (verdict["verdict"], verdict["environment"]) == ("identical", ["processor"])


def test_without_the_other_record_there_is_no_verdict(project: Path, hsdc) -> None:
    (project / "generated/demo/base.record.json").unlink()
    from hsdc_runtime.run import run
    from hsdc_schemas.errors import HsdcError
    from hsdc_schemas.manifest import Manifest, load_sealed

    manifest = load_sealed(project / "generated/demo/again.lock.json", "again", Manifest)
    with pytest.raises(HsdcError) as caught:
        run(project, manifest, observe=lambda event: None, stop=lambda: False)
    assert [fault.code for fault in caught.value.diagnostics] == ["E510"]
    assert caught.value.diagnostics[0].hint == "hsdc run base"
