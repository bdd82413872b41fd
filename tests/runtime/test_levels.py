"""How far an execution agrees with a record: verdict, level, what limits it, and tolerances declared beforehand."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_project import DEMO, record

from hsdc_runtime.differences import _place, largest_figure
from hsdc_runtime.ledger import Ledger
from hsdc_runtime.levels import Apart, judged, other_fields
from hsdc_schemas.record import Difference, Environment
from hsdc_schemas.scores import Confusion
from hsdc_schemas.spec import Tolerance

DIFFERENCE = Difference(stage="train", output="weights", tensor="a.b", expected="x", found="y")
HERE = Environment(
    python="3.11.7",
    platform="Linux",
    machine="x86_64",
    processor="a processor",
    cores=4,
    device="cuda",
    device_model="a device",
    precision="float32",
    attention="sdpa",
    optimizer="torch AdamW, fused",
    threads=1,
    processes=2,
    packages={"torch": "2.0"},
    differs={},
)


def elsewhere(**changes: Any) -> Environment:
    return HERE.model_copy(update=changes)


@pytest.mark.parametrize(
    ("difference", "now", "apart", "tolerance", "verdict", "level"),
    [
        (None, {}, (0.0, 0.0), None, "identical", "bitwise"),
        (None, {"elastic": True}, (0.0, 0.0), None, "identical", "bitwise"),
        (None, {"elastic": True, "processes": 4}, (0.0, 0.0), None, "identical", "bitwise across processes"),
        (DIFFERENCE, {}, (1e-6, 0.0), None, "diverged", "not comparable"),
        (DIFFERENCE, {}, (1e-6, 0.0), Tolerance(), "diverged", "not comparable"),
        (DIFFERENCE, {}, (1e-6, 0.0), Tolerance(tensors=1e-5), "within tolerance", "numeric"),
        (DIFFERENCE, {}, (1e-6, 0.02), Tolerance(tensors=1e-5, figures=0.01), "diverged", "not comparable"),
        (DIFFERENCE, {}, (0.3, 0.004), Tolerance(figures=0.01), "within tolerance", "statistical"),
        (DIFFERENCE, {}, (None, None), Tolerance(tensors=1.0), "diverged", "not comparable"),
        (DIFFERENCE, {"device_model": "other"}, (0.1, 0.1), Tolerance(figures=0.01), "inconclusive", "not comparable"),
        (DIFFERENCE, {"device_model": "other"}, (0.1, 0.0), Tolerance(figures=0.01), "within tolerance", "statistical"),
    ],
)
def test_judgements(
    difference: Difference | None,
    now: dict[str, Any],
    apart: tuple[float | None, float | None],
    tolerance: Tolerance | None,
    verdict: str,
    level: str,
) -> None:
    found = judged(difference, elsewhere(elastic=now.get("elastic", False)), elsewhere(**now), Apart(*apart), tolerance)
    assert (found.verdict, found.level) == (verdict, level)
    assert bool(found.limits) == (level != "bitwise across processes")
    if difference is not None:
        assert found.limits[0] == "train, weights, tensor a.b"
    assert ("another device_model" in found.limits) == ("device_model" in now)


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 2},
        {"optimizer": "another"},
        {"attention": "eager"},
        {"precision": "bfloat16"},
        {"device_model": "another"},
        {"packages": {"torch": "2.1"}},
        {"processes": 3},
    ],
)
def test_every_field_of_the_environment_class_is_named(change: dict[str, Any]) -> None:
    [field] = change
    assert other_fields(HERE, elsewhere(**change)) == (field,)
    assert other_fields(HERE, elsewhere(cores=9, differs={"torch": "locked 2, installed 3"})) == ()


def test_what_an_old_record_does_not_hold_is_no_difference() -> None:
    known = ("python", "platform", "machine", "processor", "cores", "device", "packages", "differs")
    old = Environment(**{name: getattr(HERE, name) for name in known})
    assert other_fields(old, HERE) == ()


def test_where_two_outputs_differ() -> None:
    old = {"a": [1, {"b": 2, "c": 3}], "d": None}
    assert _place(old, json.loads(json.dumps(old))) is None
    assert _place(old, {"a": [1, {"b": 2, "c": 4}], "d": 1}) == "a.1.c"
    assert _place(old, {"a": [1], "d": None}) == "a.1"
    assert _place(old, {**old, "e": 0}) == "e"
    assert _place({"a": 1}, {"a": 1.0}) == "a", "another kind of number is another output"


def test_the_largest_difference_of_a_figure_is_over_all_slices() -> None:
    def scores(hits: int) -> dict[str, Any]:
        same = Confusion.of(("no", "yes"), [0, 1] * 5, [0, 1] * 5)
        other = Confusion.of(("no", "yes"), [0, 1] * 5, [0, 1] * hits + [1, 0] * (5 - hits))
        return {"raw": {"all": {"one": same.as_json()}, "slice": {"one": other.as_json()}}}

    assert largest_figure(scores(5), scores(5)) == 0.0
    assert largest_figure(scores(5), scores(4)) == pytest.approx(0.2, abs=1e-12)
    assert largest_figure(scores(5), {"raw": {"all": scores(5)["raw"]["all"]}}) is None


def off_by(monkeypatch: pytest.MonkeyPatch, much: float) -> None:
    """Training that ends a little beside where it should."""
    stage = import_module("hsdc_runtime.stages.train")
    learn = stage.learn

    def off(*arguments: Any, **options: Any) -> Any:
        trained = learn(*arguments, **options)
        trained.weights["head_stance.1.bias"][:2] += torch.tensor([much, 0.0])
        return trained

    monkeypatch.setattr(stage, "learn", off)


def declare(root: Path, hsdc, text: str) -> int:
    (root / "specs/profiles/demo.yaml").write_text(DEMO.replace("threads: 1", f"threads: 1, {text}"))
    return hsdc("compile").code


def test_a_tolerance_is_declared_before_the_run(fresh: Path, hsdc, monkeypatch: pytest.MonkeyPatch) -> None:
    assert declare(fresh, hsdc, "tolerance: {tensors: 1.0e-4, figures: 0.02}") == 0
    assert hsdc("run", "base").code == 0
    off_by(monkeypatch, 1e-5)
    answer = hsdc("verify", "base", "--rerun", "--json")
    assert answer.code == 0
    said = json.loads(answer.out)["rerun"]
    assert (said["verdict"], said["level"]) == ("within tolerance", "numeric")
    assert said["limits"] == ["train, weights, tensor head_stance.1.bias"]
    assert 5e-6 < said["largest"] <= said["largest_tensor"] < 1e-4
    assert said["largest_figure"] <= 0.02
    assert Ledger(fresh).entries()[-1]["level"] == "numeric"
    monkeypatch.undo()
    monkeypatch.chdir(fresh)
    off_by(monkeypatch, 1e-2)
    answer = hsdc("verify", "base", "--rerun")
    assert answer.code == 1
    assert "verdict  diverged: first difference in train, weights, tensor head_stance.1.bias" in answer.out
    assert declare(fresh, hsdc, "tolerance: {tensors: 1.0, figures: 1.0}") == 3, "not afterwards"


def test_a_claim_within_tolerance_is_not_called_reproduced(fresh: Path, hsdc, monkeypatch: pytest.MonkeyPatch) -> None:
    assert declare(fresh, hsdc, "tolerance: {figures: 0.1}") == 0
    assert hsdc("run", "base").code == 0
    off_by(monkeypatch, 1e-3)
    answer = hsdc("run", "again")
    assert answer.code == 0
    claim = record(fresh, "again")["reproduction"]
    assert (claim["verdict"], claim["level"]) == ("within tolerance", "statistical")
    assert claim["largest_tensor"] >= 9e-4
    assert claim["largest_figure"] <= 0.1
    assert "verdict  within tolerance (statistical): again and base are not the same bits" in answer.out


def test_the_field_of_an_output_without_tensors_is_named(project: Path, hsdc, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = import_module("hsdc_runtime.stages.thresholds")
    monkeypatch.setattr(stage, "fit_thresholds", lambda chances, targets, grid: (0.3,) * chances.shape[1])
    answer = hsdc("verify", "base", "--rerun", "--json")
    assert answer.code == 1
    difference = json.loads(answer.out)["rerun"]["difference"]
    assert (difference["stage"], difference["output"], difference["tensor"]) == ("thresholds", "thresholds", None)
    assert difference["field"].startswith("sentiment.")


def test_other_processes_that_give_the_same_bits_reach_the_highest_level(fresh: Path, hsdc) -> None:
    assert declare(fresh, hsdc, "elastic: true") == 0
    assert hsdc("run", "base").code == 0
    answer = hsdc("verify", "base", "--rerun")
    assert "level    bitwise; limited by both times it was executed by 1 process" in answer.out
    answer = hsdc("verify", "base", "--rerun", "--processes", "3")
    assert answer.code == 0, answer.err
    assert "level    bitwise across processes\n" in answer.out
