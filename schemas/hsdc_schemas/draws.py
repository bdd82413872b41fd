"""Draws of rows: a function of the rows' ids and a seed, the same on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from hsdc_schemas.components import Subset
from hsdc_schemas.digests import digest_json
from hsdc_schemas.rows import Row


def draw(rows: Sequence[Row], subset: Subset) -> tuple[Row, ...]:
    """The rows of a subset, in the order that they have in the split.

    Within each label (or among all rows) they are those with the lowest digests of seed and id. Shares of labels are
    rounded by largest remainder. Raises ValueError where the split has fewer rows than are drawn.
    """
    if subset.rows > len(rows):
        raise ValueError(f"{subset.rows} rows are drawn from {len(rows)}")
    strata: dict[str, list[Row]] = {}
    for row in rows:
        label = row.labels[subset.stratify] if subset.stratify else ""
        strata.setdefault(label or "", []).append(row)
    taken: set[str] = set()
    for label, count in _shares({label: len(found) for label, found in strata.items()}, subset.rows).items():
        order = sorted(strata[label], key=lambda row: _rank(subset.seed, row.id))
        taken |= {row.id for row in order[:count]}
    return tuple(row for row in rows if row.id in taken)


def rows_digest(rows: Iterable[Row]) -> str:
    """The digest of some rows: ids, texts, labels, groups, fields and their order."""
    return digest_json([[row.id, row.text, dict(row.labels), list(row.groups), dict(row.fields)] for row in rows])


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode()).digest()


def _shares(sizes: dict[str, int], wanted: int) -> Counter[str]:
    """How many to take of each stratum, in proportion; what rounding leaves goes to the largest remainders."""
    total = sum(sizes.values())
    counts = Counter({label: wanted * size // total for label, size in sizes.items()})
    remainders = sorted(sizes, key=lambda label: (-(wanted * sizes[label] % total), label))
    counts.update(remainders[: wanted - counts.total()])
    return counts
