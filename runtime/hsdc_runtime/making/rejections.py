"""Why a record gives no row, in the words of specs."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from hsdc_schemas.errors import did_you_mean
from hsdc_schemas.records import shown

UNKNOWN, MISSING, TYPE, VALUE, BROKEN, ENCODING, UNMATCHED = "E613", "E612", "E614", "E606", "E610", "E601", "E616"
EMPTY, NUL = "E611", "E609"
_UNKNOWN = re.compile(r"unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.*)`$", re.DOTALL)
_ENUM = re.compile(r"^Invalid enum value '(.*)'$", re.DOTALL)
_BOUND = re.compile(r"^Expected `\w+(?: \| null)?` (>=|<=) (\S+)$")
_GOT = re.compile(r"^Expected `(.+)`, got `(\w+)`$")
_KINDS = {"str": "a text", "float": "a number", "int": "a whole number", "bool": "a truth value", "array": "a list"}
_KINDS |= {"object": "an object", "null": "null"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a record gives no row."""

    code: str
    message: str
    hint: str = ""


class UnmatchedError(Exception):
    """A pattern finds nothing."""


def rejected(error: Exception, known: tuple[str, ...]) -> Rejected:
    """The reason in the words of specs; what the decoder says names types and paths in its own."""
    text = str(error)
    if isinstance(error, UnmatchedError):
        return Rejected(UNMATCHED, text)
    if isinstance(error, UnicodeDecodeError) or "surrogate" in text:
        return Rejected(ENCODING, "the record is not UTF-8", "save the file as UTF-8")
    said, _, at = text.partition(" - at `$")
    place = at.removesuffix("`").removeprefix(".")
    where = f" in '{place}'" if place else ""
    if not isinstance(error, msgspec.ValidationError):
        why = said.removeprefix("JSON is malformed: ")
        hint = "write one whole JSON object for each record; NaN and Infinity are no numbers of JSON"
        return Rejected(BROKEN, f"the record is not valid JSON: {why}", hint)
    if (found := _UNKNOWN.search(said)) is not None:
        return Rejected(
            UNKNOWN, f"the key {shown(found[1])} is not declared{where}", did_you_mean(found[1][:64], known)
        )
    if (found := _MISSING.search(said)) is not None:
        return Rejected(MISSING, f"the key '{found[1]}' is missing{where}", "write every declared key, or null")
    if (found := _ENUM.search(said)) is not None:
        return Rejected(VALUE, f"'{place}' may not be {shown(found[1])}")
    if (found := _BOUND.search(said)) is not None:
        return Rejected(VALUE, f"'{place}' is not {found[1]} {float(found[2]):g}")
    if (found := _GOT.search(said)) is not None:
        wanted = " or ".join(_KINDS.get(kind, kind) for kind in found[1].split(" | "))
        what = f"'{place}'" if place else "the record"
        message = f"{what} is {_KINDS.get(found[2], found[2])}, not {wanted}"
        list_of_all = "declare 'format: json' for a file that is one list" if found[2] == "array" and not place else ""
        return Rejected(TYPE if place else EMPTY, message, list_of_all)
    if said == "Number out of range":
        return Rejected(TYPE, f"'{place}' is larger than numbers are")
    return Rejected(TYPE, f"{said.replace('`', chr(39))[:200]}{where}")
