from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from hsdc_runtime.nn.checkpoint import Snapshot, load_checkpoint, save_checkpoint, tensor_digests
from hsdc_schemas.digests import digest_json


def snapshot(step: int) -> Snapshot:
    tensors = {"weights": {"w": torch.full((2, 3), float(step))}, "optimizer": {}, "best": {"w": torch.arange(3)}}
    return Snapshot(step, {"loss": 1.0, "third": 1 / 3, "none": None, "step": step}, tensors)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "absent") is None
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, snapshot(12), keep=1)
    read = load_checkpoint(tmp_path)
    assert read.step == 12
    assert read.state == snapshot(12).state
    assert isinstance(read.state["loss"], float)
    assert set(read.tensors) == {"weights", "optimizer", "best"}
    assert torch.equal(read.tensors["weights"]["w"], torch.full((2, 3), 12.0))
    assert read.tensors["best"]["w"].dtype == torch.int64


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 9, 10, 100):
        save_checkpoint(tmp_path, snapshot(step), keep=2)
    assert names(tmp_path) == ["step-000000010", "step-000000100"]
    assert load_checkpoint(tmp_path).step == 100


@pytest.mark.parametrize("damage", ["bit", "lost", "digests", "extra"])
def test_a_damaged_newest_one_is_set_aside_and_the_one_before_used(tmp_path: Path, damage: str) -> None:
    for step in (5, 9):
        newest = save_checkpoint(tmp_path, snapshot(step), keep=3)
    weights = newest / "weights.safetensors"
    if damage == "bit":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "lost":
        weights.unlink()
    elif damage == "digests":
        (newest / "digests.json").write_text('{"weights.safetensors": ')
    else:
        (newest / "more.safetensors").write_bytes(b"")
    assert load_checkpoint(tmp_path).step == 5
    assert names(tmp_path) == ["step-000000005", "step-000000009.damaged-1"]
    save_checkpoint(tmp_path, snapshot(9), keep=3)
    assert load_checkpoint(tmp_path).step == 9


def test_a_killed_write_leaves_nothing_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, snapshot(5), keep=1)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("hsdc_runtime.nn.checkpoint.sync_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, snapshot(9), keep=1)
    assert ".step-000000009.part" in names(tmp_path)
    assert load_checkpoint(tmp_path).step == 5
    assert names(tmp_path) == ["step-000000005"]


def test_nothing_is_pickled_and_non_finite_state_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, snapshot(1), keep=1)
    assert {file.suffix for file in path.iterdir()} == {".json", ".safetensors"}
    json.loads((path / "state.json").read_text())
    with pytest.raises(ValueError, match="JSON compliant"):
        save_checkpoint(tmp_path, Snapshot(2, {"loss": float("nan")}, {}), keep=1)
    assert load_checkpoint(tmp_path).step == 1


def test_tensor_digests_are_over_little_endian_bytes() -> None:
    tensors = {"b": torch.tensor([1, -2], dtype=torch.int32), "a": torch.tensor(1.0), "c": torch.ones(2, 1).bfloat16()}
    found, root = tensor_digests(tensors)
    expected = {
        "a": ("float32", [], bytes.fromhex("0000803f")),
        "b": ("int32", [2], bytes.fromhex("01000000feffffff")),
        "c": ("bfloat16", [2, 1], bytes.fromhex("803f803f")),
    }
    assert found == [
        {"name": name, "dtype": dtype, "shape": shape, "digest": "sha256:" + hashlib.sha256(data).hexdigest()}
        for name, (dtype, shape, data) in expected.items()
    ]
    assert root == digest_json(found)
    turned = {"x": torch.arange(6.0).reshape(2, 3).T}
    assert tensor_digests(turned) == tensor_digests({"x": turned["x"].contiguous()})
