"""Calibration and thresholds are fitted on the split that chooses, never on the one that is scored."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.decisions import Calibration, fit_calibration, fit_thresholds, probabilities
from hsdc_runtime.nn.tensors import load_logits, save_logits
from hsdc_runtime.stages.calibrate import calibrate
from hsdc_runtime.stages.thresholds import thresholds
from hsdc_runtime.work import Output

WEIGHTS = "sha256:weights"
GRID = {"kind": "grid", "low": 0.2, "high": 0.8, "steps": 13}


@pytest.fixture
def work(tmp_path: Path) -> Any:
    """Two splits with the same logits and opposite labels, so that what is fitted says on which one."""
    random = np.random.default_rng(5)
    values = random.normal(size=(60, 2)).astype(np.float32)
    gold = (values[:, 1] + random.normal(size=60) > 0.8).astype(np.int64)
    names, offsets = tuple(map(str, range(60))), np.arange(61)
    splits = {
        split: Rows(names, np.ones(60, dtype=np.int32), offsets, {"tone": targets})
        for split, targets in (("validation", gold), ("test", 1 - gold))
    }
    save_logits(tmp_path / "logits", splits, {split: {"tone": values} for split in splits}, WEIGHTS)
    (tmp_path / "calibration.json").write_text(json.dumps({"tone": {"temperature": 1.0, "bias": [0.0, 0.0]}}))
    made = {"logits": tmp_path / "logits", "calibration": tmp_path / "calibration.json", "weights": tmp_path}
    needs = {"predict": "logits", "calibrate": "calibration", "train": "weights"}
    evaluation = {"fit_split": "validation", "score_split": "test", "thresholds": GRID}
    (tmp_path / "out").mkdir()
    return SimpleNamespace(
        experiment={"evaluation": {**evaluation, "calibration": {"kind": "bias"}}, "heads": {"tone": {}}},
        needs={stage: {name: Output(made[name], WEIGHTS)} for stage, name in needs.items()},
        folder=tmp_path / "out",
    )


def held(work: Any, split: str) -> tuple[np.ndarray, np.ndarray]:
    return load_logits(work.needs["predict"]["logits"].path, split, ["tone"])["tone"]


def test_calibration_is_that_of_the_fit_split(work: Any) -> None:
    found = json.loads(calibrate(work).files["calibration"].read_bytes())["tone"]["bias"]
    right, wrong = (fit_calibration(*held(work, split), "bias").bias for split in ("validation", "test"))
    assert found == pytest.approx(list(right))
    assert found != pytest.approx(list(wrong))


def test_thresholds_are_those_of_the_fit_split(work: Any) -> None:
    found = json.loads(thresholds(work).files["thresholds"].read_bytes())["tone"]
    grid = np.linspace(GRID["low"], GRID["high"], GRID["steps"])
    plain = Calibration(1.0, (0.0, 0.0))
    fitted = []
    for split in ("validation", "test"):
        values, targets = held(work, split)
        fitted.append(list(fit_thresholds(probabilities(values, plain), targets, grid)))
    assert found == pytest.approx(fitted[0])
    assert found != pytest.approx(fitted[1])
