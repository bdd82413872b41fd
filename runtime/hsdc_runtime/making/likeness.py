"""Texts that are the same, or nearly: what is left of a text when it is normalised, and MinHash over its words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from zlib import crc32

import numpy as np

HASHES = 128
BANDS = 32  # of four hashes each: texts that share four fifths of their shingles meet with probability 0.9999999
GROUP = 256  # texts whose signatures are taken at once


def normalised(text: str) -> str:
    """A text without what no reader would call a difference: Unicode form, case, blanks."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def keys(texts: Sequence[str]) -> list[int]:
    """Eight bytes that stand for each text after normalisation, in this process."""
    return [hash(normalised(text)) for text in texts]


def shingles(text: str, size: int) -> frozenset[int]:
    """The hashes, 4 bytes each, of all runs of so many words; of a shorter text, of all its words."""
    words = normalised(text).split()
    runs = (" ".join(words[at : at + size]) for at in range(max(1, len(words) - size + 1)))
    return frozenset(crc32(run.encode(errors="surrogatepass")) for run in runs)


def similarity(one: frozenset[int], other: frozenset[int]) -> float:
    """Jaccard similarity of two sets that are not empty."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


class Near:
    """Texts seen so far; tells, of a new one, which earlier one it is nearly the same as.

    Locality-sensitive hashing of MinHash signatures finds candidates (Broder 1997; Leskovec et al. 2014, chapter 3),
    and the similarity of the sets of shingles decides. The same in every process: no hash is salted.
    """

    def __init__(self, least: float, shingle: int = 3, seed: int = 1) -> None:
        self.least, self.shingle = least, shingle
        rng = np.random.default_rng(seed)
        self._a = rng.integers(0, 1 << 63, HASHES, dtype=np.uint64) | np.uint64(1)
        self._b = rng.integers(0, 1 << 63, HASHES, dtype=np.uint64)
        self._mix = rng.integers(0, 1 << 63, HASHES // BANDS, dtype=np.uint64) | np.uint64(1)
        self._buckets: list[dict[int, list[int]]] = [{} for _ in range(BANDS)]
        self._sets: list[frozenset[int]] = []

    @property
    def count(self) -> int:
        """How many texts came so far."""
        return len(self._sets)

    def add(self, texts: Sequence[str]) -> list[int | None]:
        """The number of an earlier text that each is as similar to as it takes, if any; each gets the next number."""
        found: list[int | None] = []
        for start in range(0, len(texts), GROUP):
            sets = [shingles(text, self.shingle) for text in texts[start : start + GROUP]]
            found += [self._one(mine, bands) for mine, bands in zip(sets, self._bands(sets).tolist(), strict=True)]
        return found

    def _one(self, mine: frozenset[int], bands: list[int]) -> int | None:
        number = len(self._sets)
        candidates: set[int] = set()
        for bucket, band in zip(self._buckets, bands, strict=True):
            members = bucket.setdefault(band, [])
            candidates.update(members)
            members.append(number)
        self._sets.append(mine)
        alike = (other for other in sorted(candidates) if similarity(mine, self._sets[other]) >= self.least)
        return next(alike, None)

    def _bands(self, sets: Sequence[frozenset[int]]) -> np.ndarray:
        """The bands of the MinHash signature of each set, 8 bytes each: uint64 [sets, BANDS]."""
        values = np.fromiter((value for found in sets for value in found), dtype=np.uint64)
        starts = np.cumsum([0, *map(len, sets)])[:-1]
        with np.errstate(over="ignore"):  # arithmetic modulo 2^64, of which the upper half is used
            hashes = (values[None, :] * self._a[:, None] + self._b[:, None]) >> np.uint64(32)
            least = np.minimum.reduceat(hashes, starts, axis=1)
            bands = least.reshape(BANDS, -1, len(sets)) * self._mix[None, :, None]
            mixed: np.ndarray = bands.sum(axis=1, dtype=np.uint64).T
        return mixed


def repeated(values: np.ndarray) -> np.ndarray:
    """Which of some keys stand earlier, too: bool [N]."""
    order = np.argsort(values, kind="stable")
    again = np.zeros(len(values), dtype=bool)
    again[order[1:]] = values[order[1:]] == values[order[:-1]]
    return again
