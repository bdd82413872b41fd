"""What is counted of the rows that are written: lengths of texts, and the values of columns that have few."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from hsdc_runtime.making.filters import written
from hsdc_runtime.making.kept import Columns

FEW = 24  # distinct values of a column that is told of


class Tally:
    """Counts of one split."""

    def __init__(self, types: Mapping[str, str], id: str, text: str, always: Sequence[str] = ()) -> None:
        names = tuple(types)
        self._text = names.index(text)
        told = [(name, at) for at, name in enumerate(names) if name not in (id, text) and types[name] == "text"]
        told += [(name, names.index(name)) for name in always if (name, names.index(name)) not in told]
        self._always = frozenset(always)
        self._columns = dict(told)
        self.values: dict[str, Counter[str]] = {name: Counter() for name, _ in told}
        self._lengths = array("I")
        self.rows = 0

    def add(self, rows: Sequence[Columns]) -> None:
        """Count some rows."""
        self.rows += len(rows)
        self._lengths.extend(map(len, map(itemgetter(self._text), rows)))
        for name, place in tuple(self._columns.items()):
            counts = self.values[name]
            counts.update(map(itemgetter(place), rows))
            if len(counts) > FEW and name not in self._always:
                del self._columns[name], self.values[name]

    def shares(self) -> dict[str, Counter[str]]:
        """Rows per column and value, as specs write values."""
        found = {}
        for name, counts in self.values.items():
            told = Counter[str]()
            for value, count in counts.items():
                told[written(value)] += count
            found[name] = told
        return found

    def lengths(self) -> dict[str, Any]:
        """Characters of the texts: least, quartiles, most, mean."""
        if not self._lengths:
            return {}
        values = np.frombuffer(self._lengths, dtype=np.uint32)
        least, low, median, high, most = np.quantile(values, (0, 0.25, 0.5, 0.75, 1), method="lower").tolist()
        found = {"least": least, "lower_quartile": low, "median": median, "upper_quartile": high, "most": most}
        return {**found, "mean": round(float(values.mean()), 1)}
