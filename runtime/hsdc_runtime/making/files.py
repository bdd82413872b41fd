"""The records of a file, one after another, with the line or the number at which each stands."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from hsdc_runtime.making.shapes import ENCODING, Columns, Fittings, Rejected
from hsdc_schemas.errors import Exit, Place, fail
from hsdc_schemas.making import FieldShape, Shape
from hsdc_schemas.records import MAX_ROW_BYTES

LONG = "E615"
CELLS = "E602"

Read = Iterator[tuple[int, Columns | Rejected]]


def records(path: Path, name: str, format: str, fittings: Fittings, shapes: tuple[Shape, ...]) -> Read:
    """Each record's line (its number, in JSON lists and Parquet) with its columns, or why it is rejected."""
    match format:
        case "jsonl":
            return _lines(path, fittings)
        case "json":
            return _list(path, name, fittings)
        case "parquet":
            return _parquet(path, fittings)
        case _:
            return _table(path, name, "," if format == "csv" else "\t", fittings, shapes)


def _lines(path: Path, fittings: Fittings) -> Read:
    of_json = fittings.of_json
    with path.open("rb") as file:
        read = partial(file.readline, MAX_ROW_BYTES + 2)
        number = 0
        while line := read():
            number += 1
            if len(line) > MAX_ROW_BYTES + 1:
                while line and not line.endswith(b"\n"):
                    line = read()
                yield number, Rejected(LONG, f"the row holds more than {MAX_ROW_BYTES} bytes")
            else:
                yield number, of_json(line)


def _list(path: Path, name: str, fittings: Fittings) -> Read:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        hint = "write the file as one list of objects"
        raise fail("E623", Exit.NO, f"'{name}' is no JSON list: {error}", Place(name, 1), hint) from None
    for number, raw in enumerate(found, 1):
        yield number, fittings.of_json(bytes(raw))


def _parquet(path: Path, fittings: Fittings) -> Read:
    import pyarrow.parquet as parquet  # weight that few sources need

    number = 0
    for batch in parquet.ParquetFile(path).iter_batches(batch_size=4096):
        for value in batch.to_pylist():
            number += 1
            yield number, fittings.of_value(value)


def _table(path: Path, name: str, delimiter: str, fittings: Fittings, shapes: tuple[Shape, ...]) -> Read:
    """Cells are texts; those of numbers and truths are read as such, and a blank one that may be null is."""
    readers = {key: _cell(field) for shape in shapes for key, field in shape.fields.items()}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(rows, [])
            line = rows.line_num + 1
            for cells in rows:
                yield line, _row(header, cells, readers, fittings)
                line = rows.line_num + 1
        except csv.Error as error:
            hint = "a quote inside a quoted cell is written twice, and every quoted cell is closed"
            raise fail("E622", Exit.NO, f"'{name}' is malformed: {error}", Place(name, line), hint) from None


def _row(
    header: list[str], cells: list[str], readers: dict[str, Callable[[str], Any]], fittings: Fittings
) -> Columns | Rejected:
    if len(cells) != len(header):
        return Rejected(CELLS, f"the row has {len(cells)} cells, the header {len(header)}")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return Rejected(ENCODING, "the row is not UTF-8")
    return fittings.of_value({key: readers.get(key, str)(cell) for key, cell in zip(header, cells, strict=True)})


def _cell(field: FieldShape) -> Callable[[str], Any]:
    def plain(cell: str) -> Any:
        if not cell and field.nullable:
            return None
        try:
            match field.type:
                case "number":
                    return float(cell)
                case "integer":
                    return int(cell)
                case "truth":
                    return {"true": True, "false": False}.get(cell.lower(), cell)
                case "texts":
                    return [part.strip() for part in cell.split(";")] if cell else []
        except ValueError:
            pass  # the shape says what is wrong with it
        return cell

    return plain
