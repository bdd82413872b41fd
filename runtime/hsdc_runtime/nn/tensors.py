"""Tensors on disk: prepared rows, and logits with the one word of metadata that ties them to their weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from hsdc_runtime.nn.batches import Rows

MASKED = -100
Belonging: TypeAlias = tuple[tuple[str, ...], str | None]  # the groups of a row, and its cluster


def save_rows(
    path: Path, splits: Mapping[str, Rows], pad_id: int, belongings: Mapping[str, Sequence[Belonging]]
) -> None:
    """Write prepared rows of several splits, what they belong to if to anything, and the id of the padding token."""
    tensors = {"pad_id": np.array([pad_id], dtype=np.int64)}
    for split, rows in splits.items():
        tensors |= _described(split, rows.ids, rows.targets)
        tensors |= {f"{split}/tokens": rows.tokens, f"{split}/offsets": rows.offsets}
        if any(belonging != ((), None) for belonging in belongings[split]):
            tensors[f"{split}/belongings"] = _written(belongings[split])
    save_file(tensors, path)


def load_rows(path: Path, split: str, heads: Iterable[str]) -> tuple[Rows, int]:
    """The prepared rows of a split, and the id of the padding token."""
    with safe_open(path, "numpy") as file:
        ids, targets = _description(file, split, heads)
        tokens, offsets = file.get_tensor(f"{split}/tokens"), file.get_tensor(f"{split}/offsets")
        return Rows(ids, tokens, offsets, targets), int(file.get_tensor("pad_id")[0])


def load_belongings(path: Path, split: str, rows: int) -> list[Belonging]:
    """The groups of every row of a split, and its cluster."""
    name = f"{split}/belongings"
    with safe_open(path, "numpy") as file:
        if name not in file.keys():  # noqa: SIM118 - it is no mapping
            return [((), None)] * rows
        return [(tuple(groups), cluster) for groups, cluster in json.loads(file.get_tensor(name).tobytes())]


def save_logits(
    path: Path, splits: Mapping[str, Rows], logits: Mapping[str, Mapping[str, np.ndarray]], weights: str
) -> None:
    """Write the logits of several splits with ids and targets; `weights` is the digest of what computed them."""
    tensors = {}
    for split, rows in splits.items():
        tensors |= _described(split, rows.ids, rows.targets)
        tensors |= {f"{split}/logits/{head}": values for head, values in logits[split].items()}
    save_file(tensors, path, metadata={"weights": weights})


def logits_made_by(path: Path) -> str:
    """The digest of the weights that computed the logits of a file; reads no tensor."""
    with safe_open(path, "numpy") as file:
        return str((file.metadata() or {}).get("weights", ""))


def load_ids(path: Path, split: str) -> tuple[str, ...]:
    """The ids of a split's rows, in their order."""
    with safe_open(path, "numpy") as file:
        return _description(file, split, ())[0]


def load_logits(path: Path, split: str, heads: Iterable[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each head its logits float64 [N, K] and targets int64 [N] (-100 where the label is blank)."""
    with safe_open(path, "numpy") as file:
        return {
            head: (
                file.get_tensor(f"{split}/logits/{head}").astype(np.float64),
                file.get_tensor(f"{split}/targets/{head}"),
            )
            for head in heads
        }


def _described(split: str, ids: tuple[str, ...], targets: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{split}/ids": _written(ids), **{f"{split}/targets/{head}": values for head, values in targets.items()}}


def _written(value: object) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def _description(file: safe_open, split: str, heads: Iterable[str]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    ids = tuple(json.loads(file.get_tensor(f"{split}/ids").tobytes()))
    return ids, {head: file.get_tensor(f"{split}/targets/{head}") for head in heads}
