"""Weights, and logits, that another run made are refused, however well the store is made to vouch for them."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file
from tiny_project import action_file, record, stored

from hsdc_runtime.store import Store


@pytest.fixture
def both(project: Path, hsdc) -> Path:
    """A project in which `base` and `other_seed` are finished, and the record of `base` is not there yet."""
    assert hsdc("run", "other_seed").code == 0
    (project / "generated/demo/base.record.json").rename(project / "base.json")
    shutil.copy(project / "base.json", project / "generated/demo/base.record.json")
    return project


def key(found: dict, stage: str) -> str:
    return next(item for item in found["stages"] if item["name"] == stage)["key"]


def claim(project: Path, stage: str) -> None:
    """Let the store say that this stage of `base` made what it made for `other_seed`."""
    store = Store(project)
    mine, theirs = record(project, "base"), record(project, "other_seed")
    own, other = store.action(key(mine, stage)), store.action(key(theirs, stage))
    assert own is not None
    assert other is not None
    assert own.outputs != other.outputs
    store.record_action(dataclasses.replace(own, outputs=other.outputs))


def refused(project: Path, hsdc, message: str) -> None:
    (project / "generated/demo/base.record.json").unlink()
    answer = hsdc("run", "base")
    assert answer.code == 1
    assert "error[E441]" in answer.err
    assert message in answer.err
    assert not (project / "generated/demo/base.record.json").exists()


def test_predict_refuses_the_weights_of_another_run(both: Path, hsdc) -> None:
    claim(both, "train")
    action_file(both, record(both, "base"), "predict").unlink()
    refused(both, hsdc, "the weights are not those of this run's own training")


def test_predict_refuses_weights_that_only_say_they_are_its_own(both: Path, hsdc) -> None:
    mine, theirs = record(both, "base"), record(both, "other_seed")
    forged = both / "forged.safetensors"
    save_file(load_torch(stored(both, theirs, "train", "weights")), forged, metadata={"train": key(mine, "train")})
    store = Store(both)
    own = store.action(key(mine, "train"))
    assert own is not None
    name, size = store.put(forged)
    weights = own.outputs["weights"].model_copy(update={"object": name, "bytes": size})
    store.record_action(dataclasses.replace(own, outputs={**own.outputs, "weights": weights}))
    action_file(both, mine, "predict").unlink()
    refused(both, hsdc, "the weights are not the ones that training recorded")


@pytest.mark.parametrize("stage", ["calibrate", "thresholds"])
def test_logits_of_other_weights_are_refused(both: Path, hsdc, stage: str) -> None:
    claim(both, "predict")
    action_file(both, record(both, "base"), stage).unlink()
    refused(both, hsdc, "the logits were not computed by this run's own weights")


def test_a_finished_run_notices_that_the_store_says_otherwise(both: Path, hsdc) -> None:
    claim(both, "train")
    path = both / "generated/demo/base.record.json"
    before = path.read_bytes()
    answer = hsdc("run", "base")
    assert answer.code == 1
    assert "error[E511]" in answer.err
    assert path.read_bytes() == before


def test_the_two_runs_differ(both: Path) -> None:
    mine, theirs = (load_file(stored(both, record(both, run), "train", "weights")) for run in ("base", "other_seed"))
    assert any((mine[name] != theirs[name]).any() for name in mine)
