"""Which rows a data run keeps, and in which split: filters in their order, then splits, leakage, a draw."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from hsdc_runtime.making.likeness import Near, key
from hsdc_schemas.making import AtLeast, Distinct, Leakage, Length, NotSimilar, OneOf

Row = Mapping[str, Any]
Filter = AtLeast | Length | OneOf | Distinct | NotSimilar
DROPPED = 255  # in place of a split's number


def passing(rule: Filter) -> Callable[[Row], bool]:
    """Whether rows pass a filter, asked of one after the other."""
    match rule:
        case AtLeast(column=column, minimum=minimum):
            return lambda row: row[column] is not None and row[column] >= minimum
        case Length(column=column, minimum=minimum, maximum=maximum):
            most = float("inf") if maximum is None else maximum
            return lambda row: minimum <= len(row[column] or "") <= most
        case OneOf(column=column, values=values):
            kept = frozenset(values)
            return lambda row: row[column] in kept
        case Distinct(column=column):
            seen: set[int] = set()
            return lambda row: _first(key(str(row[column])), seen)
        case NotSimilar(column=column, similarity=similarity, shingle=shingle):
            near = Near(similarity, shingle)
            return lambda row: near.add(str(row[column])) is None


def _first(value: int, seen: set[int]) -> bool:
    before = len(seen)
    seen.add(value)
    return len(seen) > before


def named(rule: Filter) -> str:
    """What a filter is called where rows are counted."""
    match rule:
        case AtLeast(column=column, minimum=minimum):
            return f"{column} under {minimum:g}"
        case Length(column=column, minimum=minimum, maximum=maximum):
            return f"length of {column} not {minimum} to {'any' if maximum is None else maximum}"
        case OneOf(column=column):
            return f"{column} not among the values"
        case Distinct(column=column):
            return f"{column} seen before"
        case NotSimilar(column=column, similarity=similarity):
            return f"{column} similar by {similarity:g}"


def rank(seed: int, name: str) -> int:
    """Where a name stands in the order that a seed gives: 8 bytes."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{name}".encode(errors="surrogatepass")).digest()[:8], "big")


def drawn(shares: Sequence[float], ranks: np.ndarray, strata: np.ndarray, units: np.ndarray | None) -> np.ndarray:
    """The number of the split of each row, uint8 [rows], from the rank of each row (or of its unit) and its stratum.

    Each stratum is shared out on its own, by ranks, to the nearest row. Rows of one unit go together: then shares are
    met as nearly as units allow, a unit being of the stratum that most of its rows are of.
    """
    found = np.zeros(len(ranks), dtype=np.uint8)
    if units is not None:
        return _by_units(shares, ranks, strata, units)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        rows = rows[np.argsort(ranks[rows], kind="stable")]
        ends = np.rint(np.cumsum(shares) * len(rows)).astype(int)
        for number, (start, end) in enumerate(pairwise((0, *ends.tolist()))):
            found[rows[start:end]] = number
    return found


def _by_units(shares: Sequence[float], ranks: np.ndarray, strata: np.ndarray, units: np.ndarray) -> np.ndarray:
    sizes = np.bincount(units)
    place = np.zeros(len(sizes), dtype=np.uint64)
    place[units] = ranks
    most = np.zeros((len(sizes), int(strata.max()) + 1 if len(strata) else 1), dtype=np.int64)
    np.add.at(most, (units, strata), 1)
    stratum, chosen = most.argmax(axis=1), np.zeros(len(sizes), dtype=np.uint8)
    for name in np.unique(stratum):
        given = np.zeros(len(shares))
        members = np.flatnonzero(stratum == name)
        for unit in members[np.argsort(place[members], kind="stable")].tolist():
            owed = np.asarray(shares) * (given.sum() + sizes[unit]) - given
            chosen[unit] = int(np.argmax(owed))
            given[chosen[unit]] += sizes[unit]
    return chosen[units]


def leaks(
    leakage: Leakage, keys: np.ndarray, texts: Sequence[str], splits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose text stands in a later split, too: the same (by `keys`), and nearly the same; bool [rows] each.

    Of a text in several splits the last one, in the order of the splits, keeps it: what is scored stays as it is.
    `texts` may be empty where nearly the same ones are allowed.
    """
    same, near = np.zeros(len(keys), dtype=bool), np.zeros(len(keys), dtype=bool)
    if leakage.exact != "allow":
        same = _elsewhere(keys, splits)
    if leakage.similar != "allow":
        index, places = Near(leakage.similarity), []
        order = np.argsort(-splits.astype(np.int64), kind="stable")
        for row in order[splits[order] != DROPPED].tolist():
            if same[row]:
                continue
            found = index.add(texts[row])
            places.append(row)
            near[row] = found is not None and splits[places[found]] != splits[row]
    return same, near


def _elsewhere(keys: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Rows whose key stands in a split with a higher number: bool [rows]."""
    kept = np.flatnonzero(splits != DROPPED)
    _, group = np.unique(keys[kept], return_inverse=True)
    last = np.zeros(int(group.max()) + 1 if len(group) else 0, dtype=np.uint8)
    np.maximum.at(last, group, splits[kept])
    found = np.zeros(len(keys), dtype=bool)
    found[kept] = splits[kept] < last[group]
    return found


def beyond(rows: int, ranks: np.ndarray, strata: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """Rows outside a draw of at most so many from each split, each stratum in proportion: bool [rows]."""
    out = np.zeros(len(ranks), dtype=bool)
    for split in np.unique(splits[splits != DROPPED]):
        inside = np.flatnonzero(splits == split)
        if len(inside) <= rows:
            continue
        names, sizes = np.unique(strata[inside], return_counts=True)
        counts = rows * sizes // len(inside)
        rest = np.lexsort((names, -(rows * sizes % len(inside))))[: rows - int(counts.sum())]
        counts[rest] += 1
        for name, count in zip(names, counts, strict=True):
            members = inside[strata[inside] == name]
            out[members[np.argsort(ranks[members], kind="stable")][count:]] = True
    return out
