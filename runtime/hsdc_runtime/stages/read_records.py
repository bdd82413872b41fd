"""Stage `read` of a data run: every record of every source, checked against its shape, as rows of columns."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hsdc_runtime.making.files import records
from hsdc_runtime.making.likeness import repeated
from hsdc_runtime.making.shapes import Columns, Fittings, Rejected
from hsdc_runtime.work import Interrupted, Made, Work
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place
from hsdc_schemas.making import Shape, Source
from hsdc_schemas.stages import typed

BLANK, TWICE = "E603", "E604"
SHOWN = 20
PULSE = 65536  # rows between two looks at whether to stop

Faults = list[tuple[str, str, int, str]]  # code, source, line, message


def read_records(work: Work) -> Made:
    """A line for each row: its columns, and the source as `source`; every rejected record is counted by its reason.

    HsdcError with the first rejected records where more are rejected, for a reason, than `rejects` allows.
    """
    experiment = work.experiment
    shapes = {name: typed(Shape, shape) for name, shape in experiment["shapes"].items()}
    names = tuple(next(iter(shapes.values())).columns)
    path = work.folder / "rows.jsonl"
    reader = _Reader(work, names, names.index(experiment["id"]))
    with path.open("wb", buffering=1 << 20) as file:
        for name, declared in experiment["sources"].items():
            source = typed(Source, declared)
            fittings = Fittings(shapes, source.shapes, names)
            own = tuple(shapes[shape] for shape in source.shapes)
            found = records(work.inputs.splits[name], source.source, source.format, fittings, own)
            for line in reader.rows(name, source.source, found):
                file.write(line)
    allowed: Mapping[str, int] = experiment["rejects"]
    faults = [fault for fault in reader.faults if reader.reasons[fault[0]] > allowed.get(fault[0], 0)]
    if faults:
        raise HsdcError(_diagnostics(faults, sum(reader.reasons.values())))
    repetitions = _repetitions(path, experiment["id"], reader.keys)
    if repetitions:
        raise HsdcError(repetitions)
    return Made({"rows": path}, {"splits": reader.counts, "columns": list(names), "rows": reader.kept})


class _Reader:
    """Writes rows and counts what becomes of records."""

    def __init__(self, work: Work, names: tuple[str, ...], place: int) -> None:
        self.work, self.place = work, place
        self.names = (*names, "source")
        self.faults: Faults = []
        self.reasons: Counter[str] = Counter()
        self.counts: dict[str, dict[str, Any]] = {}
        self.keys = array("q")
        self.kept = 0

    def rows(self, name: str, shown: str, found: Iterator[tuple[int, Columns | Rejected]]) -> Iterator[bytes]:
        encode, names, place, keys = msgspec.json.Encoder().encode, self.names, self.place, self.keys
        rejected: Counter[str] = Counter()
        read = before = len(keys)
        for line, columns in found:
            read += 1
            if read % PULSE == 0:
                self._pulse(name, read)
            if type(columns) is Rejected:
                self._reject(rejected, columns.code, shown, line, columns.message)
                continue
            identity = columns[place]
            if not isinstance(identity, str) or not identity.strip():
                self._reject(rejected, BLANK, shown, line, "the id is blank, or no text")
                continue
            keys.append(hash(identity))
            yield encode(dict(zip(names, (*columns, name), strict=True))) + b"\n"
        kept = len(keys) - before
        told = {"filtered": {}, "rejected": dict(sorted(rejected.items()))}
        self.counts[name] = {"read": kept + rejected.total(), "kept": kept, **told}
        self.kept += kept

    def _pulse(self, name: str, read: int) -> None:
        if self.work.stop():
            raise Interrupted("stopped while reading records")
        self.work.progress(read, read, {"source": name})

    def _reject(self, rejected: Counter[str], code: str, shown: str, line: int, message: str) -> None:
        rejected[code] += 1
        self.reasons[code] += 1
        if self.reasons[code] <= SHOWN:
            self.faults.append((code, shown, line, message))


def _diagnostics(faults: Faults, total: int) -> list[Diagnostic]:
    shown = faults[:SHOWN]
    hint = "mend the records, declare a shape that fits them, or allow so many under 'rejects'"
    found = [Diagnostic(code, Exit.NO, message, Place(source, line), hint) for code, source, line, message in shown]
    if total > len(found):
        found.append(Diagnostic("E417", Exit.NO, f"{total - len(found)} more records are rejected", None, hint))
    return found


def _repetitions(path: Path, column: str, keys: Sequence[int]) -> list[Diagnostic]:
    """Ids that stand twice: told from eight bytes each, and looked at again where these say so."""
    values = np.frombuffer(keys, dtype=np.int64).astype(np.uint64) if len(keys) else np.zeros(0, np.uint64)
    suspects = set(values[repeated(values)].tolist())
    if not suspects:
        return []
    first: dict[str, int] = {}
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if int(values[number - 1]) in suspects:
                row = msgspec.json.decode(line)
                found += _twice(row, first, number, str(row[column]))
            if len(found) >= SHOWN:
                break
    return found


def _twice(row: dict[str, Any], first: dict[str, int], number: int, identity: str) -> list[Diagnostic]:
    if identity not in first:
        first[identity] = number
        return []
    message = f"the id '{identity[:64]}' of row {number} ({row['source']}) is that of row {first[identity]}"
    return [Diagnostic(TWICE, Exit.NO, message, None, "give every row its own id")]
