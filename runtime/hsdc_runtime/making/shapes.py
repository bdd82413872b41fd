"""Records of declared shapes: a record fits one exactly, and gives its columns, or is rejected with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import msgspec

from hsdc_schemas.making import FieldShape, Shape, Take

UNKNOWN, MISSING, TYPE, VALUE, BROKEN, ENCODING, UNMATCHED = "E613", "E612", "E614", "E606", "E610", "E601", "E616"
REASONS: Mapping[str, str] = {
    UNKNOWN: "a key is not declared",
    MISSING: "a declared key is missing",
    TYPE: "a value is of the wrong type",
    VALUE: "a value is not allowed",
    BROKEN: "the record is no valid JSON",
    ENCODING: "the record is not UTF-8",
    UNMATCHED: "a pattern finds nothing",
}
_TYPES: Mapping[str, Any] = {"text": str, "number": float, "integer": int, "truth": bool, "texts": list[str]}

Value = Any
Columns = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a record gives no row."""

    code: str
    message: str


@dataclass(frozen=True)
class Fitting:
    """A shape, ready to read records: `names` are the columns that every shape gives, in one order."""

    name: str
    decode: Callable[[bytes], Any]
    convert: Callable[[Any], Any]
    columns: Callable[[Any], Columns | Rejected]


class Fittings:
    """The shapes that a source's records may have; the first that fits is taken."""

    def __init__(self, shapes: Mapping[str, Shape], wanted: Sequence[str], names: Sequence[str]) -> None:
        self._fittings = tuple(_fitting(name, shapes[name], tuple(names)) for name in wanted)

    def of_json(self, data: bytes) -> Columns | Rejected:
        """The columns of one record as JSON."""
        return self._first(lambda fitting: fitting.decode(data))

    def of_value(self, value: Any) -> Columns | Rejected:
        """The columns of one record that is decoded already."""
        return self._first(lambda fitting: fitting.convert(value))

    def _first(self, read: Callable[[Fitting], Any]) -> Columns | Rejected:
        first: Rejected | None = None
        for fitting in self._fittings:
            try:
                return fitting.columns(read(fitting))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                first = first or _rejected(error, fitting.name, len(self._fittings))
        assert first is not None
        return first


def _fitting(name: str, shape: Shape, names: tuple[str, ...]) -> Fitting:
    root = _tree(shape.fields)
    model, places = _struct(name, root)
    decoder = msgspec.json.Decoder(model)
    return Fitting(name, decoder.decode, lambda value: msgspec.convert(value, model), _columns(names, shape, places))


def _columns(names: tuple[str, ...], shape: Shape, places: Mapping[str, str]) -> Callable[[Any], Any]:
    declared = [shape.columns[name] for name in names]
    if len(names) > 1 and all(isinstance(item, str) for item in declared):  # the usual case, in one call
        return attrgetter(*(places[str(path)] for path in declared))
    takes = [_take(item, places, name) for name, item in zip(names, declared, strict=True)]

    def taken(record: Any) -> Columns | Rejected:
        found = tuple(take(record) for take in takes)
        return next((value for value in found if isinstance(value, Rejected)), found)

    return taken


def _tree(fields: Mapping[str, FieldShape]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, field in fields.items():
        *above, last = path.split(".")
        node = root
        for key in above:
            node = node.setdefault(key, {})
        node[last] = field
    return root


def _struct(name: str, tree: Mapping[str, Any], prefix: str = "", path: str = "") -> tuple[Any, dict[str, str]]:
    """A type that knows exactly these keys, and the attribute that leads to each dotted path."""
    fields: list[Any] = []
    rename, places = {}, {}
    for number, (key, item) in enumerate(tree.items()):
        attribute, here = f"f{number}", f"{path}{key}"
        rename[attribute] = key
        if isinstance(item, FieldShape):
            fields.append(_field(attribute, item))
            places[here] = f"{prefix}{attribute}"
        else:
            below, inner = _struct(f"{name}_{number}", item, f"{prefix}{attribute}.", f"{here}.")
            fields.append((attribute, below))
            places |= inner
    ordered = sorted(fields, key=len)  # what has a default comes last
    return msgspec.defstruct(f"Record_{name}", ordered, rename=rename, forbid_unknown_fields=True), places


def _field(attribute: str, field: FieldShape) -> tuple[Any, ...]:
    kind = Literal[field.allowed] if field.allowed else _TYPES[field.type]  # type: ignore[valid-type]
    if field.minimum is not None or field.maximum is not None:
        from typing import Annotated

        kind = Annotated[kind, msgspec.Meta(ge=field.minimum, le=field.maximum)]
    if field.nullable or not field.required:
        kind = kind | None
    return (attribute, kind) if field.required else (attribute, kind, None)


def _take(taken: str | Take, places: Mapping[str, str], column: str) -> Callable[[Any], Value]:
    take = Take(path=taken) if isinstance(taken, str) else taken
    if take.path is None:
        return lambda _: take.value
    get = attrgetter(places[take.path])
    if take.pattern is None:
        return get
    pattern = re.compile(take.pattern, re.DOTALL)

    def matched(record: Any) -> Value:
        found = pattern.search(str(get(record) or ""))
        return found.group(1) if found else Rejected(UNMATCHED, f"the pattern of '{column}' finds nothing")

    return matched


def _rejected(error: Exception, name: str, shapes: int) -> Rejected:
    text = str(error)
    code = TYPE
    if isinstance(error, UnicodeDecodeError) or "utf-8" in text:
        code, text = ENCODING, "the record is not UTF-8"
    elif not isinstance(error, msgspec.ValidationError):
        code = BROKEN
    elif "unknown field" in text:
        code = UNKNOWN
    elif "missing required field" in text:
        code = MISSING
    elif "Invalid enum value" in text or "Expected `float` >" in text or "<=" in text or ">=" in text:
        code = VALUE
    told = text.replace("`", "'")
    return Rejected(code, told if shapes == 1 else f"no shape fits; '{name}': {told}")
