"""Rows of a labelled file, read strictly: a row is kept as it is written, or rejected with one reason and its line."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hsdc_schemas.digests import digest_bytes
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, did_you_mean, fail

if TYPE_CHECKING:
    from hsdc_schemas.spec import Dataset

REASONS: Mapping[str, str] = {
    "E601": "the row is not UTF-8",
    "E602": "the row has another number of cells than the header",
    "E603": "the id is blank",
    "E604": "the id is that of an earlier row",
    "E605": "the text is blank",
    "E606": "the label is not one of the head's labels",
    "E607": "a label is blank and the data set rejects blank labels",
    "E608": "every label is blank, so the row teaches nothing",
    "E609": "the row holds a NUL character",
    "E610": "the line is not valid JSON, or holds NaN, Infinity or a repeated key",
    "E611": "the row is not a JSON object",
    "E612": "a declared key is missing",
    "E613": "a key is not declared",
    "E614": "a value is of the wrong type",
    "E615": "the row is too long",
}
FILE_FAULTS: Mapping[str, str] = {
    "E620": "the file is not there or cannot be read",
    "E621": "the header is not the declared columns",
    "E622": "the CSV quoting is malformed",
    "E623": "the file is not a valid JSON list",
    "E624": "the file holds no rows",
    "E625": "the data set's schema names what it does not declare",
}
MAX_ROW_BYTES = 1 << 20

Heads: TypeAlias = Mapping[str, tuple[str, tuple[str, ...]]]
_Cells: TypeAlias = tuple[Any, ...]  # id, text, then one cell per head

_DAMAGE = re.compile("[\udc80-\udcff\0]")
_SPACE = re.compile(r"[ \t\n\r]*")
_FIELD_LIMIT = threading.Lock()


@dataclass(frozen=True, slots=True)
class Row:
    """One kept row; a label of None is blank, hence masked."""

    id: str
    text: str
    labels: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class RowsRead:
    """What reading a file gave: read = kept + rejected; digest and size are those of the whole file."""

    rows: tuple[Row, ...]
    read: int
    kept: int
    rejected: tuple[Diagnostic, ...]
    rejected_by_reason: Mapping[str, int]
    digest: str
    bytes: int


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why a row is rejected; the reader adds file and line."""

    code: str
    message: str
    hint: str = ""
    column: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    """A decoded file; a byte that is not UTF-8 is a lone surrogate, and `suspect` tells whether to look for damage."""

    name: str
    text: str
    suspect: bool

    def place(self, line: int, column: int = 0) -> Place:
        return Place(self.name, line, column)


def read_rows(path: Path, name: str, dataset: Dataset, heads: Heads, limit: int | None = None) -> RowsRead:
    """The rows of a file, and each rejected row with its line and reason (`REASONS`); `name` stands for it in messages.

    `heads` gives, per head, the data set's label and the labels allowed. The file is read once: the bytes parsed are
    the bytes hashed. With `limit`, the first so many records are read and judged; what follows is neither read nor
    counted, but the digest is still that of the whole file. Columns of a CSV or TSV header may be in any order.
    Raises HsdcError (`FILE_FAULTS`) where the file as a whole cannot be read, ValueError where `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"the limit of rows is {limit}; it is at least 1")
    wanted = _wanted_columns(name, dataset, heads)
    data = _read(path, name)
    file = _decoded(name, data)
    rows: list[Row] = []
    rejected: list[Diagnostic] = []
    first: dict[str, int] = {}
    read = 0
    with _long_fields(len(file.text)):
        for line, cells in _records(file, dataset, wanted):
            read += 1
            judged = cells if isinstance(cells, _Fault) else _judged(cells, line, first, dataset, heads)
            if isinstance(judged, Row):
                rows.append(judged)
            else:
                place = file.place(line, judged.column)
                rejected.append(Diagnostic(judged.code, Exit.NO, judged.message, place, judged.hint))
            if read == limit:
                break
    if read == 0:
        raise fail("E624", Exit.NO, f"'{name}' holds no rows", hint="fill it, or name another file for this split")
    reasons = dict(sorted(Counter(d.code for d in rejected).items()))
    return RowsRead(tuple(rows), read, len(rows), tuple(rejected), reasons, digest_bytes(data), len(data))


def label_counts(rows: Iterable[Row], heads: Heads) -> dict[str, dict[str, int]]:
    """Rows per head and label, in label order, zeros included; the key "" counts blanks where there are any."""
    kept = tuple(rows)
    counts: dict[str, dict[str, int]] = {}
    for head, (_, labels) in heads.items():
        found = Counter(row.labels[head] for row in kept)
        counts[head] = {label: found[label] for label in labels}
        if found[None]:
            counts[head][""] = found[None]
    return counts


def _wanted_columns(name: str, dataset: Dataset, heads: Heads) -> tuple[str, ...]:
    """The columns of id, text and each head's label, in that order."""
    for head, (label, _) in heads.items():
        if label not in dataset.labels:
            message = f"head '{head}' learns '{label}', which is no label of the data set of '{name}'"
            raise fail("E625", Exit.SPEC, message, hint=did_you_mean(label, dataset.labels))
    wanted = (dataset.id, dataset.text, *(dataset.labels[label] for label, _ in heads.values()))
    for column in wanted:
        if column not in dataset.columns:
            message = f"column '{column}' is used but not declared in the columns of '{name}'"
            raise fail("E625", Exit.SPEC, message, hint=did_you_mean(column, dataset.columns))
    return wanted


def _read(path: Path, name: str) -> bytes:
    hint = "put the file there; where it comes from is in the data set's notes"
    try:
        if path.exists() and not path.is_file():
            raise fail("E620", Exit.ENVIRONMENT, f"'{name}' is not a regular file", hint="name a file, not a folder")
        return path.read_bytes()
    except FileNotFoundError:
        raise fail("E620", Exit.ENVIRONMENT, f"'{name}' is not there", hint=hint) from None
    except OSError as error:
        message = f"'{name}' cannot be read: {error.strerror}"
        raise fail("E620", Exit.ENVIRONMENT, message, hint="make the file readable for this user") from None


def _decoded(name: str, data: bytes) -> _File:
    body = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _File(name, body.decode(errors="surrogateescape"), True)
    return _File(name, text, "\0" in text)


@contextmanager
def _long_fields(length: int) -> Iterator[None]:
    """Lift the csv module's limit of a field, which holds for the whole process, while a file is read.

    The module stops at the field that is too long; `MAX_ROW_BYTES` rejects that row and goes on.
    """
    with _FIELD_LIMIT:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, length + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _records(file: _File, dataset: Dataset, wanted: tuple[str, ...]) -> Iterator[tuple[int, _Cells | _Fault]]:
    """Each record's first line (from 1) with its wanted cells, or with the fault of its form."""
    if not file.text.strip():
        return iter(())
    match dataset.format:
        case "csv":
            return _table(file, dataset.columns, wanted, ",")
        case "tsv":
            return _table(file, dataset.columns, wanted, "\t")
        case "jsonl":
            return _Json(file, dataset.columns, wanted).lines()
        case "json":
            return _Json(file, dataset.columns, wanted).items()


def _table(
    file: _File, columns: tuple[str, ...], wanted: tuple[str, ...], delimiter: str
) -> Iterator[tuple[int, _Cells | _Fault]]:
    """Records of a CSV or TSV file; only a line feed, alone or after a carriage return, ends a line."""
    reader = csv.reader(io.StringIO(file.text, newline="\n"), delimiter=delimiter, strict=True)
    starts = [0, *accumulate(len(line) + 1 for line in file.text.split("\n"))] if file.suspect else []
    line = 1
    try:
        header = next(reader)
        _check_header(file, header, columns)
        pick = itemgetter(*(header.index(column) for column in wanted))
        line = reader.line_num + 1
        for cells in reader:
            fault = _too_long(cells)
            if starts and not fault:
                fault = _damage(file, starts[line - 1], starts[reader.line_num], line)
            if not fault and len(cells) != len(header):
                hint = "quote a cell that holds the delimiter; remove an empty line"
                fault = _Fault("E602", f"the row has {len(cells)} cells, the header {len(header)}", hint)
            yield line, fault or pick(cells)
            line = reader.line_num + 1
    except csv.Error as error:
        hint = "a quote inside a quoted cell is written twice, and every quoted cell is closed"
        message = f"'{file.name}' is malformed: {error}".splitlines()[0]
        raise fail("E622", Exit.NO, message, file.place(line), hint) from None


def _check_header(file: _File, header: list[str], columns: tuple[str, ...]) -> None:
    missing, extra = Counter(columns) - Counter(header), Counter(header) - Counter(columns)
    if missing or extra:
        parts = [
            f"{word} {', '.join(map(_shown, some))}" for word, some in (("lacks", missing), ("adds", extra)) if some
        ]
        message = f"the header of '{file.name}' is not the declared columns: it {' and '.join(parts)}"
        hint = "declare in 'columns' exactly what the header holds, or mend the header"
        raise fail("E621", Exit.SPEC, message, file.place(1), hint)


class _Json:
    """Records of a JSON list of objects, or of one object a line."""

    def __init__(self, file: _File, columns: tuple[str, ...], wanted: tuple[str, ...]) -> None:
        self.file = file
        self.columns = dict.fromkeys(columns)
        self.wanted = wanted
        self.pick = itemgetter(*wanted)
        self.flaws: list[str] = []  # of the value being parsed: the parser goes on, the row is rejected
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def lines(self) -> Iterator[tuple[int, _Cells | _Fault]]:
        begin = 0
        for number, line in enumerate(self.file.text.removesuffix("\n").split("\n"), 1):
            end = begin + len(line)
            fault = _too_long([line]) or _damage(self.file, begin, end, number)
            yield number, fault or self._line(line)
            begin = end + 1

    def _line(self, line: str) -> _Cells | _Fault:
        if not line.strip():
            return _Fault("E611", "the line is empty, not a JSON object", "remove the empty line")
        self.flaws.clear()
        try:
            value = self.decoder.decode(line)
        except json.JSONDecodeError as error:
            return _Fault("E610", f"invalid JSON: {error.msg}", "write one whole JSON object on each line", error.colno)
        except (ValueError, RecursionError) as error:
            return _Fault("E610", f"invalid JSON: {error}", "write one whole JSON object on each line")
        return self._cells(value)

    def items(self) -> Iterator[tuple[int, _Cells | _Fault]]:
        text, line, counted = self.file.text, 1, 0
        here = self._skip(0)
        if text[here] != "[":
            raise self._broken("a list of objects begins with '['", here)
        here, mark = self._skip(here + 1), ","
        if text[here : here + 1] == "]":
            mark = "]"
        while mark == ",":
            line, counted = line + text.count("\n", counted, here), here
            value, end = self._value(here)
            yield line, _too_long([text[here:end]]) or _damage(self.file, here, end, line) or self._cells(value)
            here = self._skip(end)
            mark = text[here : here + 1]
            if mark not in (",", "]"):
                raise self._broken("',' or ']' is expected", here)
            here = self._skip(here + 1) if mark == "," else here
        if self._skip(here + 1) != len(text):
            raise self._broken("more follows the list", self._skip(here + 1))

    def _skip(self, here: int) -> int:
        space = _SPACE.match(self.file.text, here)
        return space.end() if space else here

    def _value(self, here: int) -> tuple[Any, int]:
        self.flaws.clear()
        try:
            return self.decoder.raw_decode(self.file.text, here)
        except json.JSONDecodeError as error:
            raise self._broken(error.msg, error.pos) from None
        except (ValueError, RecursionError) as error:
            raise self._broken(str(error), here) from None

    def _broken(self, message: str, here: int) -> HsdcError:
        text = self.file.text
        line, column = text.count("\n", 0, here) + 1, here - text.rfind("\n", 0, here)
        message = f"'{self.file.name}' is invalid JSON at {line}:{column}: {message}"
        return fail("E623", Exit.NO, message, self.file.place(line, column), "write the file as one list of objects")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            self.flaws.append(f"the key {_shown(twice)} is written twice")
        return found

    def _constant(self, word: str) -> None:
        self.flaws.append(f"{word} is no JSON value")

    def _cells(self, value: Any) -> _Cells | _Fault:
        if self.flaws:
            return _Fault("E610", self.flaws[0], "write each key once and only values that JSON has")
        if not isinstance(value, dict):
            return _Fault("E611", f"the row is {_type(value)}, not an object", 'write a row as {"column": value, …}')
        if value.keys() != self.columns.keys():
            for key in self.columns:
                if key not in value:
                    return _Fault(
                        "E612", f"the key '{key}' is missing", "write every declared column; null is a blank label"
                    )
            key = next(key for key in value if key not in self.columns)
            return _Fault("E613", f"the key {_shown(key)} is not declared", did_you_mean(key[:64], self.columns))
        cells: _Cells = self.pick(value)
        for index, (key, cell) in enumerate(zip(self.wanted, cells, strict=True)):
            if not (isinstance(cell, str) or (cell is None and index >= 2)):
                return _Fault("E614", f"the value of '{key}' is {_type(cell)}, not a string", "write it in quotes")
        return _escaped_damage(cells) or cells


def _judged(cells: _Cells, line: int, first: dict[str, int], dataset: Dataset, heads: Heads) -> Row | _Fault:
    """The row of some cells, or the first fault of what they say; `first` remembers each id's line."""
    name, text = cells[0], cells[1]
    if not name.strip():
        return _Fault("E603", f"the id in column '{dataset.id}' is blank", "give the row a unique id")
    if name in first:
        return _Fault("E604", f"the id {_shown(name)} is that of line {first[name]}", "give every row its own id")
    first[name] = line
    if not text.strip():
        return _Fault("E605", f"the text in column '{dataset.text}' is blank", "fill in the text or remove the row")
    labels: dict[str, str | None] = {}
    masks = dataset.blank == "mask"
    blanks = 0
    for (head, (label, allowed)), cell in zip(heads.items(), cells[2:], strict=True):
        if cell in allowed:
            labels[head] = cell
        elif cell is None or not cell.strip():
            if not masks:
                message = f"the label in column '{dataset.labels[label]}' is blank"
                return _Fault("E607", message, "fill in the label, or declare `blank: mask`")
            labels[head] = None
            blanks += 1
        else:
            message = f"{_shown(cell)} in column '{dataset.labels[label]}' is no label of head '{head}'"
            return _Fault("E606", message, _nearest(cell[:64], allowed))
    if blanks and blanks == len(heads):
        return _Fault("E608", "every label of the row is blank", "fill in a label or remove the row")
    return Row(name, text, labels)


def _too_long(cells: list[str]) -> _Fault | None:
    if sum(map(len, cells)) <= MAX_ROW_BYTES // 4:
        return None
    size = sum(len(cell.encode(errors="surrogateescape")) for cell in cells)
    if size <= MAX_ROW_BYTES:
        return None
    return _Fault(
        "E615", f"the row holds {size} bytes, at most {MAX_ROW_BYTES} are read", "shorten it, or close a quote"
    )


def _damage(file: _File, begin: int, end: int, line: int) -> _Fault | None:
    """The first NUL or byte that is not UTF-8 in a record, which begins on `line`."""
    found = _DAMAGE.search(file.text, begin, end) if file.suspect else None
    if found is None:
        return None
    start = file.text.rfind("\n", 0, found.start()) + 1
    before = file.text[start : found.start()]
    byte = len(before.encode(errors="surrogateescape")) + 1
    there = line + file.text.count("\n", begin, found.start())
    column = len(before) + 1 if there == line else 0
    where = f"at byte {byte} of line {there}"
    if found.group() == "\0":
        return _Fault("E609", f"a NUL character is {where}", "remove it", column)
    value = found.group().encode(errors="surrogateescape")[0]
    return _Fault("E601", f"byte 0x{value:02x} {where} is not UTF-8", "save the file as UTF-8", column)


def _escaped_damage(cells: _Cells) -> _Fault | None:
    """What a JSON escape can smuggle in: NUL, and half of a surrogate pair."""
    for cell in cells[:2]:
        if "\0" in cell:
            return _Fault("E609", "the row holds an escaped NUL character", "remove it")
        if not cell.isascii():
            try:
                cell.encode()
            except UnicodeEncodeError as error:
                message = f"\\u{ord(cell[error.start]):04x} is half of a surrogate pair, hence not UTF-8"
                return _Fault("E601", message, "write the whole pair or the character itself")
    return None


@lru_cache(maxsize=1024)
def _nearest(word: str, allowed: tuple[str, ...]) -> str:
    return did_you_mean(word, allowed)


def _shown(value: str) -> str:
    """A value on one short line, quoted, with control characters escaped."""
    return repr(value) if len(value) <= 40 else repr(value[:40]) + "…"


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
