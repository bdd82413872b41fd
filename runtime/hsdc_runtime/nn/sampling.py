"""Which rows an epoch sees, in which order, in which steps and micro-batches: functions of their arguments alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from hsdc_runtime.nn.randomness import derive_seed
from hsdc_schemas.encoder import Head, JointOversampling

MASKED = -100
"""Target of a row that has no label for a head."""


def joint_weights(
    targets: Mapping[str, np.ndarray], heads: Mapping[str, Head], sampling: JointOversampling
) -> np.ndarray:
    """Weight of each row, float64 [N], by the joint cell of its targets (int64 [N] per head) over all heads.

    min(max_multiplier, (largest cell / its cell) ** alpha) times the boosts of its labels; a masked target is a cell
    value of its own. KeyError or ValueError for a boost of an unknown head or label.
    """
    table = np.stack([np.asarray(targets[name], dtype=np.int64) for name in sorted(heads)], axis=1)
    _, cell, sizes = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    ratio = sizes.max(initial=1) / sizes
    weights = np.minimum(sampling.max_multiplier, ratio**sampling.alpha)[cell.reshape(-1)]
    for name, factors in sorted(sampling.boosts.items()):
        for label, factor in sorted(factors.items()):
            weights[targets[name] == heads[name].labels.index(label)] *= factor
    return weights


def epoch_order(rows: int, weights: np.ndarray | None, seed: int, epoch: int) -> np.ndarray:
    """Row numbers of one epoch, int64 [rows]: a permutation, or draws with replacement in proportion to weights."""
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "order", epoch)))
    if weights is None:
        return generator.permutation(rows).astype(np.int64)
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    drawn = np.searchsorted(edges, generator.random(rows) * edges[-1], side="right")
    return np.minimum(drawn, rows - 1).astype(np.int64)


def steps_of(order: np.ndarray, rows_per_step: int) -> list[np.ndarray]:
    """The order cut into optimizer steps; the last may be shorter."""
    return [order[start : start + rows_per_step] for start in range(0, len(order), rows_per_step)]


def micro_batch_cost(token_budget: int) -> int:
    """What one more micro-batch costs, in padded tokens: a 64th of the budget, at least 8.

    At the budget of a CPU (2048) that is about what its launches take there (measured: 25 to 45 tokens); a device that
    is given a larger budget computes more tokens in the same time.
    """
    return max(8, token_budget // 64)


def micro_batches(rows: np.ndarray, lengths: np.ndarray, token_budget: int, copies: int = 1) -> list[np.ndarray]:
    """The rows of one step, sorted stably by length and cut into micro-batches of few padded tokens.

    `lengths` holds the length of every row of the data, so that a row's is `lengths[row]`. Each micro-batch holds
    rows × copies × longest ≤ token_budget, save that a single row may exceed it. The cut is the one of least padded
    tokens plus `micro_batch_cost` for each micro-batch; among equals, the one whose last micro-batch is largest.
    """
    ordered = rows[np.argsort(lengths[rows], kind="stable")]
    fixed = micro_batch_cost(token_budget)
    long = lengths[ordered].astype(np.int64) * copies
    least = np.zeros(len(ordered) + 1, dtype=np.int64)
    start = np.zeros(len(ordered) + 1, dtype=np.int64)
    for end in range(1, len(ordered) + 1):
        width = max(1, token_budget // max(1, int(long[end - 1])))
        first = np.arange(max(0, end - width), end)
        cost = least[first] + (end - first) * long[end - 1] + fixed
        best = int(cost.argmin())
        least[end], start[end] = cost[best], first[best]
    cuts = [len(ordered)]
    while cuts[-1] > 0:
        cuts.append(int(start[cuts[-1]]))
    return [ordered[low:high] for high, low in pairwise(cuts)][::-1]
