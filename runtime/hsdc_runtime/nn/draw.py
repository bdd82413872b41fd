"""The next token from logits: the likeliest one, or one drawn without any generator state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hsdc_runtime.nn.randomness import derive_seed

FEW = 1024


@dataclass(frozen=True, slots=True)
class Draws:
    """How tokens are drawn from softmax(logits / temperature): of the `top_k` likeliest (0: of all), and of these of

    the fewest whose share reaches `top_p` (Holtzman et al. 2020).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


def draw(logits: np.ndarray, draws: Draws, row: str, step: int) -> int:
    """A token for a row's answer at a step, from float32 [V]: a function of its arguments, whatever else is drawn."""
    scaled = logits.astype(np.float64) / draws.temperature
    chances = np.exp(scaled - scaled.max())
    chances /= chances.sum()
    tokens = _likeliest(chances, draws.top_k, draws.top_p)
    edges = np.cumsum(chances[tokens])
    point = derive_seed(draws.seed, "draw", row, step) / 2**63 * edges[-1]
    return int(tokens[min(int(np.searchsorted(edges, point, side="right")), len(tokens) - 1)])


def _likeliest(chances: np.ndarray, top_k: int, top_p: float) -> np.ndarray:
    """The tokens that may be drawn, the likeliest first, the lower id first among equals."""
    if not top_k and top_p >= 1:
        return np.arange(len(chances))
    tokens = _first(chances, top_k or FEW)
    if not top_k and chances[tokens].sum() < top_p:
        tokens = _first(chances, len(chances))
    reach = np.cumsum(chances[tokens]) / (chances[tokens].sum() if top_k else 1.0)
    return tokens[: int(np.searchsorted(reach, top_p, side="left")) + 1]


def _first(chances: np.ndarray, count: int) -> np.ndarray:
    """The so many likeliest tokens in their order; sorting all of a vocabulary takes milliseconds."""
    tokens = np.arange(len(chances))
    if count < len(tokens):
        tokens = np.flatnonzero(chances >= np.partition(chances, -count)[-count])
    return tokens[np.argsort(-chances[tokens], kind="stable")][:count]
