"""What is written to a file of rows or logits is what is read from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.tensors import (
    MASKED,
    load_belongings,
    load_logits,
    load_rows,
    logits_made_by,
    save_logits,
    save_rows,
)

HEADS = {"polarity": 3, "type": 2}


def rows(names: tuple[str, ...], seed: int) -> Rows:
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(random.integers(1, 9, len(names)))]).astype(np.int64)
    tokens = random.integers(0, 2**31 - 1, int(offsets[-1])).astype(np.int32)
    targets = {head: random.integers(0, classes, len(names)) for head, classes in HEADS.items()}
    targets["type"][0] = MASKED
    return Rows(names, tokens, offsets, targets)


SPLITS = {"train": rows(("a", "ü", 'with "quotes"', "line\nfeed", "雪", " "), 1), "test": rows(("1", "2"), 2)}

ALONE = {split: [((), None)] * len(part) for split, part in SPLITS.items()}  # rows of no group and no cluster


@pytest.mark.parametrize("split", SPLITS)
def test_rows_return_as_they_were(tmp_path: Path, split: str) -> None:
    path = tmp_path / "rows.safetensors"
    save_rows(path, SPLITS, 7, ALONE)
    found, pad_id = load_rows(path, split, HEADS)
    expected = SPLITS[split]
    assert pad_id == 7
    assert found.ids == expected.ids
    for name in ("tokens", "offsets"):
        array, wanted = getattr(found, name), getattr(expected, name)
        assert array.dtype == wanted.dtype
        np.testing.assert_array_equal(array, wanted)
    assert set(found.targets) == set(HEADS)
    for head in HEADS:
        np.testing.assert_array_equal(found.targets[head], expected.targets[head])


def test_only_the_heads_that_are_asked_for_are_read(tmp_path: Path) -> None:
    save_rows(tmp_path / "rows", SPLITS, 0, ALONE)
    assert set(load_rows(tmp_path / "rows", "train", ["type"])[0].targets) == {"type"}


def logits() -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(3)
    return {
        split: {head: random.normal(size=(len(part), size)).astype(np.float32) for head, size in HEADS.items()}
        for split, part in SPLITS.items()
    }


def test_logits_return_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "logits.safetensors"
    made = logits()
    save_logits(path, SPLITS, made, "sha256:abc")
    assert logits_made_by(path) == "sha256:abc"
    for split, part in SPLITS.items():
        found = load_logits(path, split, HEADS)
        assert set(found) == set(HEADS)
        for head, (values, targets) in found.items():
            assert values.dtype == np.float64
            np.testing.assert_array_equal(values, made[split][head].astype(np.float64))
            np.testing.assert_array_equal(targets, part.targets[head])


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the order in which splits and heads come."""
    made = logits()
    for name, order in (("one", 1), ("two", -1)):
        splits = dict(list(SPLITS.items())[::order])
        values = {split: dict(list(heads.items())[::order]) for split, heads in made.items()}
        save_logits(tmp_path / f"{name}.logits", splits, values, "sha256:abc")
        save_rows(tmp_path / f"{name}.rows", splits, 1, ALONE)
    assert (tmp_path / "one.logits").read_bytes() == (tmp_path / "two.logits").read_bytes()
    assert (tmp_path / "one.rows").read_bytes() == (tmp_path / "two.rows").read_bytes()


def test_logits_of_nobody(tmp_path: Path) -> None:
    save_file({"test/logits/type": np.zeros((1, 2), dtype=np.float32)}, tmp_path / "logits")
    assert logits_made_by(tmp_path / "logits") == ""


def test_what_rows_belong_to_returns_too(tmp_path: Path) -> None:
    held = {**ALONE, "train": [(("a", "b"), "one"), ((), None), (("b",), None), ((), "two"), ((), None), ((), None)]}
    save_rows(tmp_path / "rows", SPLITS, 0, held)
    assert load_belongings(tmp_path / "rows", "train", 6) == held["train"]
    assert load_belongings(tmp_path / "rows", "test", 2) == ALONE["test"]
