"""Conversations to learn from: tokens of which those of the answer, at the end, are supervised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor

FIELDS = ("tokens", "offsets", "starts")
SHARED = -1  # in place of a row's number: a token that all rows begin with


@dataclass(frozen=True, eq=False)
class Examples:
    """Flat tokens int32, offsets int64 [N + 1], and for each row the number of tokens before its answer, int64 [N].

    ValueError where the offsets do not fit the tokens, or a row has no token of an answer, or none before it.
    """

    ids: tuple[str, ...]
    tokens: np.ndarray
    offsets: np.ndarray
    starts: np.ndarray

    def __post_init__(self) -> None:
        rows = len(self.ids)
        if self.offsets.shape != (rows + 1,) or self.offsets[0] != 0 or self.offsets[-1] != len(self.tokens):
            raise ValueError(f"the offsets do not fit {rows} rows of {len(self.tokens)} tokens in all")
        wrong = (self.starts < 1) | (self.starts >= self.lengths)
        if wrong.any():
            raise ValueError(f"row {self.ids[int(wrong.argmax())]} has nothing to learn, or nothing to learn it from")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [N]."""
        return np.diff(self.offsets).astype(np.int64)

    @cached_property
    def supervised(self) -> np.ndarray:
        """Tokens of each row's answer, int64 [N]."""
        return self.lengths - self.starts

    @cached_property
    def shared(self) -> int:
        """How many tokens all rows begin with; the last one before an answer is each row's own."""
        most = int(self.starts.min()) - 1
        beginnings = self.tokens[self.offsets[:-1, None] + np.arange(most)]
        other = (beginnings != beginnings[0]).any(axis=0)
        return int(other.argmax()) if other.any() else most

    @property
    def own(self) -> np.ndarray:
        """Tokens of each row without those that all begin with, int64 [N]."""
        return self.lengths - self.shared

    def of(self, row: int) -> np.ndarray:
        """The tokens of a row."""
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows in one pass: tokens [B, T] with their positions, a mask, and what is looked up in the logits.

    `mask` is 1 where a token is [B, T], or where rows are packed the row that each token is of [1, T], SHARED where it
    is of all of them. The logits after column `keep[i]` are asked for; `at` [S, 2] are the line of the batch and the
    number in `keep` of each supervised token, and `targets` [S] these tokens, row by row.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    keep: Tensor
    at: Tensor
    targets: Tensor
    packed: bool


def padded(examples: Examples, rows: np.ndarray, pad_id: int) -> Batch:
    """Each row in a line of its own, padded at its end to the longest."""
    lengths = examples.lengths[rows]
    columns = np.arange(int(lengths.max()))
    mask = columns < lengths[:, None]
    tokens = np.full(mask.shape, pad_id, dtype=np.int64)
    tokens[mask] = np.concatenate([examples.of(row) for row in rows.tolist()])
    line, column = np.nonzero(mask & (columns >= examples.starts[rows][:, None]))
    return _batch(tokens, np.broadcast_to(columns, mask.shape), mask.astype(np.int64), line, column, False)


def packed(examples: Examples, rows: np.ndarray) -> Batch:
    """All rows in one line, one behind the other, each from its position on; what all begin with is there once."""
    shared, own = examples.shared, examples.own[rows]
    beginning = examples.of(int(rows[0]))[:shared]
    tokens = np.concatenate([beginning, *(examples.of(row)[shared:] for row in rows.tolist())]).astype(np.int64)
    owner = np.repeat(np.arange(SHARED, len(rows)), [shared, *own])
    positions = np.arange(len(tokens)) - np.repeat([0, *np.cumsum(own) - own], [shared, *own])
    answers = np.repeat([len(tokens), *examples.starts[rows]], [shared, *own])
    column = np.nonzero(positions >= answers)[0]
    return _batch(tokens[None], positions[None], owner[None], np.zeros_like(column), column, True)


def _batch(
    tokens: np.ndarray, positions: np.ndarray, mask: np.ndarray, line: np.ndarray, column: np.ndarray, packed: bool
) -> Batch:
    """The logits that tell a token are those after the one before it."""
    keep, number = np.unique(column - 1, return_inverse=True)
    arrays = (tokens, positions, mask, keep, np.stack([line, number.reshape(-1)], axis=1), tokens[line, column])
    return Batch(*(torch.from_numpy(np.array(array)) for array in arrays), packed)


def packs(rows: np.ndarray, own: np.ndarray, budget: int, shared: int = 0) -> list[np.ndarray]:
    """The rows of a step, in their order, in packs of at most `budget` tokens, save that a row alone may exceed it.

    `own` are the tokens of each row, besides the shared ones that every pack has.
    """
    cuts, filled = [0], shared
    for number, row in enumerate(rows.tolist()):
        if number > cuts[-1] and filled + own[row] > budget:
            cuts.append(number)
            filled = shared
        filled += int(own[row])
    return np.split(rows, cuts[1:])


def save_examples(path: Path, splits: Mapping[str, Examples], pad_id: int) -> None:
    """Write the examples of several splits, and the id of the token that pads."""
    tensors = {"pad_id": np.array([pad_id], dtype=np.int64)}
    for split, rows in splits.items():
        tensors[f"{split}/ids"] = np.frombuffer(json.dumps(rows.ids).encode(), dtype=np.uint8)
        tensors |= {f"{split}/{name}": getattr(rows, name) for name in FIELDS}
    save_file(tensors, path)


def load_examples(path: Path, split: str) -> tuple[Examples, int]:
    """The examples of a split, and the id of the token that pads."""
    with safe_open(path, "numpy") as file:
        ids = tuple(json.loads(file.get_tensor(f"{split}/ids").tobytes()))
        return Examples(ids, *(file.get_tensor(f"{split}/{name}") for name in FIELDS)), int(
            file.get_tensor("pad_id")[0]
        )
