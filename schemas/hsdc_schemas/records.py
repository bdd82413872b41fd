"""Records of CSV, TSV, JSON and JSONL files with their lines; what is wrong with a record's form is its fault."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from hsdc_schemas.errors import Exit, HsdcError, Place, did_you_mean, fail

if TYPE_CHECKING:
    from hsdc_schemas.components import Dataset

MAX_ROW_BYTES = 1 << 20
Cells: TypeAlias = tuple[Any, ...]  # id, text, then one cell per head
_DAMAGE = re.compile("[\udc80-\udcff\0]")
_SPACE = re.compile(r"[ \t\n\r]*")
_FIELD_LIMIT = threading.Lock()


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row is rejected; the reader adds file and line."""

    code: str
    message: str
    hint: str = ""
    column: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """A decoded file; a byte that is not UTF-8 is a lone surrogate, and `suspect` tells whether to look for damage."""

    name: str
    text: str
    suspect: bool

    def place(self, line: int, column: int = 0) -> Place:
        return Place(self.name, line, column)


def decoded(name: str, data: bytes) -> File:
    body = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return File(name, body.decode(errors="surrogateescape"), True)
    return File(name, text, "\0" in text)


@contextmanager
def long_fields(length: int) -> Iterator[None]:
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


def records(
    file: File,
    dataset: Dataset,
    wanted: tuple[str, ...],
    lists: frozenset[str] = frozenset(),
    numbers: frozenset[str] = frozenset(),
) -> Iterator[tuple[int, Cells | Fault]]:
    """Each record's first line (from 1) with its wanted cells, or with the fault of its form.

    In JSON the columns of `lists` may hold a list of texts, and those of `numbers` a number, which is taken as a text.
    """
    if not file.text.strip():
        return iter(())
    match dataset.format:
        case "csv":
            return _table(file, dataset.columns, wanted, ",")
        case "tsv":
            return _table(file, dataset.columns, wanted, "\t")
        case "jsonl":
            return _Json(file, dataset.columns, wanted, lists, numbers).lines()
        case "json":
            return _Json(file, dataset.columns, wanted, lists, numbers).items()


def _table(
    file: File, columns: tuple[str, ...], wanted: tuple[str, ...], delimiter: str
) -> Iterator[tuple[int, Cells | Fault]]:
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
                fault = Fault("E602", f"the row has {len(cells)} cells, the header {len(header)}", hint)
            yield line, fault or pick(cells)
            line = reader.line_num + 1
    except csv.Error as error:
        hint = "a quote inside a quoted cell is written twice, and every quoted cell is closed"
        message = f"'{file.name}' is malformed: {error}".splitlines()[0]
        raise fail("E622", Exit.NO, message, file.place(line), hint) from None


def _check_header(file: File, header: list[str], columns: tuple[str, ...]) -> None:
    missing, extra = Counter(columns) - Counter(header), Counter(header) - Counter(columns)
    if missing or extra:
        parts = [
            f"{word} {', '.join(map(shown, some))}" for word, some in (("lacks", missing), ("adds", extra)) if some
        ]
        message = f"the header of '{file.name}' is not the declared columns: it {' and '.join(parts)}"
        hint = "declare in 'columns' exactly what the header holds, or mend the header"
        raise fail("E621", Exit.SPEC, message, file.place(1), hint)


class _Json:
    """Records of a JSON list of objects, or of one object a line."""

    def __init__(
        self,
        file: File,
        columns: tuple[str, ...],
        wanted: tuple[str, ...],
        lists: frozenset[str],
        numbers: frozenset[str],
    ) -> None:
        self.lists, self.numbers = lists, numbers
        self.file = file
        self.columns = dict.fromkeys(columns)
        self.wanted = wanted
        self.pick = itemgetter(*wanted)
        self.flaws: list[str] = []  # of the value being parsed: the parser goes on, the row is rejected
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def lines(self) -> Iterator[tuple[int, Cells | Fault]]:
        begin = 0
        for number, line in enumerate(self.file.text.removesuffix("\n").split("\n"), 1):
            end = begin + len(line)
            fault = _too_long([line]) or _damage(self.file, begin, end, number)
            yield number, fault or self._line(line)
            begin = end + 1

    def _line(self, line: str) -> Cells | Fault:
        if not line.strip():
            return Fault("E611", "the line is empty, not a JSON object", "remove the empty line")
        self.flaws.clear()
        try:
            value = self.decoder.decode(line)
        except json.JSONDecodeError as error:
            return Fault("E610", f"invalid JSON: {error.msg}", "write one whole JSON object on each line", error.colno)
        except (ValueError, RecursionError) as error:
            return Fault("E610", f"invalid JSON: {error}", "write one whole JSON object on each line")
        return self._cells(value)

    def items(self) -> Iterator[tuple[int, Cells | Fault]]:
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
            self.flaws.append(f"the key {shown(twice)} is written twice")
        return found

    def _constant(self, word: str) -> None:
        self.flaws.append(f"{word} is no JSON value")

    def _cells(self, value: Any) -> Cells | Fault:
        if self.flaws:
            return Fault("E610", self.flaws[0], "write each key once and only values that JSON has")
        if not isinstance(value, dict):
            return Fault("E611", f"the row is {_type(value)}, not an object", 'write a row as {"column": value, …}')
        if value.keys() != self.columns.keys():
            for key in self.columns:
                if key not in value:
                    return Fault(
                        "E612", f"the key '{key}' is missing", "write every declared column; null is a blank label"
                    )
            key = next(key for key in value if key not in self.columns)
            return Fault("E613", f"the key {shown(key)} is not declared", did_you_mean(key[:64], self.columns))
        cells: Cells = self.pick(value)
        if self.numbers:
            pairs = zip(self.wanted, cells, strict=True)
            cells = tuple(_told(cell) if key in self.numbers else cell for key, cell in pairs)
        for index, (key, cell) in enumerate(zip(self.wanted, cells, strict=True)):
            listed = key in self.lists and isinstance(cell, list) and all(isinstance(item, str) for item in cell)
            if not (isinstance(cell, str) or (cell is None and index >= 2) or listed):
                return Fault("E614", f"the value of '{key}' is {_type(cell)}, not a string", "write it in quotes")
        return _escaped_damage(cells) or cells


def _told(cell: Any) -> Any:
    """A number as JSON writes it; anything else as it is."""
    return json.dumps(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else cell


def _too_long(cells: list[str]) -> Fault | None:
    if sum(map(len, cells)) <= MAX_ROW_BYTES // 4:
        return None
    size = sum(len(cell.encode(errors="surrogateescape")) for cell in cells)
    if size <= MAX_ROW_BYTES:
        return None
    return Fault(
        "E615", f"the row holds {size} bytes, at most {MAX_ROW_BYTES} are read", "shorten it, or close a quote"
    )


def _damage(file: File, begin: int, end: int, line: int) -> Fault | None:
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
        return Fault("E609", f"a NUL character is {where}", "remove it", column)
    value = found.group().encode(errors="surrogateescape")[0]
    return Fault("E601", f"byte 0x{value:02x} {where} is not UTF-8", "save the file as UTF-8", column)


def _escaped_damage(cells: Cells) -> Fault | None:
    """What a JSON escape can smuggle in: NUL, and half of a surrogate pair."""
    for cell in cells[:2]:
        if "\0" in cell:
            return Fault("E609", "the row holds an escaped NUL character", "remove it")
        if not cell.isascii():
            try:
                cell.encode()
            except UnicodeEncodeError as error:
                message = f"\\u{ord(cell[error.start]):04x} is half of a surrogate pair, hence not UTF-8"
                return Fault("E601", message, "write the whole pair or the character itself")
    return None


def shown(value: str) -> str:
    """A value on one short line, quoted, with control characters escaped."""
    return repr(value) if len(value) <= 40 else repr(value[:40]) + "…"


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
