"""Answers: what a run said of every row of a scored split, one file for every kind of run.

A file is JSON lines: a header, then a line for each row, in the order in which the rows were read. Compared are
answers to the same rows, so the header holds a digest of which rows they are and what is right for each.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from hsdc_schemas.confusion import Confusion
from hsdc_schemas.digests import PREFIX, canonical
from hsdc_schemas.errors import Exit, HsdcError, Place, fail
from hsdc_schemas.metrics import ALL, GROUP

SUMS_TO_ONE = 1e-3  # chances are written with nine digits
_MEASUREMENT = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all answers of a file share.

    `variants` are the ways to decide (raw, calibrated, …), the first one being the one that is meant where none is
    named. `subset` says which rows of the split were asked for, where it is not all. `measurement` is the method
    (encoder, rank, generate, endpoint-generate): figures of two methods are not one and the same measurement.
    `numbers` are what answers may say beside their label, each with its least and most, where there are any.
    """

    hsdc: Literal[1]
    heads: dict[str, tuple[str, ...]]
    variants: tuple[str, ...]
    split: str
    subset: str | None
    measurement: str
    unparseable: Literal["wrong", "drop", "error"]
    rows: int
    digest: str
    numbers: dict[str, tuple[float, float]] | UnsetType = UNSET


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row: what is right (None: not labelled), and by variant and head what was answered (None: unreadable).

    `faults` names the class of every unreadable answer. `chances` has a probability for each label of a head, in
    label order; variants and heads without them are left out. Rows of one `cluster` are not independent. `numbers` are
    by variant what the answer says, `references` what is right; a number that is not said, or not known, is left out.
    """

    id: str
    groups: tuple[str, ...]
    cluster: str | None
    gold: dict[str, str | None]
    answers: dict[str, dict[str, str | None]]
    faults: dict[str, dict[str, str]] = {}
    chances: dict[str, dict[str, tuple[float, ...]]] = {}
    numbers: dict[str, dict[str, float]] | UnsetType = UNSET
    references: dict[str, float] | UnsetType = UNSET


@dataclass(frozen=True)
class Answers:
    """A whole file of answers."""

    header: Header
    rows: tuple[Answer, ...]


def rows_digest(rows: Iterable[tuple[str, Mapping[str, str | None]]]) -> str:
    """The digest of which rows these are, given each one's id and gold labels: the same in whatever order."""
    parts = sorted(hashlib.sha256(canonical([name, gold])).digest() for name, gold in rows)
    return PREFIX + hashlib.sha256(b"".join(parts)).hexdigest()


def write_answers(
    path: Path,
    rows: Sequence[Answer],
    *,
    heads: Mapping[str, Sequence[str]],
    variants: Sequence[str],
    split: str,
    measurement: str,
    subset: str | None = None,
    unparseable: Literal["wrong", "drop", "error"] = "wrong",
    numbers: Mapping[str, tuple[float, float]] | None = None,
) -> Header:
    """Write answers to a file, and return its header. Raises ValueError where a reader would refuse the file."""
    header = Header(
        hsdc=1,
        heads={head: tuple(labels) for head, labels in heads.items()},
        variants=tuple(variants),
        split=split,
        subset=subset,
        measurement=measurement,
        unparseable=unparseable,
        rows=len(rows),
        digest=rows_digest((row.id, row.gold) for row in rows),
        numbers=dict(numbers) if numbers else UNSET,
    )
    _require_header(header)
    known: set[str] = set()
    with path.open("wb") as file:
        file.write(canonical(msgspec.to_builtins(header)) + b"\n")
        for row in rows:
            _require_row(header, row, known)
            file.write(canonical(msgspec.to_builtins(row)) + b"\n")
    return header


def load_answers(path: Path, shown: str) -> Answers:
    """The answers of a file, `shown` standing for it in messages; raises HsdcError (E530) as `stream_answers`."""
    header, rows = stream_answers(path, shown)
    return Answers(header, tuple(rows))


def stream_answers(path: Path, shown: str) -> tuple[Header, Iterator[Answer]]:
    """The header of a file, and its rows one by one.

    Raises HsdcError (E530) where the file cannot be read or is not one that `write_answers` wrote; that rows are
    missing or are others is known, and raised, only after the last one.
    """
    try:
        lines = path.open("rb")
    except OSError as error:
        message = f"{shown} cannot be read: {error.strerror}"
        raise fail("E530", Exit.ENVIRONMENT, message, None, "run again: hsdc run") from None
    with lines:
        first = next(iter(lines), b"")
    try:
        header = _HEADERS.decode(first)
        _require_header(header)
    except (ValueError, msgspec.MsgspecError) as error:
        raise _damaged(shown, 1, str(error)) from None
    return header, _rows(path, shown, header)


def _rows(path: Path, shown: str, header: Header) -> Iterator[Answer]:
    known: set[str] = set()
    parts: list[tuple[str, dict[str, str | None]]] = []
    number = 1
    with path.open("rb") as lines:
        for number, line in enumerate(islice(lines, 1, None), 2):
            try:
                row = _ROWS.decode(line)
                _require_row(header, row, known)
            except (ValueError, msgspec.MsgspecError) as error:
                raise _damaged(shown, number, str(error)) from None
            parts.append((row.id, row.gold))
            yield row
    if len(parts) != header.rows or rows_digest(parts) != header.digest:
        message = f"its {len(parts)} rows are not the {header.rows} that its header names"
        raise _damaged(shown, number, message)


def _damaged(shown: str, line: int, why: str) -> HsdcError:
    message = f"{shown} is not a file of answers as hsdc writes it: {why}"
    return fail("E530", Exit.NO, message, Place(shown, line), "do not edit it; make it anew: hsdc run")


def _require_header(header: Header) -> None:
    """Raises ValueError where the header contradicts itself."""
    if not header.heads or not header.variants or len(set(header.variants)) != len(header.variants):
        raise ValueError("there is at least one head and one variant, and each once")
    for head, labels in header.heads.items():
        if len(labels) < 2 or len(set(labels)) != len(labels):
            raise ValueError(f"the head '{head}' has at least two labels, and each once")
    if not _MEASUREMENT.fullmatch(header.measurement):
        raise ValueError(f"'{header.measurement}' is no measurement: lower-case words with dashes between them")


def _require_row(header: Header, row: Answer, known: set[str]) -> None:
    """Raises ValueError where a row is not one of the header's."""
    if row.id in known:
        raise ValueError(f"the id '{row.id}' occurs twice")
    known.add(row.id)
    if len(set(row.groups)) != len(row.groups):
        raise ValueError("the row names a group twice")
    if row.gold.keys() != header.heads.keys() or row.answers.keys() != set(header.variants):
        raise ValueError("the row has other heads or variants than the header")
    for variant, answers in row.answers.items():
        _require_variant(header, row, variant, answers)
    if not (row.faults.keys() <= row.answers.keys() and row.chances.keys() <= row.answers.keys()):
        raise ValueError("the row has faults or chances of a variant that is not there")
    said = row.numbers or {}
    if not said.keys() <= row.answers.keys():
        raise ValueError("the row has numbers of a variant that is not there")
    for given in (*said.values(), row.references or {}):
        _require_numbers(header.numbers or {}, given)


def _require_variant(header: Header, row: Answer, variant: str, answers: Mapping[str, str | None]) -> None:
    if answers.keys() != header.heads.keys():
        raise ValueError(f"the row has other heads in '{variant}' than the header")
    for head, labels in header.heads.items():
        for said in (row.gold[head], answers[head]):
            if said is not None and said not in labels:
                raise ValueError(f"'{said}' is no label of '{head}'")
    if {head for head, answer in answers.items() if answer is None} != row.faults.get(variant, {}).keys():
        raise ValueError(f"an unreadable answer of '{variant}' has a fault, and no other has one")
    for head, chances in row.chances.get(variant, {}).items():
        if head not in header.heads or len(chances) != len(header.heads[head]):
            raise ValueError(f"'{head}' has not one chance for each of its labels")
        if not (all(0 <= chance <= 1 for chance in chances) and abs(sum(chances) - 1) < SUMS_TO_ONE):
            raise ValueError(f"the chances of '{head}' are no probabilities")


def _require_numbers(known: Mapping[str, tuple[float, float]], given: Mapping[str, float]) -> None:
    for name, value in given.items():
        if name not in known or not known[name][0] <= value <= known[name][1]:
            raise ValueError(f"{value} is no number that '{name}' may be")


_HEADERS = msgspec.json.Decoder(Header)
_ROWS = msgspec.json.Decoder(Answer)


def tally(header: Header, rows: Sequence[Answer], *, across: bool = False) -> dict[str, dict[str, dict[str, Any]]]:
    """What a record stores as its scores: variant → slice → head → confusion counts, as JSON values.

    Slices are `all` rows, each `group=NAME`, and with `across` each `HEAD=LABEL` for the other heads.
    """
    slices: dict[str, list[Answer]] = {ALL: list(rows)}
    if across and len(header.heads) > 1:
        for head, labels in header.heads.items():
            slices |= {f"{head}={label}": [row for row in rows if row.gold[head] == label] for label in labels}
    for group in sorted({group for row in rows for group in row.groups}):
        if f"{GROUP}={group}" in slices:
            raise ValueError(f"'{GROUP}={group}' names a group and a label of a head; rename the head '{GROUP}'")
        slices[f"{GROUP}={group}"] = [row for row in rows if group in row.groups]
    return {
        variant: {
            name: {
                head: confusion(header, kept, variant, head).as_json()
                for head in header.heads
                if name.partition("=")[0] != head
            }
            for name, kept in slices.items()
        }
        for variant in header.variants
    }


def confusion(header: Header, rows: Iterable[Answer], variant: str, head: str) -> Confusion:
    """The counts of one head over some rows."""
    places: dict[str | None, int | None] = {label: place for place, label in enumerate(header.heads[head])}
    places[None] = None
    pairs = [(places[row.gold[head]], places[row.answers[variant][head]]) for row in rows]
    return Confusion.of(header.heads[head], (gold for gold, _ in pairs), (answer for _, answer in pairs))
