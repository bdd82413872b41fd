"""Texts that are the same, or nearly: 8-byte hashes of what a text comes to, and MinHash over its words."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np

HASHES = 128
BANDS = 32  # of four hashes each: texts that share four fifths of their shingles meet with probability 0.9999
_PRIME = np.uint64((1 << 61) - 1)


def normalised(text: str) -> str:
    """A text without what no reader would call a difference: Unicode form, case, blanks."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def key(text: str) -> int:
    """Eight bytes that stand for a text after normalisation; the same in every process."""
    return _hash(normalised(text))


def shingles(text: str, size: int) -> frozenset[int]:
    """The hashes of all runs of so many words; of a shorter text, of all its words."""
    words = normalised(text).split()
    runs = [" ".join(words[at : at + size]) for at in range(max(1, len(words) - size + 1))]
    return frozenset(map(_hash, runs))


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


def similarity(one: frozenset[int], other: frozenset[int]) -> float:
    """Jaccard similarity of two sets."""
    return len(one & other) / len(one | other) if one or other else 1.0


class Near:
    """Texts seen so far; tells, of a new one, which earlier one it is nearly the same as.

    Locality-sensitive hashing of MinHash signatures finds candidates (Broder 1997; Leskovec et al. 2014, chapter 3), and
    the similarity of the sets of shingles decides.
    """

    def __init__(self, least: float, shingle: int = 3, seed: int = 1) -> None:
        self.least, self.shingle = least, shingle
        rng = np.random.default_rng(seed)
        self._a = rng.integers(1, int(_PRIME), HASHES, dtype=np.uint64) | np.uint64(1)
        self._b = rng.integers(0, int(_PRIME), HASHES, dtype=np.uint64)
        self._buckets: list[dict[bytes, list[int]]] = [{} for _ in range(BANDS)]
        self._sets: list[frozenset[int]] = []

    def add(self, text: str) -> int | None:
        """The number of an earlier text that is as similar as it takes, if any; this one gets the next number."""
        found = shingles(text, self.shingle)
        bands = list(self._bands(found))
        mine = len(self._sets)
        met = (bucket.get(band, ()) for bucket, band in zip(self._buckets, bands, strict=True))
        candidates = sorted({other for others in met for other in others})
        self._sets.append(found)
        for bucket, band in zip(self._buckets, bands, strict=True):
            bucket.setdefault(band, []).append(mine)
        return next((other for other in candidates if similarity(found, self._sets[other]) >= self.least), None)

    def _bands(self, found: frozenset[int]) -> Iterator[bytes]:
        values = np.fromiter(found, dtype=np.uint64, count=len(found))
        with np.errstate(over="ignore"):  # arithmetic modulo 2^64, by odd multipliers
            signature = (values[None, :] * self._a[:, None] + self._b[:, None]).min(axis=1)
        return (band.tobytes() for band in signature.reshape(BANDS, -1))


def repeated(keys: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which of some keys stand earlier, too: bool [N]."""
    values = np.asarray(keys, dtype=np.uint64)
    order = np.argsort(values, kind="stable")
    again = np.zeros(len(values), dtype=bool)
    again[order[1:]] = values[order[1:]] == values[order[:-1]]
    return again
