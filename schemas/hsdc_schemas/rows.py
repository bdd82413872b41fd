"""Rows of a labelled file, read strictly: a row is kept as it is written, or rejected with one reason and its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hsdc_schemas.digests import digest_bytes
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, did_you_mean, fail
from hsdc_schemas.records import Cells, Fault, decoded, long_fields, records, shown

if TYPE_CHECKING:
    from hsdc_schemas.components import Dataset

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
    "E626": "the file is compressed",
    "E627": "the file is larger than what is read at once",
    "E628": "the file holds more rows than are read",
    "E629": "so many rows are rejected that the file is another than what is declared",
}
MOST_BYTES = 1 << 30
"""Of one file: it is read at once, and its text takes up to four times as much memory."""
MOST_ROWS = 5_000_000
"""Of one file, rejected ones included."""
MOST_REJECTED = 100_000
"""Of one file: each is kept with its line and reason."""
COMPRESSED: Mapping[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x04\x22\x4d\x18": "lz4",
}
"""How compressed files begin. None is unpacked: a few bytes could become more than any memory holds."""
Heads: TypeAlias = Mapping[str, tuple[str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One kept row; a label of None is blank, hence masked."""

    id: str
    text: str
    labels: Mapping[str, str | None]
    groups: tuple[str, ...] = ()
    cluster: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowsRead:
    """What reading a file gave: read = kept + filtered + rejected; digest and size are those of the whole file."""

    rows: tuple[Row, ...]
    read: int
    kept: int
    rejected: tuple[Diagnostic, ...]
    rejected_by_reason: Mapping[str, int]
    digest: str
    bytes: int
    filtered: Mapping[str, int]


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
    lists = frozenset(group.column for group in dataset.groups.values())
    numbers = frozenset(dataset.fields.values()).difference(wanted[: 2 + len(heads)], lists)
    data = _read(path, name)
    file = decoded(name, data)
    rows: list[Row] = []
    rejected: list[Diagnostic] = []
    first: dict[str, int] = {}
    filtered: Counter[str] = Counter()
    read = 0
    with long_fields(len(file.text)):
        for line, cells in records(file, dataset, wanted, lists, numbers):
            read += 1
            judged = cells if isinstance(cells, Fault) else _judged(cells, line, first, dataset, heads)
            if isinstance(judged, Row):
                rows.append(judged)
            elif isinstance(judged, str):
                filtered[judged] += 1
            else:
                place = file.place(line, judged.column)
                rejected.append(Diagnostic(judged.code, Exit.NO, judged.message, place, judged.hint))
            if read == limit:
                break
            if read > MOST_ROWS or len(rejected) > MOST_REJECTED:
                raise _too_many(name, rejected)
    if read == 0:
        raise fail("E624", Exit.NO, f"'{name}' holds no rows", hint="fill it, or name another file for this split")
    reasons = dict(sorted(Counter(d.code for d in rejected).items()))
    left_out = dict(sorted(filtered.items()))
    return RowsRead(tuple(rows), read, len(rows), tuple(rejected), reasons, digest_bytes(data), len(data), left_out)


def _too_many(name: str, rejected: list[Diagnostic]) -> HsdcError:
    if len(rejected) > MOST_REJECTED:
        message = f"more than {MOST_REJECTED:,} rows of '{name}' are rejected; the first: {rejected[0].message}"
        return fail(
            "E629", Exit.NO, message, rejected[0].place, "declare the data set as the file is, or mend the file"
        )
    hint = "divide the file among several data sets, or take a sample of its rows"
    return fail("E628", Exit.NO, f"'{name}' holds more than {MOST_ROWS:,} rows", hint=hint)


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
    """The columns of id, text, each head's label, groups, fields and cluster, in that order."""
    for head, (label, _) in heads.items():
        if label not in dataset.labels:
            message = f"head '{head}' learns '{label}', which is no label of the data set of '{name}'"
            raise fail("E625", Exit.SPEC, message, hint=did_you_mean(label, dataset.labels))
    wanted = (dataset.id, dataset.text, *(dataset.labels[label] for label, _ in heads.values()))
    wanted += (*_group_columns(dataset), *dataset.fields.values(), *((dataset.cluster,) if dataset.cluster else ()))
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
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise fail("E620", Exit.ENVIRONMENT, f"'{name}' is not there", hint=hint) from None
    except OSError as error:
        message = f"'{name}' cannot be read: {error.strerror}"
        raise fail("E620", Exit.ENVIRONMENT, message, hint="make the file readable for this user") from None
    if len(data) > MOST_BYTES:
        hint = "divide the file among several data sets, or take a sample of its rows"
        raise fail("E627", Exit.NO, f"'{name}' is larger than {MOST_BYTES:,} bytes", hint=hint)
    for begins, what in COMPRESSED.items():
        if data.startswith(begins):
            message = f"'{name}' is compressed ({what}), and compressed files are not read"
            raise fail("E626", Exit.NO, message, hint="unpack it, and name the unpacked file")
    return data


def _group_columns(dataset: Dataset) -> tuple[str, ...]:
    return tuple(dict.fromkeys(group.column for group in dataset.groups.values()))


def _judged(cells: Cells, line: int, first: dict[str, int], dataset: Dataset, heads: Heads) -> Row | Fault | str:
    """The row of some cells, the first fault of what they say, or the rule that filters it.

    `first` remembers each id's line.
    """
    name, text = cells[0], cells[1]
    if not name.strip():
        return Fault("E603", f"the id in column '{dataset.id}' is blank", "give the row a unique id")
    if name in first:
        return Fault("E604", f"the id {shown(name)} is that of line {first[name]}", "give every row its own id")
    first[name] = line
    if not text.strip():
        return Fault("E605", f"the text in column '{dataset.text}' is blank", "fill in the text or remove the row")
    labels: dict[str, str | None] = {}
    masks = dataset.blank == "mask"
    blanks = 0
    for (head, (label, allowed)), cell in zip(heads.items(), cells[2:], strict=False):
        meant = dataset.values.get(label)
        if meant is not None and cell in meant:
            if meant[cell] is None:
                return f"{label}={cell}"
            cell = meant[cell]
        if cell in allowed:
            labels[head] = cell
        elif cell is None or not cell.strip():
            if not masks:
                message = f"the label in column '{dataset.labels[label]}' is blank"
                return Fault("E607", message, "fill in the label, or declare `blank: mask`")
            labels[head] = None
            blanks += 1
        else:
            message = f"{shown(cell)} in column '{dataset.labels[label]}' is no label of head '{head}'"
            return Fault("E606", message, _nearest(cell[:64], allowed))
    if blanks and blanks == len(heads):
        return Fault("E608", "every label of the row is blank", "fill in a label or remove the row")
    rest = cells[2 + len(heads) :]
    fields = dict(zip(dataset.fields, rest[len(_group_columns(dataset)) :], strict=False))
    told = {name: cell for name, cell in fields.items() if cell is not None}
    return Row(name, text, labels, _groups(rest, dataset), rest[-1] if dataset.cluster else None, told)


def _groups(cells: Cells, dataset: Dataset) -> tuple[str, ...]:
    """The groups of a row, in declared order."""
    if not dataset.groups:
        return ()
    held = {column: _entries(cell, dataset) for column, cell in zip(_group_columns(dataset), cells, strict=False)}
    return tuple(name for name, group in dataset.groups.items() if not held[group.column].isdisjoint(group.values))


def _entries(cell: Any, dataset: Dataset) -> frozenset[str]:
    if isinstance(cell, list):
        return frozenset(cell)
    return frozenset(part.strip() for part in cell.split(dataset.separator)) if cell else frozenset()


@lru_cache(maxsize=1024)
def _nearest(word: str, allowed: tuple[str, ...]) -> str:
    return did_you_mean(word, allowed)
