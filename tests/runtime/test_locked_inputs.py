"""Inputs that are not what was locked are refused before anything is computed, by name, with exit code 4."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from tiny_project import record

from hsdc_runtime.ledger import Ledger

FROZEN = pytest.mark.parametrize("frozen", [(), ("--frozen",)], ids=["fresh", "frozen"])


def change_quietly(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes, but neither the size nor the time of change that a file shows."""
    stat, data = path.stat(), path.read_bytes()
    assert old in data
    assert len(old) == len(new)
    path.write_bytes(data.replace(old, new, 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns


def flip_quietly(path: Path) -> None:
    data = path.read_bytes()
    change_quietly(path, data[-8:], data[-8:-1] + bytes([data[-1] ^ 1]))


def refused(root: Path, answer, shown: str) -> None:
    assert answer.code == 4, answer.err
    assert shown in answer.err
    assert "started" not in answer.err
    assert not (root / "generated/demo/base.record.json").exists()
    assert not list((root / ".hsdc").glob("store/objects/*/*"))


@FROZEN
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_changed_row(fresh: Path, hsdc, split: str, frozen: tuple[str, ...]) -> None:
    change_quietly(fresh / f"data/{split}.csv", b"good", b"goad")
    refused(fresh, hsdc("run", "base", *frozen), f"data/{split}.csv" if frozen else f"dataset.{split}")


@FROZEN
def test_a_changed_label_that_no_head_knows(fresh: Path, hsdc, frozen: tuple[str, ...]) -> None:
    change_quietly(fresh / "data/test.csv", b"positive", b"pasitive")
    refused(fresh, hsdc("run", "base", *frozen), "data/test.csv")


@FROZEN
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_changed_model(fresh: Path, hsdc, name: str, frozen: tuple[str, ...]) -> None:
    path = fresh / "model" / name
    if name == "tokenizer.json":
        change_quietly(path, b"word7", b"wordx")
    else:
        flip_quietly(path)
    refused(fresh, hsdc("run", "base", *frozen), name if frozen else "model")


@FROZEN
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("data/train.csv", "data/train.csv"),
        ("model/model.safetensors", "'model' holds no safetensors weights"),
        ("model/tokenizer.json", "model"),
        ("model", "file:model"),
    ],
)
def test_an_input_that_is_gone(fresh: Path, hsdc, name: str, shown: str, frozen: tuple[str, ...]) -> None:
    path = fresh / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    refused(fresh, hsdc("run", "base", *frozen), shown)


@FROZEN
def test_a_file_that_the_model_did_not_have(fresh: Path, hsdc, frozen: tuple[str, ...]) -> None:
    (fresh / "model/special_tokens_map.json").write_text('{"unk_token": "[SEP]"}')
    refused(fresh, hsdc("run", "base", *frozen), "special_tokens_map.json" if frozen else "model")


def test_every_changed_input_is_named_at_once(fresh: Path, hsdc) -> None:
    flip_quietly(fresh / "model/model.safetensors")
    change_quietly(fresh / "data/train.csv", b"good", b"goad")
    (fresh / "data/test.csv").unlink()
    answer = hsdc("run", "base", "--frozen")
    assert answer.code == 4
    for name in ("model.safetensors", "data/train.csv", "data/test.csv"):
        assert name in answer.err


def test_a_finished_run_does_not_excuse_a_changed_input(project: Path, hsdc) -> None:
    change_quietly(project / "data/test.csv", b"good", b"goad")
    assert hsdc("run", "base").code == 4
    assert hsdc("run", "base", "--frozen").code == 4


def test_with_the_locked_file_put_back_the_run_goes_on(fresh: Path, hsdc) -> None:
    path = fresh / "data/train.csv"
    change_quietly(path, b"good", b"goad")
    assert hsdc("run", "base").code == 4
    change_quietly(path, b"goad", b"good")
    assert hsdc("run", "base").code == 0
    assert record(fresh, "base")["rows"]["train"]["kept"] == 120


def test_frozen_needs_no_specs(project: Path, hsdc) -> None:
    shutil.rmtree(project / "specs")
    answer = hsdc("run", "base", "--frozen")
    assert answer.code == 0
    assert "stands" in answer.out


@pytest.mark.parametrize("stage", ["prepare", "train", "predict"])
def test_what_a_stage_made_while_an_input_changed_is_not_kept(
    fresh: Path, hsdc, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    module = import_module(f"hsdc_runtime.stages.{stage}")
    path, real = fresh / "model/model.safetensors", getattr(module, stage)
    locked = path.read_bytes()

    def meanwhile(work: object) -> object:
        flip_quietly(path)
        return real(work)

    with monkeypatch.context() as patched:
        patched.setattr(module, stage, meanwhile)
        answer = hsdc("run", "base")
    assert answer.code == 4
    assert "E415" in answer.err
    assert "changed while the run was reading it" in answer.err
    done = [entry["stage"] for entry in Ledger(fresh).entries() if entry["event"] == "stage finished"]
    assert stage not in done
    assert len(list((fresh / ".hsdc/store/actions").glob("*.json"))) == len(done)
    assert not list(fresh.glob(".hsdc/store/checkpoints/*/*"))
    path.write_bytes(locked)
    assert hsdc("run", "base").code == 0
