"""From specs to a record, and what the record says held against other libraries' arithmetic."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import confusion_matrix, f1_score
from tiny_project import digests, record, stored

from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.record import Record

STAGES = ["prepare", "train", "predict", "calibrate", "thresholds", "score"]


@pytest.fixture(scope="module")
def base(finished: Path) -> dict:
    return record(finished, "base")


@pytest.fixture(scope="module")
def logits(finished: Path, base: dict) -> dict[str, np.ndarray]:
    return load_file(stored(finished, base, "predict", "logits"))


def test_the_record_is_intact_and_of_its_manifest(finished: Path, base: dict) -> None:
    folder = finished / "generated/demo"
    loaded = load_sealed(folder / "base.record.json", "base", Record)
    manifest = load_sealed(folder / "base.lock.json", "base", Manifest)
    assert loaded.manifest == manifest.digest
    assert [(stage.name, stage.key) for stage in loaded.stages] == [(s.name, s.key) for s in manifest.stages]
    assert [stage["name"] for stage in base["stages"]] == STAGES
    assert all(stage["executed"] for stage in base["stages"])


def test_every_row_that_was_read_is_accounted_for(base: dict) -> None:
    assert {split: rows["read"] for split, rows in base["rows"].items()} == {"train": 120, "validation": 60, "test": 60}
    for rows in base["rows"].values():
        assert rows["read"] == rows["kept"] + sum(rows["filtered"].values()) + sum(rows["rejected"].values())


def _calibrated(finished: Path, base: dict, values: np.ndarray, head: str) -> np.ndarray:
    fitted = json.loads(stored(finished, base, "calibrate", "calibration").read_bytes())[head]
    shifted = values.astype(np.float64) / fitted["temperature"] + np.array(fitted["bias"])
    powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _decided(finished: Path, base: dict, values: np.ndarray, head: str) -> dict[str, np.ndarray]:
    chances = _calibrated(finished, base, values, head)
    thresholds = json.loads(stored(finished, base, "thresholds", "thresholds").read_bytes())[head]
    return {
        "raw": values.argmax(axis=1),
        "calibrated": chances.argmax(axis=1),
        "tuned": (chances / np.array(thresholds)).argmax(axis=1),
    }


@pytest.mark.parametrize("head", ["sentiment", "stance"])
def test_the_scores_are_those_that_follow_from_the_logits(
    finished: Path, base: dict, logits: dict[str, np.ndarray], head: str
) -> None:
    other = {"sentiment": "stance", "stance": "sentiment"}[head]
    labels = {"sentiment": ["negative", "neutral", "positive"], "stance": ["objective", "partisan"]}
    gold, values = logits[f"test/targets/{head}"], logits[f"test/logits/{head}"]
    assert len(gold) == 60
    slices = {"all": np.ones(60, dtype=bool)}
    slices |= {f"{other}={label}": logits[f"test/targets/{other}"] == n for n, label in enumerate(labels[other])}
    for variant, decided in _decided(finished, base, values, head).items():
        assert {name for name, heads in base["scores"][variant].items() if head in heads} == set(slices)
        for name, rows in slices.items():
            found = base["scores"][variant][name][head]
            expected = confusion_matrix(gold[rows], decided[rows], labels=range(len(labels[head])))
            assert found == {"labels": labels[head], "counts": expected.tolist()}, (variant, name)


def test_the_targets_are_the_labels_of_the_file(finished: Path, logits: dict[str, np.ndarray]) -> None:
    rows = [line.split(",") for line in (finished / "data/test.csv").read_text().splitlines()[1:]]
    assert json.loads(logits["test/ids"].tobytes()) == [row[0] for row in rows]
    names = np.array(["negative", "neutral", "positive"])
    assert names[logits["test/targets/sentiment"]].tolist() == [row[2] for row in rows]


def test_something_was_learnt(base: dict, logits: dict[str, np.ndarray]) -> None:
    for head in ("sentiment", "stance"):
        gold = logits[f"test/targets/{head}"]
        most = Counter(gold.tolist()).most_common(1)[0][0]
        majority = f1_score(gold, np.full_like(gold, most), average="macro")
        assert f1_score(gold, logits[f"test/logits/{head}"].argmax(axis=1), average="macro") > majority + 0.2


def test_the_record_tells_what_the_work_took(base: dict) -> None:
    assert base["seconds"] > 0
    assert base["peak_memory_bytes"] > 50 * 2**20
    assert base["started"] <= base["finished"]
    train = next(stage for stage in base["stages"] if stage["name"] == "train")
    assert train["cpu_seconds"] > 0
    facts = train["facts"]
    assert 0 < facts["real_tokens"] <= facts["padded_tokens"]
    assert facts["rows"] == facts["steps"] * 24 == facts["epochs_run"] * 120
    assert base["environment"]["differs"] == {}


def test_a_finished_run_is_not_run_again(project: Path, hsdc) -> None:
    path = project / "generated/demo/base.record.json"
    before = path.read_bytes()
    answer = hsdc("run", "base")
    assert answer.code == 0
    assert path.read_bytes() == before
    assert answer.err.count("reused") == len(STAGES)
    assert "started" not in answer.err
    assert "stands" in answer.out


def test_the_same_manifest_in_another_store_gives_the_same_bits(fresh: Path, hsdc, base: dict) -> None:
    shutil.rmtree(fresh / ".hsdc")
    answer = hsdc("run", "base")
    assert answer.code == 0
    assert answer.err.count("started") == len(STAGES)
    again = record(fresh, "base")
    assert again["manifest"] == base["manifest"]
    assert digests(again) == digests(base)
    assert again["scores"] == base["scores"]


def test_without_names_only_what_is_out_of_date_is_run(project: Path, hsdc) -> None:
    for name in ("warmer", "other_seed", "again", "far"):
        (project / "specs" / f"{name}.yaml").unlink()
    assert hsdc("compile").code == 0
    answer = hsdc("run")
    assert answer.code == 0
    assert "up to date" in answer.out
    assert "reused" not in answer.err


def test_json_is_the_record(project: Path, hsdc) -> None:
    answer = hsdc("run", "base", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert found["records"] == [record(project, "base")]
