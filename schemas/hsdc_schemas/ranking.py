"""Figures of probabilities instead of decisions: the area under the ROC curve, and the bias AUCs of groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
POWER = -5.0


def auroc(scores: Array, positive: Array) -> Callable[[Array], Array]:
    """The area under the ROC curve (Mann and Whitney 1947; ties count half), as a function of the rows' weights.

    Scores float64 [N] and whether each row is positive, bool [N]. The function takes weights [draws, N] and gives
    areas [draws], NaN where a draw has no positive or no negative rows.
    """
    order = np.argsort(scores, kind="stable")
    ordered, positives = scores[order], positive[order].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(scores) else np.zeros(0, dtype=np.int64)

    def areas(weights: Array) -> Array:
        if not len(starts):
            return np.full(len(weights), np.nan)
        drawn = weights[:, order]
        above = np.add.reduceat(drawn * positives, starts, axis=1)
        below = np.add.reduceat(drawn * (1 - positives), starts, axis=1)
        pairs = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(pairs / (above.sum(axis=1) * below.sum(axis=1)))

    return areas


def bias_rows(name: str, positive: Array, group: Array, background: Array) -> Array:
    """Which rows a bias AUC of a group is taken over, bool [N] (Borkan et al. 2019, section 3).

    `subgroup_auc`: the group's own; `bpsn_auc`: background positives and subgroup negatives; `bnsp_auc`: background
    negatives and subgroup positives. `group` and `background` say which rows are of either; none is of both.
    """
    behind = background & ~group
    if name == "subgroup_auc":
        return group
    if name == "bpsn_auc":
        return (behind & positive) | (group & ~positive)
    if name == "bnsp_auc":
        return (behind & ~positive) | (group & positive)
    raise ValueError(f"'{name}' is no bias AUC")


def generalised_mean(values: Sequence[Array]) -> Array:
    """The power mean of groups' AUCs with exponent -5, which weighs the worst group most (Borkan et al. 2019)."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.mean(np.power(np.stack(values), POWER), axis=0) ** (1 / POWER))
