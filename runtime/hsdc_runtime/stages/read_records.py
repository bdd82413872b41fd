"""Stage `read` of a data run: every record of every source, checked against its shape, as rows of columns."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hsdc_runtime.making.files import Batch, batches
from hsdc_runtime.making.kept import Layout, batches_of
from hsdc_runtime.making.likeness import repeated
from hsdc_runtime.making.rejections import Rejected
from hsdc_runtime.making.shapes import Columns, Fittings, column_names, types
from hsdc_runtime.work import Interrupted, Made, Work
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail
from hsdc_schemas.making import Shape, Source
from hsdc_schemas.records import shown
from hsdc_schemas.rows import MOST_REJECTED
from hsdc_schemas.stages import typed

BLANK_ID, TWICE, BLANK_TEXT = "E603", "E604", "E605"
SHOWN = 20


def read_records(work: Work) -> Made:
    """A line for each row: its columns; every rejected record is counted by its reason.

    HsdcError with the first rejected records where more are rejected, for a reason, than `rejects` allows.
    """
    experiment = work.experiment
    corpus = experiment["corpus"]
    shapes = {name: typed(Shape, shape) for name, shape in corpus["shapes"].items()}
    names = column_names(shapes, experiment["id"], experiment["text"])
    path, layout = work.folder / "rows.jsonl", work.folder / "layout.json"
    reader = _Reader(work, names)
    with path.open("wb") as file:
        for name, declared in corpus["sources"].items():
            source = typed(Source, declared)
            fittings = Fittings(shapes, source.shapes, names)
            own = tuple(shapes[shape] for shape in source.shapes)
            found = batches(work.inputs.splits[name], source.source, source.format, fittings, own)
            for lines in reader.rows(name, source.source, found):
                file.write(lines)
    reader.require(corpus["rejects"])
    if repetitions := reader.repetitions(path):
        path = reader.without(path, repetitions, corpus["rejects"].get(TWICE, 0))
    Layout(types(shapes, names), reader.counts).write(layout)
    facts = {"sources": reader.counts, "columns": list(names), "rows": reader.count}
    return Made({"rows": path, "layout": layout}, facts)


class _Reader:
    """Writes rows and counts what becomes of records."""

    def __init__(self, work: Work, names: tuple[str, ...]) -> None:
        self.work = work
        self._id, self._text = (names.index(work.experiment[column]) for column in ("id", "text"))
        self._faults: list[tuple[Rejected, Place]] = []
        self._reasons: Counter[str] = Counter()
        self._starts: list[int] = []
        self._places: list[tuple[str, Sequence[int]]] = []
        sources = work.experiment["corpus"]["sources"].values()
        self._numbered = {source["source"] for source in sources if source["format"] == "parquet"}  # without lines
        self.counts: dict[str, dict[str, Any]] = {}
        self.keys = array("q")

    def rows(self, name: str, shown: str, found: Iterator[Batch]) -> Iterator[bytes]:
        encode = msgspec.json.Encoder().encode_lines
        rejected: Counter[str] = Counter()
        kept = 0
        for batch in found:
            if self.work.stop():
                raise Interrupted("stopped while reading records")
            self._judge(batch)
            self._starts.append(len(self.keys))
            self._places.append((shown, batch.places))
            self.keys.extend(map(hash, map(itemgetter(self._id), batch.rows)))
            kept += len(batch.rows)
            for line, fault in batch.rejected:
                self._reject(rejected, fault, Place(shown, line))
            self.work.progress(kept, kept, {"source": name})
            yield encode(batch.rows)
        read = kept + rejected.total()
        if read == 0:
            hint = "fill it, or name another file for this source"
            raise fail("E624", Exit.NO, f"'{shown}' holds no rows", None, hint)
        self.counts[name] = {"read": read, "kept": kept, "rejected": dict(sorted(rejected.items()))}

    def _judge(self, batch: Batch) -> None:
        """Take rows without an id or a text out of a batch."""
        ids, texts = (list(map(itemgetter(place), batch.rows)) for place in (self._id, self._text))
        if {*map(type, ids), *map(type, texts)} <= {str} and all(map(str.strip, ids)) and all(map(str.strip, texts)):
            return
        rows: list[Columns] = []
        places: list[int] = []
        for row, place in zip(batch.rows, batch.places, strict=True):
            if (fault := self._blank(row)) is not None:
                batch.rejected.append((place, fault))
            else:
                rows.append(row)
                places.append(place)
        batch.rows, batch.places = rows, places

    def _blank(self, row: Columns) -> Rejected | None:
        for place, code, what in ((self._id, BLANK_ID, "id"), (self._text, BLANK_TEXT, "text")):
            if not isinstance(row[place], str):
                return Rejected("E614", f"the {what} is no text: {shown(str(row[place]))}", "write it in quotes")
            if not row[place].strip():
                return Rejected(code, f"the {what} is blank", "fill it in, or remove the row")
        return None

    def _reject(self, rejected: Counter[str], fault: Rejected, place: Place) -> None:
        rejected[fault.code] += 1
        self._reasons[fault.code] += 1
        if self._reasons[fault.code] <= SHOWN:
            self._faults.append((fault, place))
        if self._reasons.total() > MOST_REJECTED:
            message = f"more than {MOST_REJECTED:,} records are rejected; the first: {self._faults[0][0].message}"
            raise fail("E629", Exit.NO, message, self._faults[0][1], "declare the shape that the records have")

    @property
    def count(self) -> int:
        """The rows that are kept."""
        return sum(counts["kept"] for counts in self.counts.values())

    def require(self, allowed: Mapping[str, int]) -> None:
        """HsdcError where records are rejected that may not be."""
        faults = [found for found in self._faults if self._reasons[found[0].code] > allowed.get(found[0].code, 0)]
        told = [Diagnostic(fault.code, Exit.NO, fault.message, place, fault.hint) for fault, place in faults[:SHOWN]]
        shown = Counter(fault.code for fault in told)
        for code, count in sorted(self._reasons.items()):
            if count > max(allowed.get(code, 0), 0 if code in allowed else shown[code]):
                told.append(_too_many(code, count, allowed.get(code, 0)))
        if told:
            raise HsdcError(told)

    def place(self, number: int) -> Place:
        """Where a row stands."""
        batch = bisect_right(self._starts, number) - 1
        source, lines = self._places[batch]
        return Place(source, lines[number - self._starts[batch]])

    def repetitions(self, path: Path) -> dict[int, tuple[str, int]]:
        """Rows whose id stands earlier, with it and that row: told from eight bytes each, looked at again then."""
        values = np.frombuffer(self.keys, dtype=np.int64).astype(np.uint64) if self.keys else np.zeros(0, np.uint64)
        suspects = values[repeated(values)]
        if not len(suspects):
            return {}
        first: dict[str, int] = {}
        found: dict[int, tuple[str, int]] = {}
        suspected, number = np.isin(values, suspects), 0
        for rows in batches_of(path):
            for row in rows:
                if suspected[number]:
                    before = first.setdefault(row[self._id], number)
                    if before != number:
                        found[number] = row[self._id], before
                number += 1
        return found

    def without(self, path: Path, twice: Mapping[int, tuple[str, int]], allowed: int) -> Path:
        """The rows without those whose id stands earlier, which are rejected; HsdcError where so many may not be."""
        if len(twice) > allowed:
            told = [self._twice(number, *found) for number, found in islice(twice.items(), SHOWN)]
            if allowed or len(twice) > SHOWN:
                told.append(_too_many(TWICE, len(twice), allowed))
            raise HsdcError(told)
        ends = list(accumulate(counts["kept"] for counts in self.counts.values()))
        gone = Counter(bisect_right(ends, number) for number in twice)
        for number, counts in enumerate(self.counts.values()):
            if gone[number]:
                counts["kept"] -= gone[number]
                counts["rejected"] = dict(sorted({**counts["rejected"], TWICE: gone[number]}.items()))
        made, encode, number = path.with_name("kept.jsonl"), msgspec.json.Encoder().encode_lines, 0
        with made.open("wb") as file:
            for rows in batches_of(path):
                file.write(encode([row for at, row in enumerate(rows, number) if at not in twice]))
                number += len(rows)
        return made

    def _twice(self, number: int, identity: str, before: int) -> Diagnostic:
        here, there = self.place(number), self.place(before)
        word = "row" if there.path in self._numbered else "line"
        where = f"{word} {there.line}" if here.path == there.path else f"{word} {there.line} of {there.path}"
        hint = "give every row its own id"
        return Diagnostic(
            TWICE, Exit.NO, f"the id {shown(identity)} is that of {where}", here, hint, (("it stands here", there),)
        )


def _too_many(code: str, count: int, allowed: int) -> Diagnostic:
    message = f"{count:,} records in all are rejected for {code}"
    message += f", and 'rejects' of the corpus allows {allowed:,}" if allowed else ""
    hint = "mend the records, declare a shape that fits them, or allow so many under 'rejects'"
    return Diagnostic("E417", Exit.NO, message, None, hint)
