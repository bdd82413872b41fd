"""Any YAML 1.2 document of one file as a tree with positions, on libyaml's event stream."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec
import yaml
from yaml import events

from hsdc_compiler.block import NOT_FINITE, resolve
from hsdc_compiler.node import Mark, Node, Scalar, Source
from hsdc_compiler.syntax import BRACES, NO_CHARACTER, TEMPLATE, syntax
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail

MAX_DEPTH = 64
MAX_FAULTS = 100

_EventParser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SURROGATE = re.compile("[\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_CORE = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null"))


def stream(source: Source) -> Node:
    """The tree of one document; every fault of its form raises at its line and column."""
    try:
        return _Builder(source).build()
    except yaml.MarkedYAMLError as error:
        raise syntax(source, error) from None
    except yaml.YAMLError as error:
        raise fail("E103", Exit.SPEC, f"not YAML: {str(error).splitlines()[0]}", Place(source.path, 1)) from None
    except (ValueError, OverflowError):  # the parser in pure Python, on an escape beyond the last character
        raise fail("E111", Exit.SPEC, NO_CHARACTER, Place(source.path, 1), "write the character itself") from None


def _read_as(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "null" if value is None else "a number"


class _Builder:
    """Builds the tree from events with a stack of its own, so that depth is counted and never recursed into."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.faults: list[Diagnostic] = []
        self.root: Node | None = None
        self.stack: list[tuple[Any, Mark, Mark | None]] = []  # container, its mark, its key's; None: it is a key
        self.keys: list[tuple[str, Mark] | None] = []  # for each container, the key that waits for its value
        self.documents = 0

    def build(self) -> Node:
        loader = _EventParser(self.source.text)
        get, scalar, others = loader.get_event, self.scalar, self.others()
        try:
            while True:
                event = get()
                kind = type(event)
                if kind is events.ScalarEvent:
                    scalar(event)
                elif kind is events.StreamEndEvent:
                    break
                else:
                    others[kind](event)
        finally:
            loader.dispose()
        if self.faults:
            raise HsdcError(self.faults)
        if self.root is None:
            raise fail("E106", Exit.SPEC, "the file is empty", Place(self.source.path, 1), "start with 'hsdc: 1'")
        return self.root

    def others(self) -> dict[type, Callable[[Any], None]]:
        """What is done with each kind of event that is no scalar."""
        return {
            events.MappingStartEvent: lambda event: self.open(event, {}),
            events.SequenceStartEvent: lambda event: self.open(event, []),
            events.MappingEndEvent: self.close,
            events.SequenceEndEvent: self.close,
            events.AliasEvent: self.alias,
            events.DocumentStartEvent: self.document,
            events.DocumentEndEvent: lambda _: None,
            events.StreamStartEvent: lambda _: None,
        }

    def alias(self, event: Any) -> None:
        self.fault(event, "E104", "an alias (*) is not allowed", "write the value out, or use a component")
        if self.waits_for_key():
            self.keys[-1] = ("*", self.mark(event))
        else:
            self.place_value(Node(None, self.mark(event), self.mark(event)))

    def document(self, event: Any) -> None:
        self.documents += 1
        if self.documents == 2:
            self.fault(event, "E105", "a second document begins here; a spec is one document")

    def mark(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        line, column = start.line, start.column + 1
        stop = end.column + 1 if end.line == line else 0
        return Mark(self.source, line + 1, column, stop if stop > column else column + 1)

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
        mark = msgspec.structs.replace(self.mark(event), end=event.start_mark.column + 2)
        if event.tag in _CORE:
            self.fault(event, "E107", f"a mapping or a list is no {event.tag.removeprefix(_TAG)}", "remove the tag")
        if len(self.stack) >= MAX_DEPTH:
            raise fail("E108", Exit.SPEC, f"nested deeper than {MAX_DEPTH} levels", mark.place())
        if self.waits_for_key():
            what = "a mapping" if type(container) is dict else "a list"
            hint = BRACES if TEMPLATE.search(self.source.line(mark.line)) else "write one name before the colon"
            self.fault(event, "E109", f"{what} stands where a key is expected", hint)
            self.keys[-1] = ("?", mark)
            self.stack.append((container, mark, None))
        else:
            waiting = self.keys[-1] if self.keys else None
            self.stack.append((container, mark, waiting[1] if waiting else mark))
        self.keys.append(None)

    def close(self, _: Any) -> None:
        container, mark, key = self.stack.pop()
        self.keys.pop()
        if key is not None:
            self.place_value(Node(tuple(container) if type(container) is list else container, mark, key))

    def waits_for_key(self) -> bool:
        return bool(self.stack) and type(self.stack[-1][0]) is dict and self.keys[-1] is None

    def scalar(self, event: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            self.properties(event)
        mark, waiting = self.mark(event), self.keys[-1] if self.keys else None
        if waiting is not None:
            self.keys[-1] = None
            self.stack[-1][0].setdefault(waiting[0], Node(self.value(event), mark, waiting[1]))
        elif self.waits_for_key():
            self.keys[-1] = (self.key(event), mark)
        else:
            self.place_value(Node(self.value(event), mark, mark))

    def key(self, event: Any) -> str:
        text: str = event.value
        if text == "<<" and event.implicit[0]:
            self.fault(event, "E104", "a merge key (<<) is not allowed", "use 'extends' or a component")
        elif event.tag is not None and event.tag in _CORE and event.tag != f"{_TAG}str":
            hint = "remove the tag" if type(resolve(text)) is str else f'write it as a text: "{text[:60]}"'
            self.fault(
                event, "E109", f"the key {text[:60]} is tagged !!{event.tag.removeprefix(_TAG)}; keys are texts", hint
            )
        elif event.implicit[0] and type(value := resolve(text)) is not str:
            hint = f'quote it: "{text[:60]}"' if text else "write a name before the colon"
            self.fault(
                event, "E109", f"the key {text[:60] or '(none)'} reads as {_read_as(value)}; keys are texts", hint
            )
        elif text in self.stack[-1][0]:
            first = self.stack[-1][0][text].key
            message = f"the key '{text[:60]}' stands here a second time"
            self.fault(event, "E110", message, "keep one of the two", first)
        if not text.isascii() and _SURROGATE.search(text):
            self.fault(event, "E111", NO_CHARACTER, "write the character itself")
        return text

    def value(self, event: Any) -> Scalar:
        text: str = event.value
        if not text.isascii() and _SURROGATE.search(text):
            self.fault(event, "E111", NO_CHARACTER, "write the character itself")
        if event.tag is not None and event.tag in _CORE:
            return self.tagged(event, text)
        if not event.implicit[0]:
            return text
        value = resolve(text)
        if type(value) is float and not math.isfinite(value):
            named = f'is it a name? quote it: "{text}"' if len(text) <= 60 else "is it a name? quote it"
            what = "not a finite number" if NOT_FINITE.match(text) else "larger than any number"
            hint = "only finite numbers are values" if NOT_FINITE.match(text) else named
            self.fault(event, "E112", f"{text[:60]}{'…' * (len(text) > 60)} is {what}", hint)
            return 0.0
        return value

    def tagged(self, event: Any, text: str) -> Scalar:
        wanted = event.tag.removeprefix(_TAG)
        if wanted == "str":
            return text
        value = resolve(text)
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
