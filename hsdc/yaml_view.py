"""Resolved values as YAML that hsdc's own parser reads back to the same values, a comment beside every leaf."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hsdc_compiler.node import Path

WIDEST = 48  # columns before the comments; a longer line has its comment right behind it
LONGEST_KEY = 1000  # of a key on one line with its value; YAML allows 1024

_PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_.+/()-]|:(?=[A-Za-z0-9_/])| (?=[A-Za-z0-9_(]))*\Z")
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))  # some of them other readers' alone
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def lines(values: Mapping[str, Any], comment: Callable[[Path], str]) -> list[str]:
    """A mapping in block style, its leaves each on one line with a comment; comments are aligned."""
    found = list(_block(values, ()))
    width = max((len(text) for text, path in found if path is not None and len(text) <= WIDEST), default=0)
    return [text if path is None else f"{text.ljust(width)}  # {comment(path)}" for text, path in found]


def _block(values: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Path | None]]:
    pad = "  " * len(path)
    for key, value in values.items():
        name, here = scalar(key), (*path, key)
        start = f"{pad}{name}:"
        if len(name) > LONGEST_KEY:
            yield f"{pad}? {name}", None
            start = f"{pad}:"
        if isinstance(value, Mapping) and value:
            yield start, None
            yield from _block(value, here)
        else:
            yield f"{start} {inline(value)}", here


def inline(value: Any) -> str:
    """A value on one line; control and invisible characters of texts are escaped."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(inline, value)) + "]"
    return scalar(value)


def scalar(value: str | int | float | bool | None) -> str:
    """A single value, quoted where it would be read as something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)  # as everywhere: 2e-05, which YAML 1.2 reads as the number that it is
    if _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(c)) for c in value) + '"'


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
