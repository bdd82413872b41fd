"""Which split a row is in: drawn by shares, kept apart from the same text in others, and at most so many."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

import numpy as np

from hsdc_runtime.making.kept import DROPPED
from hsdc_runtime.making.likeness import Near
from hsdc_schemas.making import Leakage


def ranks(seed: int, names: Sequence[str]) -> np.ndarray:
    """Where names stand in the order that a seed gives: uint64 [names], the first 8 bytes of SHA-256."""
    start = sha256(f"{seed}\n".encode())
    found = []
    for name in names:
        digest = start.copy()
        digest.update(name.encode(errors="surrogatepass"))
        found.append(digest.digest()[:8])
    return np.frombuffer(b"".join(found), dtype=">u8").astype(np.uint64)


def drawn(shares: Sequence[float], ranks: np.ndarray, strata: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """The number of the split of each row, uint8 [rows], from the rank of each row (or of its unit) and its stratum.

    Each stratum is shared out on its own, by ranks, to the nearest row. Rows of one unit go together: then shares are
    met as nearly as units allow, a unit being of the stratum that most of its rows are of.
    """
    found = np.zeros(len(ranks), dtype=np.uint8)
    if units is not None:
        return _by_units(shares, ranks, strata, units)
    for rows in _groups(strata):
        rows = rows[np.argsort(ranks[rows], kind="stable")]
        ends = np.rint(np.cumsum(shares) * len(rows)).astype(int)
        ends[-1] = len(rows)
        for number, (start, end) in enumerate(pairwise((0, *ends.tolist()))):
            found[rows[start:end]] = number
    return found


def _groups(codes: np.ndarray) -> list[np.ndarray]:
    """The rows of each code, in their order."""
    order = np.argsort(codes, kind="stable")
    return [rows for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(rows)]


def _by_units(shares: Sequence[float], ranks: np.ndarray, strata: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Larger units first, each to the split that its stratum owes most rows; ranks decide among equal ones."""
    _, units = np.unique(units, return_inverse=True)
    if not len(units):
        return np.zeros(0, dtype=np.uint8)
    sizes = np.bincount(units)
    place = np.zeros(len(sizes), dtype=np.uint64)
    place[units] = ranks
    stratum = _most_frequent(units, strata)
    chosen = np.zeros(len(sizes), dtype=np.uint8)
    for members in _groups(stratum):
        total, given = int(sizes[members].sum()), np.zeros(len(shares))
        for unit in members[np.lexsort((place[members], -sizes[members]))].tolist():
            chosen[unit] = int(np.argmax(np.asarray(shares) * total - given))
            given[chosen[unit]] += sizes[unit]
    return chosen[units]


def _most_frequent(units: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """The stratum that most rows of each unit are of, the lowest of equally frequent ones."""
    pairs, counts = np.unique(np.stack([units, strata]), axis=1, return_counts=True)
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    first = np.unique(pairs[0][order], return_index=True)[1]
    found: np.ndarray = pairs[1][order][first]
    return found


def leaks(
    leakage: Leakage, keys: np.ndarray, texts: Sequence[str], splits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of rows whose text stands in a later split, too, a row there: the same (by `keys`), and nearly the same.

    int32 [rows] each, -1 for the other rows. Of a text in several splits the last one, in the order of the splits,
    keeps it: what is scored stays as it is. `texts` may be empty where nearly the same ones are allowed.
    """
    same, near = np.full((2, len(splits)), -1, dtype=np.int32)
    if leakage.exact != "allow":
        same = _elsewhere(keys, splits)
    if leakage.similar == "allow":
        return same, near
    index = _Later(leakage.similarity)
    order = np.flatnonzero((splits != DROPPED) & (same < 0))
    for split in np.unique(splits[order])[::-1]:
        rows = order[splits[order] == split]
        near[rows] = index.meet(rows, [texts[row] for row in rows.tolist()])
    return same, near


class _Later:
    """The texts of later splits; those of one split are compared with them, not with each other."""

    def __init__(self, least: float) -> None:
        self._near, self._rows = Near(least), np.zeros(0, dtype=np.int64)

    def meet(self, rows: np.ndarray, texts: Sequence[str]) -> list[int]:
        before = self._rows
        self._rows = np.concatenate([before, rows])
        return [int(before[at]) if at is not None and at < len(before) else -1 for at in self._near.add(texts)]


def _elsewhere(keys: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Of rows whose key stands in a split with a higher number, the first row in the highest: int32 [rows], else -1."""
    kept = np.flatnonzero(splits != DROPPED).astype(np.int32)
    order = kept[np.lexsort((-splits[kept].astype(np.int16), keys[kept]))]
    values = keys[order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = values[1:] != values[:-1]
    starts = np.flatnonzero(begins)
    first = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    found = np.full(len(splits), -1, dtype=np.int32)
    found[order] = np.where(splits[order] < splits[first], first, -1)
    return found


def beyond(rows: int, ranks: np.ndarray, strata: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Rows outside a draw of at most so many from each split, each stratum in proportion: bool [rows].

    What proportions leave over goes to the strata with the largest remainders.
    """
    out = np.zeros(len(splits), dtype=bool)
    for split in np.unique(splits[splits != DROPPED]):
        inside = np.flatnonzero(splits == split)
        if len(inside) <= rows:
            continue
        names, sizes = np.unique(strata[inside], return_counts=True)
        counts, remainders = rows * sizes // len(inside), rows * sizes % len(inside)
        counts[np.lexsort((names, -remainders))[: rows - int(counts.sum())]] += 1
        for name, count in zip(names, counts, strict=True):
            members = inside[strata[inside] == name]
            out[members[np.argsort(ranks[members], kind="stable")][count:]] = True
    return out
