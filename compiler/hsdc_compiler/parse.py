"""Pass 1: the bytes of one file to a tree with positions. YAML 1.2 core schema on libyaml's event stream."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml
from yaml import events

from hsdc_compiler.node import Mark, Node, Scalar, Source
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_FAULTS = 100
MAX_DIGITS = 300  # of a whole number; such a number still fits a float

_EventParser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HINTS = {  # by what both parsers say, where that alone helps nobody
    "mapping values are not allowed": "quote a text that holds ': '",
}
NO_CHARACTER = "an escape that is no character: half of a surrogate pair, or beyond U+10FFFF"
_TAG = "tag:yaml.org,2002:"
_CORE = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null"))


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
    try:
        return _Builder(source).build()
    except yaml.MarkedYAMLError as error:
        raise _syntax(source, error) from None
    except yaml.YAMLError as error:
        raise fail("E103", Exit.SPEC, f"not YAML: {str(error).splitlines()[0]}", Place(path, 1)) from None
    except (ValueError, OverflowError):  # the parser in pure Python, on an escape beyond the last character
        raise fail("E111", Exit.SPEC, NO_CHARACTER, Place(path, 1), "write the character itself") from None


def _at(source: Source, index: int) -> Place:
    """The place of one character of a text."""
    before = source.text[:index].splitlines(keepends=True) or [""]
    line, column = len(before), len(before[-1]) + 1
    if before[-1].endswith(("\n", "\r", "\x85", "\u2028", "\u2029")):
        line, column = line + 1, 1
    return Mark(source, line, column, column + 1).place()


def _syntax(source: Source, error: yaml.MarkedYAMLError) -> HsdcError:
    mark = error.problem_mark or error.context_mark
    place = Place(source.path, 1)
    if mark is not None:
        place = Mark(source, mark.line + 1, mark.column + 1, mark.column + 2).place()
    problem = " ".join(part for part in (error.problem, error.context) if part)
    hint = next((hint for start, hint in _HINTS.items() if problem.startswith(start)), "")
    if "cannot start any token" in problem and place.text[place.column - 1 : place.column] == "\t":
        problem, hint = "a tab where spaces are expected", "indent with spaces"
    if problem.startswith("found invalid Unicode character escape code"):
        return fail("E111", Exit.SPEC, NO_CHARACTER, place, "write the character itself")
    return fail("E103", Exit.SPEC, f"not YAML: {problem}", place, hint)


class _Builder:
    """Builds the tree from events with a stack of its own, so that depth is counted and never recursed into."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.faults: list[Diagnostic] = []
        self.root: Node | None = None
        self.stack: list[tuple[Any, Mark, Mark | None]] = []  # container, its mark, its key's; None: it is a key
        self.keys: list[tuple[str, Mark] | None] = []  # for each container, the key that waits for its value

    def build(self) -> Node:
        documents = 0
        loader = _EventParser(self.source.text)
        try:
            while True:
                event = loader.get_event()
                kind = type(event)
                if kind is events.ScalarEvent:
                    self.scalar(event)
                elif kind is events.MappingStartEvent or kind is events.SequenceStartEvent:
                    self.open(event, {} if kind is events.MappingStartEvent else [])
                elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
                    self.close()
                elif kind is events.AliasEvent:
                    self.fault(event, "E104", "an alias (*) is not allowed", "write the value out, or use a component")
                    if self.waits_for_key():
                        self.keys[-1] = ("*", self.mark(event))
                    else:
                        self.place_value(Node(None, self.mark(event), self.mark(event)))
                elif kind is events.DocumentStartEvent:
                    documents += 1
                    if documents == 2:
                        self.fault(event, "E105", "a second document begins here; a spec is one document")
                elif kind is events.StreamEndEvent:
                    break
        finally:
            loader.dispose()
        if self.faults:
            raise HsdcError(self.faults)
        if self.root is None:
            raise fail("E106", Exit.SPEC, "the file is empty", Place(self.source.path, 1), "start with 'hsdc: 1'")
        return self.root

    def mark(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        stop = end.column + 1 if end.line == start.line else start.column + 2
        return Mark(self.source, start.line + 1, start.column + 1, max(stop, start.column + 2))

    def fault(self, event: Any, code: str, message: str, hint: str = "", first: Mark | None = None) -> None:
        if len(self.faults) < MAX_FAULTS:
            related = (("it stands here first", first.place()),) if first else ()
            self.faults.append(Diagnostic(code, Exit.SPEC, message, self.mark(event).place(), hint, related))

    def properties(self, event: Any) -> None:
        if event.anchor is not None:
            self.fault(event, "E104", "an anchor (&) is not allowed", "write the value out, or use a component")
        if event.tag is not None and event.tag not in _CORE:
            shown = f"!!{event.tag.removeprefix(_TAG)}" if event.tag.startswith(_TAG) else event.tag
            self.fault(event, "E107", f"the tag {shown[:60]} is not allowed", "tags: !!str !!int !!float !!bool !!null")

    def open(self, event: Any, container: Any) -> None:
        self.properties(event)
        mark = self.mark(event)._replace(end=event.start_mark.column + 2)
        if event.tag in _CORE:
            self.fault(event, "E107", f"a mapping or a list is no {event.tag.removeprefix(_TAG)}", "remove the tag")
        if len(self.stack) >= MAX_DEPTH:
            raise fail("E108", Exit.SPEC, f"nested deeper than {MAX_DEPTH} levels", mark.place())
        if self.waits_for_key():
            self.fault(event, "E109", "a key must be a single string")
            self.keys[-1] = ("?", mark)
            self.stack.append((container, mark, None))
        else:
            waiting = self.keys[-1] if self.keys else None
            self.stack.append((container, mark, waiting[1] if waiting else mark))
        self.keys.append(None)

    def close(self) -> None:
        container, mark, key = self.stack.pop()
        self.keys.pop()
        if key is not None:
            self.place_value(Node(tuple(container) if type(container) is list else container, mark, key))

    def waits_for_key(self) -> bool:
        return bool(self.stack) and type(self.stack[-1][0]) is dict and self.keys[-1] is None

    def scalar(self, event: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            self.properties(event)
        mark = self.mark(event)
        if self.waits_for_key():
            self.keys[-1] = (self.key(event), mark)
            return
        waiting = self.keys[-1] if self.keys else None
        self.place_value(Node(self.value(event), mark, waiting[1] if waiting else mark))

    def key(self, event: Any) -> str:
        text: str = event.value
        if text == "<<" and event.implicit[0]:
            self.fault(event, "E104", "a merge key (<<) is not allowed", "use 'extends' or a component")
        elif event.tag in _CORE and event.tag != f"{_TAG}str":
            self.fault(event, "E109", f"the key {text[:60]} is not a string", "remove the tag")
        elif event.implicit[0] and type(_resolve(text)) is not str:
            self.fault(event, "E109", f"the key {text[:60] or '(empty)'} is not a string", f'quote it: "{text[:60]}"')
        elif text in self.stack[-1][0]:
            first = self.stack[-1][0][text].key
            message = f"the key '{text[:60]}' stands here a second time"
            self.fault(event, "E110", message, "keep one of the two", first)
        if _SURROGATE.search(text):
            self.fault(event, "E111", NO_CHARACTER, "write the character itself")
        return text

    def value(self, event: Any) -> Scalar:
        text: str = event.value
        if _SURROGATE.search(text):
            self.fault(event, "E111", NO_CHARACTER, "write the character itself")
        if event.tag in _CORE:
            return self.tagged(event, text)
        if not event.implicit[0]:
            return text
        value = _resolve(text)
        if type(value) is float and not math.isfinite(value):
            named = f'is it a name? quote it: "{text}"' if len(text) <= 60 else "is it a name? quote it"
            what = "not a finite number" if _NOT_FINITE.match(text) else "larger than any number"
            hint = "only finite numbers are values" if _NOT_FINITE.match(text) else named
            self.fault(event, "E112", f"{text[:60]}{'…' * (len(text) > 60)} is {what}", hint)
            return 0.0
        return value

    def tagged(self, event: Any, text: str) -> Scalar:
        wanted = event.tag.removeprefix(_TAG)
        if wanted == "str":
            return text
        value = _resolve(text)
        if wanted == "float" and type(value) is int:
            value = float(value)
        names = {type(None): "null", bool: "bool", int: "int", float: "float", str: "str"}
        if names[type(value)] != wanted or (type(value) is float and not math.isfinite(value)):
            self.fault(event, "E107", f"'{text[:60]}' is no {wanted}", "mend the value, or remove the tag")
            return None
        return value

    def place_value(self, node: Node) -> None:
        if not self.stack:
            self.root = self.root or node
            return
        container = self.stack[-1][0]
        if type(container) is list:
            container.append(node)
            return
        waiting = self.keys[-1]
        assert waiting is not None
        container.setdefault(waiting[0], node)
        self.keys[-1] = None


def _resolve(text: str) -> Scalar:
    """A plain scalar's value under the YAML 1.2 core schema; infinities and NaN come back as floats."""
    first = text[:1]
    if first not in "-+.0123456789~nNtTfF":
        return text
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
    if _NOT_FINITE.match(text):
        return math.nan
    return text
