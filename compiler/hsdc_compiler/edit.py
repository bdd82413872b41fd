"""Setting one value in a spec, byte for byte: the text around it stays as its author wrote it.

Where things stand is read with libyaml, as every spec is; only new values are written, by ruamel.yaml, and put in
place. The result is read again: its tree is the old one with the one value set, or nothing comes back.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from ruamel.yaml import YAML, events
from ruamel.yaml.tag import Tag

from hsdc_compiler.node import Node, Path, dotted, kind_of
from hsdc_compiler.parse import parse
from hsdc_compiler.project import HEADERS
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.spec import EXPERIMENTS

LAST = ("change", "matrix")


def _sections(kinds: Iterable[str]) -> tuple[str, ...]:
    """The sections of these kinds in one order: each kind's own, what it adds standing behind what comes before it."""
    found: list[str] = []
    for kind in kinds:
        at = 0
        for name in EXPERIMENTS[kind].model_fields:
            if name not in found:
                found.insert(at, name)
            at = found.index(name) + 1
    return tuple(name for name in found if name != "kind")


ORDER = (*HEADERS[:4], "kind", *(key for key in HEADERS[4:] if key not in LAST))
ORDER += (*_sections(("prompt", "finetune", "encoder", "data")), *LAST)
PROSE = ("title", "notes", "why")
INDENT = 2
_UNSEEN = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")  # signs that JSON writes as they are
_BOM = "\ufeff"
_STR = Tag(suffix="tag:yaml.org,2002:str")  # never written: every value is plain or quoted
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Written:
    """A new value as text for a block line and for a flow collection, with what it means."""

    block: str
    flow: str
    plain: Any


def compose(text: str) -> Any:
    """The nodes of a text that `parse` has accepted, each with the index of its first and past its last character."""
    return yaml.compose(text, Loader=LOADER)


def meaning(value: Any) -> str:
    """Plain values as one text, equal where they mean the same: 1, 1.0 and true differ, the order of keys does not."""
    return json.dumps(value, sort_keys=True)


def value_of(path: Path, text: str) -> Written:
    """A value that an author wrote as YAML, its numbers as they are spelt; its faults raise."""
    where = f"the value of {dotted(path)}"
    if not text.strip():
        raise fail(
            "E006", Exit.SPEC, f"'{dotted(path)}' is given no value", None, "write null for null, '' for no text"
        )
    plain = parse(where, _encoded(where, text)).plain()
    inner = list(yaml.parse(text.removeprefix(_BOM), Loader=LOADER))[2:-2]  # without stream and document
    return _written(plain, [[_to_write(event) for event in inner]])


def prose(path: Path, text: str) -> Written:
    """A text for people, whatever signs it holds."""
    _encoded(f"the value of {dotted(path)}", text)
    return _written(text, [[_scalar(text)], [_scalar(text, "'")], [_scalar(text, '"')]])


def place_in_spec(path: Path, *, derived: bool) -> Path:
    """Where a path of a run is written: header keys at the top, a derived run's experiment under `change`."""
    if path[0] in ("hsdc", "run"):
        raise fail("E006", Exit.SPEC, f"'{path[0]}' cannot be set", None, "a run is named by its file")
    if path[0] == "change":
        raise fail(
            "E006", Exit.SPEC, "'change' is where changes are put", None, f"write {dotted(path[1:]) or 'a path'}"
        )
    return ("change", *path) if derived and path[0] not in HEADERS else path


def assign(where: str, data: bytes, path: Path, value: Written) -> bytes:
    """The bytes of a spec with one value set, mappings made on the way; what cannot be done raises."""
    before = parse(where, data)
    if not before.is_mapping:
        raise fail("E006", Exit.SPEC, f"{where} is no mapping", before.mark.place(), "start with 'hsdc: 1'")
    _passable(before, path)
    text = data.decode()
    mark = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    result = (mark + _set(text, compose(text), path, value)).encode()
    try:
        after = parse(where, result)
    except HsdcError as error:
        if {fault.code for fault in error.diagnostics} & {"E101", "E108"}:
            raise
        after = before._replace(value={})
    if meaning(after.plain()) != meaning(_with(before.plain(), path, value.plain)):
        place = before.nearest(path).key.place()
        raise fail(
            "E006", Exit.SPEC, f"'{dotted(path)}' cannot be set in the way this is written", place, "edit it here"
        )
    return result


def _encoded(where: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise fail("E006", Exit.SPEC, f"{where} is not UTF-8", None, "check the locale of the terminal") from None


def _passable(tree: Node, path: Path) -> None:
    """Every value on the way is a mapping, null, or not there yet."""
    for length in range(1, len(path)):
        node = tree.at(path[:length])
        if node is not None and not node.is_mapping and node.value is not None:
            message = f"'{dotted(path[:length])}' is {kind_of(node)} here, so nothing can be set below it"
            raise fail("E006", Exit.SPEC, message, node.mark.place(), f"set '{dotted(path[:length])}' as a whole")


def _with(plain: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    inner = plain if type(plain) is dict else {}
    return {**inner, path[0]: _with(inner.get(path[0]), path[1:], value)}


def _written(plain: Any, candidates: list[list[Any]]) -> Written:
    """The first of the candidates, as events, that reads back as the value; else JSON, which always does."""
    texts = []
    for flow in (False, True):
        shown = (_emitted(candidate, flow=flow) for candidate in candidates)
        text = next((text for text in shown if _means(text, plain, flow=flow)), None)
        if text is None:
            text = _UNSEEN.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(plain, ensure_ascii=False))
        texts.append(text)
    return Written(texts[0], texts[1], plain)


def _to_write(event: Any) -> Any:
    """What was read, for the writer: on one line, plain values as they are spelt, tags left out."""
    if isinstance(event, yaml.MappingStartEvent):
        return events.MappingStartEvent(None, None, True, flow_style=True)
    if isinstance(event, yaml.SequenceStartEvent):
        return events.SequenceStartEvent(None, None, True, flow_style=True)
    if isinstance(event, yaml.ScalarEvent):
        empty = not event.value and not event.style
        return _scalar("null" if empty else event.value, event.style)
    return events.MappingEndEvent() if isinstance(event, yaml.MappingEndEvent) else events.SequenceEndEvent()


def _scalar(text: str, style: str | None = None) -> Any:
    if style in ("|", ">") or "\n" in text:
        style = '"'
    return events.ScalarEvent(None, _STR, (True, True, True), text, style=style)


def _emitted(value: list[Any], *, flow: bool) -> str:
    writer = YAML(typ="safe", pure=True)
    writer.width = 1 << 30
    writer.allow_unicode = True
    stream = io.StringIO()
    start = [events.StreamStartEvent(), events.DocumentStartEvent(explicit=False)]
    start.append(events.MappingStartEvent(None, None, True, flow_style=flow))
    end = [events.MappingEndEvent(), events.DocumentEndEvent(explicit=False), events.StreamEndEvent()]
    writer.emit([*start, _scalar("k"), *value, *end], stream)
    text = stream.getvalue().strip()
    return text[4:-1] if flow else text[3:]


def _means(text: str, plain: Any, *, flow: bool) -> bool:
    """Whether a text is one line that reads back as the value where it is put."""
    try:
        found = parse("", (f"{{k: {text}, l: 1}}" if flow else f"k: {text} # c\nl: 1\n").encode()).plain()
    except HsdcError:
        return False
    return len(text.splitlines()) == 1 and meaning(found) == meaning({"k": plain, "l": 1})


def _set(text: str, root: Any, path: Path, value: Written) -> str:
    node, flow = root, False
    for depth, key in enumerate(path):
        flow = flow or bool(node.flow_style)
        entry = next((pair for pair in node.value if pair[0].value == key), None)
        if entry is None:
            return _inserted(text, node, path[depth:], value, flow=flow, top=depth == 0)
        if depth == len(path) - 1:
            return _replaced(text, entry[0], entry[1], value.flow if flow else value.block)
        if not isinstance(entry[1].value, list):  # null, where a mapping is wanted
            return _begun(text, entry[0], entry[1], path[depth + 1 :], value, flow=flow)
        node = entry[1]
    raise AssertionError("a path has a key")


def _replaced(text: str, key: Any, node: Any, new: str) -> str:
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:  # a key without a value
        return f"{text[:start]} {new}{text[end:]}"
    if isinstance(node.value, list):
        if node.flow_style:
            return text[:start] + new + text[end:]
        colon = text.index(":", key.end_mark.index) + 1
        rest = text[colon : _line_end(text, colon)]
        return f"{text[:colon]} {new}{rest}{text[_line_end(text, end_of(text, node)) :]}"
    if node.style in ("|", ">"):
        header = text[start : _line_end(text, start)]
        comment = header[len(header.partition("#")[0].rstrip()) :] if "#" in header else ""
        return text[:start] + new + comment + text[end_of(text, node) :]
    return text[:start] + new + text[end:]


def _begun(text: str, key: Any, node: Any, path: Path, value: Written, *, flow: bool) -> str:
    """A mapping in the place of a null: below a key that has nothing, else on its line."""
    if flow or node.start_mark.index != node.end_mark.index:
        return _replaced(text, key, node, _nested_flow(path, value))
    at = _line_end(text, node.start_mark.index)
    return text[:at] + _lines(text, path, value, key.start_mark.column + INDENT) + text[at:]


def _inserted(text: str, node: Any, path: Path, value: Written, *, flow: bool, top: bool) -> str:
    if flow:
        entry = _nested_flow(path, value)[1:-1]
        at = end_of(text, node.value[-1][1]) if node.value else node.start_mark.index + 1
        return text[:at] + (", " if node.value else "") + entry + text[at:]
    before = [pair for pair in node.value if top and _rank(pair[0].value) < _rank(path[0])]
    at = _line_end(text, end_of(text, (before or node.value)[-1][1]))
    return text[:at] + _lines(text, path, value, node.start_mark.column) + text[at:]


def _rank(key: str) -> int:
    return ORDER.index(key if key in ORDER else "change")


def _lines(text: str, path: Path, value: Written, column: int) -> str:
    """The lines of a new entry, each begun by a line end like the text's own."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    keys = [f"{line_end}{' ' * (column + INDENT * depth)}{_key(key)}:" for depth, key in enumerate(path)]
    return "".join(keys) + f" {value.block}"


def _nested_flow(path: Path, value: Written) -> str:
    return "".join(f"{{{_key(key)}: " for key in path) + value.flow + "}" * len(path)


def _key(key: str) -> str:
    return prose((key,), key).flow


def _line_end(text: str, index: int) -> int:
    """The index of the line break at or after an index, or of the text's end."""
    found = [at for sign in "\r\n" if (at := text.find(sign, index)) >= 0]
    return min(found, default=len(text))


def end_of(text: str, node: Any) -> int:
    """The index past a node's last character; comments and blank lines after a block are not part of it."""
    start, end = int(node.start_mark.index), int(node.end_mark.index)
    if isinstance(node.value, list):
        if node.flow_style:
            return end
        last = node.value[-1]  # a block has an entry
        return end_of(text, last[1] if isinstance(last, tuple) else last)
    return start + len(text[start:end].rstrip()) if node.style in ("|", ">") else end
