"""Many sequences in one forward pass: no padding, shared tokens once, and a mask that keeps sequences apart.

All tokens of a pass, of whatever row, lie behind one another in one sequence. What the model remembers of a token (its
keys and values in every layer) is a cell. A cell belongs to a row and, within it, to the trunk or to one of several
branches that continue the trunk; cells of the shared prefix belong to all rows. A token sees the shared cells that its
row begins with, its row's trunk and its own branch, as far as they stand before it: the same tokens, at the same
positions, as if its sequence were computed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

SHARED, TRUNK = -1, 0


@dataclass(frozen=True)
class Span:
    """Tokens to compute: those of a row from a position on, in its trunk or in a branch (1, 2, …).

    `shared` is how many cells of the shared prefix the row begins with.
    """

    row: int
    tokens: Sequence[int]
    position: int
    shared: int = 0
    branch: int = TRUNK


class Cells:
    """The cells of a model, which must be in evaluation mode; `check` is called before every pass, and may raise."""

    def __init__(self, model: PreTrainedModel, check: Callable[[], object] = lambda: None) -> None:
        self.model, self.check = model, check
        self.passes = self.tokens = 0
        self.prefix = 0
        self._start: list[tuple[Tensor, Tensor]] = []
        self.clear()

    def __len__(self) -> int:
        return self._what.shape[1]

    def clear(self) -> None:
        """Forget all cells but the shared ones."""
        self._cache = DynamicCache()
        for layer, (keys, values) in enumerate(self._start):
            self._cache.update(keys, values, layer)
        shared = [SHARED] * self.prefix, [TRUNK] * self.prefix, range(self.prefix)
        self._what = self._numbers([list(values) for values in shared]).reshape(3, -1)

    def share(self, tokens: Sequence[int], most: int) -> None:
        """Compute the shared prefix, at most so many tokens a pass; what was there is forgotten."""
        self.prefix, self._start = 0, []
        self.clear()
        for start in range(0, len(tokens), most):
            self.forward([Span(SHARED, tokens[start : start + most], start, start)], [])
        self.prefix = len(tokens)
        self._start = [(layer.keys, layer.values) for layer in self._cache.layers]
        self.passes = self.tokens = 0

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span], keep: Sequence[int]) -> Tensor:
        """Compute the tokens of all spans, one span behind the other, and remember their cells.

        Logits float32 [K, vocabulary] after the tokens with the numbers `keep`, counted over all spans.
        """
        self.check()
        new = self._numbers(
            [(span.row, span.branch, span.position + place) for span in spans for place in range(len(span.tokens))]
        ).T
        shared = self._numbers([span.shared for span in spans for _ in span.tokens])
        self._what = torch.cat([self._what, new], dim=1)
        found = self.model(
            input_ids=self._numbers([[token for span in spans for token in span.tokens]]),
            attention_mask=_mask(new, shared, self._what, self.model.dtype),
            position_ids=new[2][None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=self._numbers(list(keep) or [0]),
        )
        self.passes += 1
        self.tokens += new.shape[1]
        return found.logits[0, : len(keep)].float()

    def drop(self, rows: set[int]) -> None:
        """Forget the cells of some rows."""
        stay = ~torch.isin(self._what[0], self._numbers(sorted(rows)))
        self._what = self._what[:, stay]
        columns = stay.nonzero()[:, 0]
        for layer in self._cache.layers:
            layer.keys = layer.keys.index_select(2, columns)
            layer.values = layer.values.index_select(2, columns)

    def _numbers(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.model.device)


def _mask(asking: Tensor, shared: Tensor, cells: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to the scores of attention [1, 1, queries, cells]: 0 where a token sees a cell, else -infinity."""
    row, branch, position = (values[:, None] for values in asking)
    of_row = (cells[0] == row) & ((cells[1] == TRUNK) | (cells[1] == branch)) & (cells[2] <= position)
    seen = of_row | ((cells[0] == SHARED) & (cells[2] < shared[:, None]))
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)[None, None]
