"""Tokenised rows, their padding to batches, and predictions over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hsdc_runtime.nn.group import ALONE, Group
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.sampling import micro_batches


@dataclass(frozen=True, eq=False)
class Rows:
    """Tokenised rows: flat tokens int32, offsets int64 [N + 1], and targets int64 [N] per head (-100 is masked).

    ValueError where the offsets do not fit the tokens, a row is empty, or a head's targets are not one per row.
    """

    ids: tuple[str, ...]
    tokens: np.ndarray
    offsets: np.ndarray
    targets: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        rows = len(self.ids)
        if self.offsets.shape != (rows + 1,) or self.offsets[0] != 0 or self.offsets[-1] != len(self.tokens):
            raise ValueError(f"the offsets do not fit {rows} rows of {len(self.tokens)} tokens in all")
        if rows and int(self.lengths.min()) < 1:
            raise ValueError(f"row {self.ids[int(self.lengths.argmin())]} has no tokens")
        for name, targets in self.targets.items():
            if targets.shape != (rows,):
                raise ValueError(f"head {name} has targets of shape {targets.shape} for {rows} rows")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [N]."""
        return np.diff(self.offsets).astype(np.int64)

    def pad(self, rows: np.ndarray, pad_id: int, copies: int = 1) -> tuple[Tensor, Tensor]:
        """Tokens and their mask, int64 [copies × rows, longest]; the copies follow one another along the batch."""
        lengths = self.lengths[rows]
        mask = np.arange(int(lengths.max())) < lengths[:, None]
        tokens = np.full(mask.shape, pad_id, dtype=np.int64)
        tokens[mask] = np.concatenate([self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows.tolist()])
        tiles = (copies, 1)
        return torch.from_numpy(np.tile(tokens, tiles)), torch.from_numpy(np.tile(mask.astype(np.int64), tiles))


def predict(
    classifier: Classifier,
    rows: Rows,
    pad_id: int,
    token_budget: int,
    device: str | torch.device,
    autocast: bool,
    group: Group = ALONE,
) -> dict[str, np.ndarray]:
    """Logits of every head, float32 [N, K], in the order of the rows; the classifier must be on the device.

    Batches by length within the token budget, without dropout; `autocast` runs the encoder in bfloat16. A group
    shares the batches, and each of its processes gets all logits.
    """
    device = torch.device(device)
    training = classifier.training
    classifier.eval()
    logits = {name: np.zeros((len(rows), classifier.classes[name]), dtype=np.float32) for name in classifier.head_names}
    try:
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
            for batch in micro_batches(np.arange(len(rows)), rows.lengths, token_budget)[group.rank :: group.size]:
                tokens, mask = rows.pad(batch, pad_id)
                for name, values in classifier(tokens.to(device), mask.to(device)).items():
                    logits[name][batch] = values.float().cpu().numpy()
    finally:
        classifier.train(training)
    return {name: group.united(torch.from_numpy(values).to(device)).cpu().numpy() for name, values in logits.items()}
