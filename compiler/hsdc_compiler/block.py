"""A spec as most people write one, read without the YAML parser, which takes three times as long.

The usual form: block mappings of plain keys; lists and flow collections of scalars; all of a value on one line;
comments. Whatever is special in any way, every fault included, is left to the parser.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, TypeAlias

from hsdc_compiler.node import Mark, Node, Scalar, Source

WHOLE = "document"  # in place of a key, for the mapping at the top
DEEPEST = 16  # so that no depth is reached which the parser refuses
MAX_DIGITS = 300  # of a whole number; such a number still fits a float
NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")

_SPECIAL = re.compile("[\t\r\x85\u2028\u2029\ufeff]")  # other blanks and ends of lines than the usual ones
_KEY = r"[$A-Za-z_][A-Za-z0-9_.-]{0,63}"
_FIRST = r"(?:[A-Za-z0-9_./+~(]|-(?=[.0-9]))"
_QUOTED = r"\"[^\"\\]*\"|'[^']*'"
_PLAIN = rf"{_FIRST}(?:[^ :#]++|:(?=[^ ])| ++(?=[^ :#]))*+"
_FLOW = r"\[[^#]*\]|\{[^#]*\}"
_LINE = re.compile(
    rf" *(?:(?P<key>{_KEY}):(?= |\Z)|(?P<dash>-)(?= )|(?= *(?:#.*)?\Z))"
    rf" *(?P<value>{_PLAIN}|{_QUOTED}|{_FLOW})? *(?:(?<![^ ])#.*)?\Z"
)
_WORD = rf"{_FIRST}[A-Za-z0-9_./+%()=-]*(?: +[A-Za-z0-9_./+%()=]+)*"
_ITEM = re.compile(rf" *(?:(?P<key>{_KEY}): +)?(?P<value>{_WORD}|{_QUOTED}|\[|\{{)")
_COMMA = re.compile(r" *,(?= *[^] },])")
_CLOSE = re.compile(r" *([]}])")


class UnusualError(Exception):
    """This is not of the usual form."""


Written: TypeAlias = tuple[int, str, Any, int, int]
"""A key or a dash (key "") by its column, and its value, a scalar or the items of a flow collection, from where to
where; columns count from 1, and 0 is where no value is."""


def block(source: Source) -> Node | None:
    """The tree of one document; None where the text is not of the usual form."""
    if _SPECIAL.search(source.text):
        return None
    try:
        return _built(source)
    except UnusualError:
        return None


def _built(source: Source) -> Node:
    """Goes down the lines: with the mapping that is open, the key that waits for its value, the list that is open."""
    top: dict[str, Node] = {}
    items: list[Node] = []
    above: list[tuple[int, dict[str, Node]]] = []
    column, key, entries = 0, WHOLE, top
    at = first = Mark(source, 0, 0, 0)
    for number, line in enumerate(map(_line, source.text.split("\n")), 1):
        if line is None:
            continue
        here, name, value, start, end = line
        if not name:
            if not items:
                first = Mark(source, number, here, here + 1)
            if not (key and above) or here < column or here != first.column:
                raise UnusualError
            items.append(_node(source, number, value, start, end))
            continue
        if items:
            entries[key] = Node(tuple(items), first, at)
            key, items = "", []
        if key:
            if here <= column or len(above) > DEEPEST:
                raise UnusualError
            mark = Mark(source, number, here, here + 1)
            inner = entries[key] = Node({}, mark, at if above else mark)
            above.append((column, entries))
            key, column, entries = "", here, inner.value
        while here < column and above:
            column, entries = above.pop()
        if here != column or name in entries:
            raise UnusualError
        at = Mark(source, number, here, here + len(name))
        if start:
            entries[name] = _node(source, number, value, start, end, at)
        else:
            key = name
    if items:
        entries[key] = Node(tuple(items), first, at)
    elif key:
        raise UnusualError
    return top[WHOLE]


def _node(source: Source, number: int, value: Any, start: int, end: int, key: Mark | None = None) -> Node:
    """The node of a value; what stands in a list has no key."""
    mark = Mark(source, number, start, end)
    if type(value) is dict:
        entries = {}
        for name, (column, _, item, first, last) in value.items():
            at = Mark(source, number, column, column + len(name))
            entries[name] = _node(source, number, item, first, last, at)
        value = entries
    elif type(value) is tuple:
        value = tuple([_node(source, number, item, first, last) for _, _, item, first, last in value])
    return Node(value, mark, key or mark)


@lru_cache(maxsize=4096)
def _line(text: str) -> Written | None:
    """What a line says; None where it is blank. Specs of a campaign have most of their lines in common."""
    found = _LINE.match(text)
    if found is None:
        raise UnusualError
    key, dash, value = found.groups()
    if key is None and dash is None:
        return None
    column, name = (found.start("dash") + 1, "") if dash else (found.start("key") + 1, _name(key))
    if value is None:
        if dash:
            raise UnusualError
        return column, name, None, 0, 0
    start, end = found.span("value")
    if value[0] not in "[{":
        return column, name, _scalar(value), start + 1, end + 1
    content, last = _flow(text, start)
    if last < end:
        raise UnusualError
    return column, name, content, start + 1, start + 2


def _flow(text: str, at: int, depth: int = 0) -> tuple[Any, int]:
    """The items of the flow collection that opens at a position of a line, and where it ends."""
    mapping, at, items = text[at] == "{", at + 1, list[Written]()
    last = _CLOSE.match(text, at)
    while last is None:
        found = _ITEM.match(text, at)
        if found is None or (found["key"] is not None) is not mapping or depth == DEEPEST:
            raise UnusualError
        start, at = found.span("value")
        column = found.start("key") + 1
        if text[start] in "[{":
            content, at = _flow(text, start, depth + 1)
            end = start + 1
        else:
            content, end = _scalar(found["value"]), at
        items.append((column, _name(found["key"]) if mapping else "", content, start + 1, end + 1))
        last = _CLOSE.match(text, at)
        if last is None:
            comma = _COMMA.match(text, at)
            if comma is None:
                raise UnusualError
            at = comma.end()
    if (last[1] == "}") is not mapping or len({key for _, key, *_ in items}) < len(items) * mapping:
        raise UnusualError
    return ({item[1]: item for item in items} if mapping else tuple(items)), last.end()


def _name(key: str) -> str:
    if key in _BOOLS or key in _NULLS:
        raise UnusualError
    return key


def _scalar(text: str) -> Scalar:
    if text[0] in "\"'":
        return text[1:-1]
    value = resolve(text)
    if type(value) is float and not math.isfinite(value):
        raise UnusualError
    return value


def resolve(text: str) -> Scalar:
    """A plain scalar's value under the YAML 1.2 core schema; infinities and NaN come back as floats."""
    return _resolved(text) if text[:1] in "-+.0123456789~nNtTfF" else text


@lru_cache(maxsize=4096)
def _resolved(text: str) -> Scalar:
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.match(text):
        if len(text) > MAX_DIGITS:
            return math.inf
        base = {"0o": 8, "0x": 16}.get(text[:2])
        return int(text[2:], base) if base else int(text)
    if _FLOAT.match(text):
        return float(text)
    if NOT_FINITE.match(text):
        return math.nan
    return text
