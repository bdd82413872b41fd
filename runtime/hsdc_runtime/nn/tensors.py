"""Tensors on disk: prepared rows, and logits with the one word of metadata that ties them to their weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from hsdc_runtime.nn.batches import Rows

MASKED = -100


def save_rows(path: Path, splits: Mapping[str, Rows], pad_id: int) -> None:
    """Write prepared rows of several splits, and the id of the padding token."""
    tensors = {"pad_id": np.array([pad_id], dtype=np.int64)}
    for split, rows in splits.items():
        tensors |= _described(split, rows.ids, rows.targets)
        tensors |= {f"{split}/tokens": rows.tokens, f"{split}/offsets": rows.offsets}
    save_file(tensors, path)


def load_rows(path: Path, split: str, heads: Iterable[str]) -> tuple[Rows, int]:
    """The prepared rows of a split, and the id of the padding token."""
    with safe_open(path, "numpy") as file:
        ids, targets = _description(file, split, heads)
        tokens, offsets = file.get_tensor(f"{split}/tokens"), file.get_tensor(f"{split}/offsets")
        return Rows(ids, tokens, offsets, targets), int(file.get_tensor("pad_id")[0])


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
    written = np.frombuffer(json.dumps(ids).encode(), dtype=np.uint8)
    return {f"{split}/ids": written, **{f"{split}/targets/{head}": values for head, values in targets.items()}}


def _description(file: safe_open, split: str, heads: Iterable[str]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    ids = tuple(json.loads(file.get_tensor(f"{split}/ids").tobytes()))
    return ids, {head: file.get_tensor(f"{split}/targets/{head}") for head in heads}
