"""Stage `read` of a data run: every record of every source, checked against its shape, as rows of columns."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

import msgspec
import numpy as np

from hsdc_runtime.making.files import Batch, batches
from hsdc_runtime.making.kept import Layout, batches_of
from hsdc_runtime.making.likeness import repeated
from hsdc_runtime.making.shapes import Columns, Fittings, Rejected, column_names, types
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
        raise HsdcError(repetitions)
    Layout(types(shapes, names), reader.counts).write(layout)
    facts = {"sources": reader.counts, "columns": list(names), "rows": len(reader.keys)}
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
        self.counts: dict[str, dict[str, object]] = {}
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

    def require(self, allowed: Mapping[str, int]) -> None:
        """HsdcError where records are rejected that may not be."""
        faults = [found for found in self._faults if self._reasons[found[0].code] > allowed.get(found[0].code, 0)]
        told = [Diagnostic(fault.code, Exit.NO, fault.message, place, fault.hint) for fault, place in faults[:SHOWN]]
        total = sum(count for code, count in self._reasons.items() if count > allowed.get(code, 0))
        if total > len(told):
            hint = "mend the records, declare a shape that fits them, or allow so many under 'rejects'"
            told.append(Diagnostic("E417", Exit.NO, f"{total - len(told)} more records are rejected", None, hint))
        if told:
            raise HsdcError(told)

    def place(self, number: int) -> Place:
        """Where a row stands."""
        batch = bisect_right(self._starts, number) - 1
        source, lines = self._places[batch]
        return Place(source, lines[number - self._starts[batch]])

    def repetitions(self, path: Path) -> list[Diagnostic]:
        """Ids that stand twice: told from eight bytes each, and looked at again where these say so."""
        values = np.frombuffer(self.keys, dtype=np.int64).astype(np.uint64) if self.keys else np.zeros(0, np.uint64)
        suspects = values[repeated(values)]
        if not len(suspects):
            return []
        first: dict[str, int] = {}
        found: list[Diagnostic] = []
        suspected, number = np.isin(values, suspects), 0
        for rows in batches_of(path):
            for row in rows:
                if suspected[number]:
                    before = first.setdefault(row[self._id], number)
                    if before != number:
                        found.append(self._twice(row[self._id], number, before))
                number += 1
            if len(found) >= SHOWN:
                break
        return found[:SHOWN]

    def _twice(self, identity: str, number: int, before: int) -> Diagnostic:
        here, there = self.place(number), self.place(before)
        where = f"line {there.line}" if here.path == there.path else f"line {there.line} of {there.path}"
        message = f"the id {shown(identity)} is that of {where}"
        return Diagnostic(TWICE, Exit.NO, message, here, "give every row its own id", ((message, there),))
