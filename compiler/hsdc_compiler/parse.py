"""Pass 1: the bytes of one file to a tree with positions, in YAML 1.2 core schema."""

from __future__ import annotations

import re

from hsdc_compiler.block import block
from hsdc_compiler.node import Mark, Node, Source
from hsdc_schemas.errors import Exit, Place, fail

MAX_BYTES = 1 << 20

# What YAML does not allow. Its complement says the same, and takes twenty times as long to compile.
_FORBIDDEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


def parse(path: str, data: bytes) -> Node:
    """The tree of one document; every fault of the file's form raises at its line and column."""
    if len(data) > MAX_BYTES:
        raise fail(
            "E101", Exit.SPEC, f"the file has {len(data):,} bytes; a spec has at most {MAX_BYTES:,}", Place(path, 1)
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _at(Source(path, data.decode(errors="replace")), len(data[: error.start].decode()))
        raise fail("E102", Exit.SPEC, f"byte {error.start} is not UTF-8", place, "save the file as UTF-8") from None
    source = Source(path, text)
    if found := _FORBIDDEN.search(text):
        message = f"the character U+{ord(found.group()):04X} is not allowed in YAML"
        raise fail("E103", Exit.SPEC, message, _at(source, found.start()), "remove it")
    return block(source) or _parsed(source)


def _parsed(source: Source) -> Node:
    from hsdc_compiler.stream import stream  # the YAML parser is weight that few specs need

    return stream(source)


def _at(source: Source, index: int) -> Place:
    """The place of one character of a text."""
    before = source.text[:index].splitlines(keepends=True) or [""]
    line, column = len(before), len(before[-1]) + 1
    if before[-1].endswith(("\n", "\r", "\x85", "\u2028", "\u2029")):
        line, column = line + 1, 1
    return Mark(source, line, column, column + 1).place()
