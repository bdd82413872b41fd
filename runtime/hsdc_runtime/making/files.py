"""The records of a file, in batches of rows, with the line or the number at which each record stands."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from hsdc_runtime.making.rejections import EMPTY, ENCODING, NUL, Rejected
from hsdc_runtime.making.shapes import Columns, Fittings
from hsdc_schemas.errors import Exit, Place, did_you_mean, fail
from hsdc_schemas.making import FieldShape, Shape
from hsdc_schemas.records import MAX_ROW_BYTES
from hsdc_schemas.rows import COMPRESSED, MOST_BYTES

LONG, CELLS = "E615", "E602"
OTHERS = (  # what a file of text must not begin with, and what to do about it
    (b"\xef\xbb\xbf", "begins with a byte order mark", "save the file as UTF-8 without a mark"),
    (b"\xff\xfe", "is UTF-16, not UTF-8", "save the file as UTF-8"),
    (b"\xfe\xff", "is UTF-16, not UTF-8", "save the file as UTF-8"),
    (b"PAR1", "is a Parquet file, and not one of text", "declare 'format: parquet'"),
)
BLOCK = 1 << 18  # bytes of lines that are decoded at once
BATCH = 2048  # records, where they come one by one
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


@dataclass(slots=True)
class Batch:
    """Rows, where each of them stands, and the records between them that are rejected."""

    rows: list[Columns] = field(default_factory=list)
    places: Sequence[int] = field(default_factory=list)
    rejected: list[tuple[int, Rejected]] = field(default_factory=list)


Found = Iterator[tuple[int, Columns | Rejected]]


def batches(path: Path, name: str, format: str, fittings: Fittings, shapes: tuple[Shape, ...]) -> Iterator[Batch]:
    """Every record of a file; places are lines, in Parquet numbers. HsdcError where the file as a whole is unread."""
    _require_plain(path, name, format)
    match format:
        case "jsonl":
            return _lines(path, fittings)
        case "json":
            return _together(_list(path, name, fittings))
        case "parquet":
            return _together(_parquet(path, name, fittings))
        case _:
            return _together(_table(path, name, "," if format == "csv" else "\t", fittings, shapes))


def _require_plain(path: Path, name: str, format: str) -> None:
    with path.open("rb") as file:
        begins = file.read(8)
    if format != "parquet":
        for sign, what, hint in OTHERS:
            if begins.startswith(sign):
                raise fail(ENCODING, Exit.NO, f"'{name}' {what}", Place(name, 1), hint)
    for sign, what in COMPRESSED.items():
        if begins.startswith(sign):
            message = f"'{name}' is compressed ({what}), and compressed files are not read"
            raise fail("E626", Exit.NO, message, None, "unpack it, and name the unpacked file")
    if format == "json" and path.stat().st_size > MOST_BYTES:
        hint = "write it as JSON lines, which are read piece by piece"
        raise fail("E627", Exit.NO, f"'{name}' is larger than {MOST_BYTES:,} bytes", None, hint)


def _together(found: Found) -> Iterator[Batch]:
    while records := list(islice(found, BATCH)):
        batch = Batch()
        lines: list[int] = []
        for line, columns in records:
            if type(columns) is Rejected:
                batch.rejected.append((line, columns))
            else:
                batch.rows.append(columns)
                lines.append(line)
        batch.places = lines
        yield batch


def _lines(path: Path, fittings: Fittings) -> Iterator[Batch]:
    number = 1
    too_long = Rejected(LONG, f"the row holds more than {MAX_ROW_BYTES} bytes", "shorten it")
    with path.open("rb") as file:
        for block in blocks(file):
            if block is None:
                yield Batch(rejected=[(number, too_long)])
                number += 1
                continue
            count = block.count(b"\n") + (not block.endswith(b"\n"))
            rows = fittings.of_lines(block, count) if len(block) <= MAX_ROW_BYTES else None
            if rows is not None:
                yield Batch(rows, range(number, number + count))
            else:
                lines = enumerate(block.removesuffix(b"\n").split(b"\n"), number)
                found = ((at, fittings.of_json(line) if len(line) <= MAX_ROW_BYTES else too_long) for at, line in lines)
                yield from _together(found)
            number += count


def blocks(file: BinaryIO, longest: int = MAX_ROW_BYTES) -> Iterator[bytes | None]:
    """Whole lines, as many as fit a block; None for a line that is longer than may be held."""
    rest, skipping = b"", False
    while data := file.read(BLOCK):
        if skipping:
            end = data.find(b"\n")
            if end < 0:
                continue
            data, skipping = data[end + 1 :], False
        cut = data.rfind(b"\n") + 1
        if cut:
            yield rest + data[:cut]
            rest = data[cut:]
            continue
        rest += data
        if len(rest) > longest:
            yield None
            rest, skipping = b"", True
    if rest:
        yield rest


def _list(path: Path, name: str, fittings: Fittings) -> Found:
    data = path.read_bytes()
    try:
        found = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        hint = "write the file as one list of objects, or declare 'format: jsonl' for one object a line"
        if "invalid character" in str(error):
            hint = "mend it there; NaN and Infinity are no numbers of JSON, and texts stand in double quotes"
        message = f"'{name}' is no JSON list: {str(error).replace('`', chr(39))}"
        raise fail("E623", Exit.NO, message, _where(name, data, str(error)), hint) from None
    at, line = 0, 1
    for raw in found:
        record = bytes(raw)
        start = data.find(record, at)
        line += data.count(b"\n", at, start)
        at = start
        if len(record) > MAX_ROW_BYTES:
            yield line, Rejected(LONG, f"the row holds more than {MAX_ROW_BYTES} bytes", "shorten it")
        else:
            yield line, fittings.of_json(record)
        line += record.count(b"\n")
        at += len(record)


def _where(name: str, data: bytes, text: str) -> Place:
    told = re.search(r"byte (\d+)", text)
    return Place(name, 1 + data.count(b"\n", 0, int(told.group(1))) if told else 1)


def _parquet(path: Path, name: str, fittings: Fittings) -> Found:
    import pyarrow  # weight that few sources need
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=BATCH):
            for value in batch.to_pylist():
                number += 1
                yield number, fittings.of_value(value)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        hint = "write it again with the program that made it"
        message = f"'{name}' is no Parquet file that can be read: {str(error).splitlines()[0][:200]}"
        raise fail("E630", Exit.NO, message, Place(name, number + 1), hint) from None


def _table(path: Path, name: str, delimiter: str, fittings: Fittings, shapes: tuple[Shape, ...]) -> Found:
    """Cells are texts; those of numbers and truths are read as such, and a blank one that may be null is."""
    fields = {key: item for shape in shapes for key, item in shape.fields.items()}
    line = 1
    before = csv.field_size_limit(MAX_ROW_BYTES)
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(rows, [])
            _require_header(name, header, shapes)
            cells_of = [(key.split("."), _cell(fields[key])) for key in header]
            line = rows.line_num + 1
            for cells in rows:
                yield line, _row(cells, cells_of, fittings)
                line = rows.line_num + 1
    except csv.Error as error:
        if "field limit" in str(error):
            message = f"a cell of '{name}' holds more than {MAX_ROW_BYTES} characters"
            raise fail(LONG, Exit.NO, message, Place(name, line), "shorten it, or close a quote") from None
        hint = "a quote inside a quoted cell is written twice, and every quoted cell is closed"
        raise fail("E622", Exit.NO, f"'{name}' is malformed: {error}", Place(name, line), hint) from None
    finally:
        csv.field_size_limit(before)


def _require_header(name: str, header: list[str], shapes: tuple[Shape, ...]) -> None:
    """The header of a table decides for all rows, so it is judged once."""
    for key, times in Counter(header).items():
        if times > 1:
            message = f"the column '{key[:64]}' stands {times} times in the header"
            raise fail("E621", Exit.NO, message, Place(name, 1), "give every column its own name")
    faults = [(_misses(shape, header), tuple(shape.fields)) for shape in shapes]
    if all(fault for (fault, _), _ in faults):
        (message, odd), known = faults[0]
        hint = did_you_mean(odd[:64], known) if odd else "add it, or declare 'required: false'"
        if len(header) == 1 < len(known):
            hint = "part the cells by commas for 'format: csv', by tabs for 'format: tsv'"
        raise fail("E621", Exit.NO, f"the header fits no shape: {message}", Place(name, 1), hint)


def _misses(shape: Shape, header: list[str]) -> tuple[str, str]:
    for key in header:
        if key not in shape.fields:
            return f"the column '{key[:64]}' is not declared", key
    for key, item in shape.fields.items():
        if item.required and key not in header:
            return f"the column '{key}' is missing", ""
    return "", ""


def _row(
    cells: list[str], readers: Sequence[tuple[list[str], Callable[[str], Any]]], fittings: Fittings
) -> Columns | Rejected:
    if not cells:
        return Rejected(EMPTY, "the line is empty", "remove it")
    if len(cells) != len(readers):
        fewer = len(cells) < len(readers)
        hint = "give it every cell, blank ones too" if fewer else "put a cell that holds the delimiter in quotes"
        return Rejected(CELLS, f"the row has {len(cells)} cells, the header {len(readers)}", hint)
    whole = "".join(cells)
    if not whole.isascii():
        try:
            whole.encode()
        except UnicodeEncodeError:
            return Rejected(ENCODING, "the row is not UTF-8", "save the file as UTF-8")
    if "\0" in whole:
        return Rejected(NUL, "the row holds a NUL character", "remove it")
    if len(whole) > MAX_ROW_BYTES:
        return Rejected(LONG, f"the row holds more than {MAX_ROW_BYTES} characters", "shorten it, or close a quote")
    record: dict[str, Any] = {}
    for (path, read), cell in zip(readers, cells, strict=True):
        node = record
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = read(cell)
    return fittings.of_value(record)


def _cell(field: FieldShape) -> Callable[[str], Any]:
    """How a cell is read. What does not fit stays a text, and the shape says what is wrong with it."""

    def plain(cell: str) -> Any:
        if not cell and field.nullable:
            return None
        match field.type:
            case "number":
                return float(cell) if _NUMBER.fullmatch(cell) else cell
            case "integer":
                return int(cell) if _INTEGER.fullmatch(cell) and len(cell) < 20 else cell
            case "truth":
                return {"true": True, "false": False}.get(cell.lower(), cell)
            case "texts":
                return [part.strip() for part in cell.split(";")] if cell else []
            case _:
                return cell

    return plain
