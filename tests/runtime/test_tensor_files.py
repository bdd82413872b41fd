"""Tensors in files: read without a library as training lists them, and how far two versions of one are apart."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hsdc_runtime.nn.checkpoint import tensor_digests
from hsdc_runtime.nn.difference import largest_difference
from hsdc_runtime.tensor_files import first_that_differs, tensors_in
from hsdc_schemas.safetensors_header import safetensors_header

TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool)


def test_tensors_are_read_as_training_lists_them(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tensors = {f"t{number}": (torch.rand(3, 5) * 9).to(kind) for number, kind in enumerate(TYPES)}
    tensors |= {"alone": torch.tensor(2.5), "nothing": torch.zeros(0, 4), "é": torch.ones(2)}
    save_file(tensors, tmp_path / "file", metadata={"a": "b"})
    assert tensors_in(tmp_path / "file") == tensor_digests(tensors)[0]
    whole = (tmp_path / "file").read_bytes()
    for wrong in (b"", whole[:4], whole[:40], whole[:-1], b"\xff" * 64, b"{}" * 40, whole[:8] + b"[" * len(whole)):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(ValueError, match=r"."):
            tensors_in(tmp_path / "wrong")


def test_headers_are_judged_as_the_library_judges_them(tmp_path: Path) -> None:
    """Files with a few bytes changed: what one of the two reads, the other does, and never with another error."""
    source, path = random.Random(3), tmp_path / "file"
    kinds = (*TYPES, torch.float8_e4m3fn, torch.complex64)
    save_file({f"t{number}": torch.ones(2, 3).to(kind) for number, kind in enumerate(kinds)}, path)
    whole = path.read_bytes()
    header, read = 8 + int.from_bytes(whole[:8], "little"), 0
    for _ in range(600):
        data = bytearray(whole)
        data[source.randrange(header)] = source.choice(b'0123456789[]{},": FIBU')
        if source.random() < 0.1:
            del data[source.randrange(8, len(data)) :]
        path.write_bytes(data)
        try:
            names = sorted(safetensors_header(path))
        except ValueError:
            with pytest.raises(SafetensorError):
                safe_open(path, "pt")
        else:
            read += 1
            with safe_open(path, "pt") as opened:
                assert sorted(opened.keys()) == names
    assert read > 5, "changes of a name, at least"


def test_the_largest_difference_of_a_tensor(tmp_path: Path) -> None:
    nan, old = float("nan"), torch.tensor([[1.0, 2.0, float("nan")], [float("inf"), -1.0, 0.0]])
    new = {"same": old, "off": old + torch.tensor([0.0, -0.25, 0.0]), "shape": old[:1], "nan": old * nan}
    save_file({name: old.clone() for name in (*new, "gone")}, tmp_path / "old")
    save_file({name: value.clone() for name, value in new.items()}, tmp_path / "new")
    found = {name: largest_difference(tmp_path / "old", tmp_path / "new", name) for name in (*new, "gone")}
    assert found == {"same": 0.0, "off": 0.25, "shape": None, "nan": None, "gone": None}


def test_the_first_tensor_that_differs_is_named() -> None:
    old = [{"name": name, "digest": "1"} for name in ("c", "a", "b")]
    assert first_that_differs(old, old[::-1]) is None
    assert first_that_differs(old, [*old[:2], {"name": "b", "digest": "2"}]) == "b"
    assert first_that_differs(old, [old[0], old[2]]) == "a"
    assert first_that_differs(old, [*old, {"name": "d", "digest": "1"}]) == "d"
