"""Records of declared shapes: a record fits one exactly, and gives its columns, or is rejected with a reason."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec

from hsdc_runtime.making.rejections import (
    BROKEN,
    EMPTY,
    ENCODING,
    MISSING,
    NUL,
    TYPE,
    UNKNOWN,
    Rejected,
    UnmatchedError,
    rejected,
)
from hsdc_schemas.making import FieldShape, Shape, Take
from hsdc_schemas.patterns import finder

_TYPES: Mapping[str, Any] = {"text": str, "number": float, "integer": int, "truth": bool, "texts": list[str]}
_ESCAPED_KEY = re.compile(rb'\\.[^"\\]*"[ \t\r\n]*:', re.DOTALL)

Value = Any
Columns = tuple[Value, ...]


@dataclass(frozen=True)
class Fitting:
    """A shape, ready to read records: `taken` gives the columns that every shape gives, in one order.

    `lines` decodes lines of one record each, all at once; `keys` is how often each key stands in a record, where every
    record has every key, else None.
    """

    name: str
    decode: Callable[[bytes], Any]
    lines: Callable[[bytes], list[Any]]
    convert: Callable[[Any], Any]
    taken: Callable[[Any], Columns]
    plain: bool
    keys: Mapping[bytes, int] | None
    known: tuple[str, ...]


class Fittings:
    """The shapes that a source's records may have; the first that fits is taken."""

    def __init__(self, shapes: Mapping[str, Shape], wanted: Sequence[str], names: Sequence[str]) -> None:
        self._fittings = tuple(_fitting(name, shapes[name], tuple(names)) for name in wanted)

    def of_lines(self, block: bytes, lines: int) -> list[Columns] | None:
        """The columns of so many whole lines, if each is sound and of the first shape; None where one may not be.

        That a line is one record follows from where lines begin and end: between records alone stands `}` before `{`.
        A key that stands twice, or is written with an escape, makes the counts of keys differ or shows a backslash.
        """
        first = self._fittings[0]
        ends = b"}\r\n{" if block.endswith(b"\r\n") else b"}\n{"
        if first.keys is None or not block.startswith(b"{") or block.count(ends) != lines - 1:
            return None
        if b"\\u0000" in block or any(block.count(key) != lines * times for key, times in first.keys.items()):
            return None
        if b"\\" in block and _ESCAPED_KEY.search(block):
            return None
        try:
            records = first.lines(block)
            return list(map(first.taken, records)) if len(records) == lines else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UnmatchedError):
            return None

    def of_json(self, data: bytes) -> Columns | Rejected:
        """The columns of one record as JSON."""
        found = self._first(lambda fitting: fitting.decode(data))
        if type(found) is Rejected and not data.strip():
            return Rejected(EMPTY, "the line is empty", "remove it")
        twice = None if type(found) is Rejected else _twice(data)
        return found if twice is None else Rejected(BROKEN, f"the key '{twice[:64]}' stands twice", "keep one of them")

    def of_value(self, value: Any) -> Columns | Rejected:
        """The columns of one record that is decoded already."""
        if (odd := _not_finite(value)) is not None:
            return Rejected(TYPE, f"the value of '{odd}' is no finite number", "leave it null, and declare it nullable")
        return self._first(lambda fitting: fitting.convert(value))

    def _first(self, read: Callable[[Fitting], Any]) -> Columns | Rejected:
        faults = []
        for fitting in self._fittings:
            try:
                found = fitting.taken(read(fitting))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UnmatchedError) as error:
                faults.append((fitting.name, rejected(error, fitting.known)))
                continue
            if any("\0" in value for value in found if type(value) is str):
                return Rejected(NUL, "the record holds an escaped NUL character", "remove it")
            return found
        first = faults[0][1]
        if len(faults) == 1 or first.code in (ENCODING, BROKEN):
            return first
        told = "; ".join(f"as '{name}', {fault.message}" for name, fault in faults)
        # Of a shape whose keys the record has, it tells more what is wrong.
        nearest = next((fault for _, fault in faults if fault.code not in (UNKNOWN, MISSING)), first)
        return Rejected(nearest.code, f"no shape fits: {told}", "declare another shape, or mend the record")


def column_names(shapes: Mapping[str, Shape], id: str, text: str) -> tuple[str, ...]:
    """The columns in the order in which rows have them: id and text, then the others by name."""
    found = {column for shape in shapes.values() for column in shape.columns}
    return tuple(dict.fromkeys((id, text, *sorted(found))))


def types(shapes: Mapping[str, Shape], names: Iterable[str]) -> dict[str, str]:
    """The type of each column: a field's where all shapes agree, a number where some are integers, else a text."""
    return {name: _type({_type_in(shape, name) for shape in shapes.values()}) for name in names}


def _type(found: set[str]) -> str:
    if len(found) == 1:
        return next(iter(found))
    return "number" if found == {"number", "integer"} else "text"


def _type_in(shape: Shape, name: str) -> str:
    taken = shape.columns[name]
    take = Take(path=taken) if isinstance(taken, str) else taken
    plain = take.path is not None and take.pattern is None and not take.values
    return shape.fields[str(take.path)].type if plain else "text"


def _fitting(name: str, shape: Shape, names: tuple[str, ...]) -> Fitting:
    root = _tree(shape.fields)
    model, places = _struct(name, root)
    decoder = msgspec.json.Decoder(model)
    taken, plain = _taken(names, shape, places)
    keys = Counter(json.dumps(key).encode() for key in _keys(root))
    whole = all(field.required and key.isascii() for key, field in shape.fields.items())
    known = tuple(shape.fields)
    return Fitting(
        name,
        decoder.decode,
        decoder.decode_lines,
        lambda value: msgspec.convert(value, model),
        taken,
        plain,
        keys if whole else None,
        known,
    )


def _taken(names: tuple[str, ...], shape: Shape, places: Mapping[str, str]) -> tuple[Callable[[Any], Columns], bool]:
    declared = [shape.columns[name] for name in names]
    whole = all(field.required for field in shape.fields.values())
    if whole and len(names) > 1 and all(isinstance(item, str) for item in declared):  # the usual case, in one call
        return attrgetter(*(places[str(path)] for path in declared)), True
    takes = [_take(item, places, name) for name, item in zip(names, declared, strict=True)]
    return lambda record: tuple(take(record) for take in takes), False


def _tree(fields: Mapping[str, FieldShape]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, field in fields.items():
        *above, last = path.split(".")
        node = root
        for key in above:
            node = node.setdefault(key, {})
        node[last] = field
    return root


def _keys(tree: Mapping[str, Any]) -> Iterable[str]:
    for key, item in tree.items():
        yield key
        if not isinstance(item, FieldShape):
            yield from _keys(item)


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
    made = msgspec.defstruct(f"Record_{name}", ordered, rename=rename, forbid_unknown_fields=True, gc=False)
    return made, places


def _field(attribute: str, field: FieldShape) -> tuple[Any, ...]:
    kind = Literal[field.allowed] if field.allowed else _TYPES[field.type]
    if field.minimum is not None or field.maximum is not None:
        kind = Annotated[kind, msgspec.Meta(ge=field.minimum, le=field.maximum)]
    if field.nullable:
        kind = kind | None
    return (attribute, kind) if field.required else (attribute, kind | msgspec.UnsetType, msgspec.UNSET)


def _take(taken: str | Take, places: Mapping[str, str], column: str) -> Callable[[Any], Value]:
    take = Take(path=taken) if isinstance(taken, str) else taken
    if take.path is None:
        return lambda _: take.value
    get = _present(attrgetter(places[take.path]))
    found = get if take.pattern is None else _matched(get, take.path, take.pattern, column)
    if not take.values:
        return found

    def changed(record: Any) -> Value:
        value = found(record)
        text = _written(value)
        return take.values.get(text, None if value is None else text)

    return changed


def _present(get: Callable[[Any], Value]) -> Callable[[Any], Value]:
    """A key that is not there is null to whoever takes it."""

    def present(record: Any) -> Value:
        value = get(record)
        return None if value is msgspec.UNSET else value

    return present


def _matched(get: Callable[[Any], Value], path: str, pattern: str, column: str) -> Callable[[Any], Value]:
    find = finder(pattern)

    def matched(record: Any) -> Value:
        found = find(_written(get(record)))
        if found is None:
            raise UnmatchedError(f"the pattern of '{column}' finds nothing in '{path}'")
        return found

    return matched


def _written(value: Value) -> str:
    """What a pattern looks at: a text, the texts of a list, or a number as it is written."""
    if isinstance(value, list):
        return "; ".join(value)
    return "" if value is None else str(value)


def _twice(data: bytes) -> str | None:
    """A key that stands twice in one object, which decoders pass over."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            raise KeyError(next(key for key, count in Counter(key for key, _ in items).items() if count > 1))
        return found

    try:
        json.loads(data, object_pairs_hook=pairs)
    except KeyError as error:
        return str(error.args[0])
    return None


def _not_finite(value: Any, name: str = "") -> str | None:
    if type(value) is dict:
        inner = (_not_finite(item, f"{name}.{key}" if name else str(key)) for key, item in value.items())
        return next((found for found in inner if found is not None), None)
    return name if type(value) is float and not math.isfinite(value) else None
