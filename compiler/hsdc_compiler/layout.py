"""One layout for spec files: two-space indent, the keys at the top in one order, no trailing blanks, LF.

Lines are moved and indented, never rewritten: what stands inside a line, flow collections and numbers included, stays
as its author wrote it. The result is read again and must mean the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from hsdc_compiler.edit import INDENT, LOADER, ORDER, compose, meaning
from hsdc_compiler.parse import parse
from hsdc_schemas.errors import Exit, HsdcError, Place, fail
from hsdc_schemas.fields import Model
from hsdc_schemas.spec import SLOTS, Profile

KINDS: dict[str, tuple[str, tuple[type[Model], ...]]] = {"profiles": ("profile", (Profile,))}
KINDS |= {folder: (slot, models) for slot, (folder, models) in SLOTS.items()}
_OF_THE_FILE = re.compile(r"#\s*yaml-language-server:|%|---")
_OTHER_BREAKS = re.compile("[\x85\u2028\u2029]")

Levels = tuple[tuple[int, int], ...]  # the old and the new column of each block that is open, outermost first


@dataclass
class _Line:
    """A line of source without its indentation, where it stood and where it will stand.

    Kinds: an `entry` begins a key or an item; a `value` goes on with one, and `literal` ones are its text, blanks and
    all, the last one `open` where blank lines after it would be text too; a `comment`, or one `beside` another that
    ends the line above; `blank`; `other` is a mark of the document.
    """

    text: str
    old: int
    new: int
    kind: str = "other"
    levels: Levels = ()
    gaps: tuple[tuple[int, int], ...] = ()  # between a dash and its item

    def shown(self) -> str:
        text = self.text
        for start, end in sorted(self.gaps, reverse=True):
            text = f"{text[: start - self.old]} {text[end - self.old :]}"
        if self.kind not in ("literal", "open") and not text.rstrip(" \t").endswith("\\"):
            text = text.rstrip(" \t")
        return " " * max(self.new, 0) + text if text else ""


def layout(path: str, data: bytes) -> bytes:
    """The bytes of a spec in the one layout; a file that cannot be brought into it without harm raises."""
    before = parse(path, data).plain()
    text = re.sub(r"\r\n?", "\n", data.decode("utf-8-sig"))
    root = compose(text)
    lines = [_Line(line, 0, 0, "other" if line.strip(" \t") else "blank") for line in text.split("\n")]
    if isinstance(before, dict) and not root.flow_style and not _OTHER_BREAKS.search(text):
        lines = _ordered(_Indenter(text, root).lines(), text, root, _ranks(path))
    result = _joined(lines)
    try:
        after = parse(path, result).plain()
    except HsdcError:
        after = None
    if _exact(after) != _exact(before) or _OTHER_BREAKS.search(text):
        message = f"{path} cannot be brought into the common layout without changing what it means"
        raise fail("E007", Exit.SPEC, message, Place(path, 1), "write its texts of several lines more plainly")
    return result


def _joined(lines: list[_Line]) -> bytes:
    """Single blank lines between entries, none at either end."""
    kept: list[_Line] = []
    for line in lines:
        if line.kind != "blank" or (kept and kept[-1].kind not in ("blank", "open")):
            kept.append(line)
    if kept and kept[-1].kind == "blank":
        kept.pop()
    return "".join(line.shown() + "\n" for line in kept).encode()


def _exact(plain: Any) -> Any:
    """The meaning, with the order of all keys but those at the top."""
    return {key: _in_order(item) for key, item in plain.items()} if isinstance(plain, dict) else meaning(plain)


def _in_order(plain: Any) -> Any:
    if isinstance(plain, dict):
        return [(key, _in_order(item)) for key, item in plain.items()]
    return [_in_order(item) for item in plain] if isinstance(plain, tuple) else meaning(plain)


def _ranks(path: str) -> dict[str, int]:
    """The order of the keys at the top of a file, by the folder that it is in."""
    folder = PurePosixPath(path).parent.name
    keys: tuple[str, ...] = ORDER
    if folder in KINDS:
        kind, models = KINDS[folder]
        fields = (name for model in models for name in model.model_fields)
        keys = tuple(dict.fromkeys(("hsdc", kind, "title", "notes", "extends", *fields, "change")))
    return {key: rank for rank, key in enumerate(keys)}


def _ordered(lines: list[_Line], text: str, root: Any, ranks: dict[str, int]) -> list[_Line]:
    """The lines with the entries in order, each with the comments above it and inside it."""
    starts = [key.start_mark.line for key, _ in root.value]
    ends = [_last_line(text, value) for _, value in root.value]
    first = _preamble(lines[: starts[0]])
    cuts = [first, *(_cut(lines, end + 1, start) for end, start in zip(ends, starts[1:], strict=False))]
    cuts.append(_cut(lines, ends[-1] + 1, len(lines), at_end=True))
    unknown = ranks.get("change", len(ranks)) - 0.5
    order = sorted(range(len(starts)), key=lambda number: ranks.get(root.value[number][0].value, unknown))
    body = [line for number in order for line in lines[cuts[number] : cuts[number + 1]]]
    while body[0].kind == "blank":
        body.pop(0)
    return [*lines[:first], *body, *lines[cuts[-1] :]]


def _preamble(lines: list[_Line]) -> int:
    """How many lines at the start are about the file and not its first key: to the last blank line or directive."""
    of_the_file = (line.kind == "blank" or bool(_OF_THE_FILE.match(line.text)) for line in lines)
    return max((number for number, found in enumerate(of_the_file, 1) if found), default=0)


def _cut(lines: list[_Line], start: int, stop: int, *, at_end: bool = False) -> int:
    """Where, between two entries, the first one ends.

    Comments deeper than the top are inside it, and those that a blank line parts from what follows, but not from what
    stands above, are about it. What stands at the end of a file stays there.
    """
    comments = (number for number in range(start, stop) if lines[number].kind in ("comment", "beside"))
    deep = (number + 1 for number in comments if lines[number].new > 0)
    cut = max(deep, default=start)
    blanks = (number for number in range(cut, stop) if lines[number].kind == "blank")
    return cut if at_end else next(blanks, cut)


def _last_line(text: str, node: Any) -> int:
    """The line that a node ends on, blank lines included where they are text."""
    while isinstance(node.value, list) and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    if isinstance(node.value, list) or node.style not in ("|", ">"):
        return int(node.end_mark.line)
    body = text[node.start_mark.index : node.end_mark.index]
    body = body.removesuffix("\n") if "+" in _header(text, node) else body.rstrip()
    return int(node.start_mark.line) + body.count("\n")


def _header(text: str, node: Any) -> str:
    """The line that a text in block style begins with, without a comment."""
    end = text.find("\n", node.start_mark.index)
    return text[node.start_mark.index : end if end >= 0 else None].partition("#")[0]


class _Indenter:
    """Gives every line its new column, block by block."""

    def __init__(self, text: str, root: Any) -> None:
        self.text = text
        self.raw = text.split("\n")
        self.table = []
        for line in self.raw:
            bare = line.lstrip(" \t")
            kind = "blank" if not bare else "comment" if bare.startswith("#") else "other"
            text = bare if kind != "other" else line.lstrip(" ")
            self.table.append(_Line(text, len(line) - len(text), len(line) - len(text), kind))
        tokens = yaml.scan(self.text, Loader=LOADER)
        self.dashes = (token.start_mark for token in tokens if isinstance(token, yaml.BlockEntryToken))
        self.block(root, 0, ())

    def lines(self) -> list[_Line]:
        """All lines, comments where the block stands that they are written in."""
        following: list[Levels] = [()] * len(self.table)
        for number in reversed(range(len(self.table) - 1)):
            below = self.table[number + 1]
            following[number] = below.levels if below.kind == "entry" else following[number + 1]
        above: Levels = ()
        for number, line in enumerate(self.table):
            if line.kind == "entry":
                above = line.levels
            elif line.kind == "comment" and not self.beside(number):
                line.new = _comment_column(line.old, above, following[number])
        return self.table

    def beside(self, number: int) -> bool:
        """Whether a comment goes on with one at the end of the line above; then the two stay aligned."""
        line, before = self.table[number], self.table[number - 1]
        if before.kind not in ("entry", "value", "beside") or self.raw[number - 1][line.old :][:1] != "#":
            return False
        closed = sum(end - start - 1 for start, end in before.gaps)
        line.new, line.kind = line.old + before.new - before.old - closed, "beside"
        return True

    def block(self, node: Any, new: int, levels: Levels) -> None:
        """The entries of a block collection that will stand in column `new`."""
        old = node.start_mark.column
        levels = (*levels, (old, new))
        for item in node.value:
            if isinstance(item, tuple):
                key, value = item
                self.begin(key.start_mark.line, key.start_mark.column, new, levels)
                self.value(key.start_mark.line, value, new - old, new, levels)
            else:
                dash = next(self.dashes)
                self.begin(dash.line, dash.column, new, levels)
                if item.start_mark.line == dash.line and item.start_mark.column > dash.column + 1:
                    self.table[dash.line].gaps += ((dash.column + 1, item.start_mark.column),)
                self.value(dash.line, item, new - old, new, levels)

    def begin(self, number: int, column: int, new: int, levels: Levels) -> None:
        line = self.table[number]
        if line.kind == "other" and self.raw[number][:column].strip() in ("", "?"):
            line.new, line.kind = new, "entry"
        line.levels = levels

    def value(self, owner: int, node: Any, shift: int, new: int, levels: Levels) -> None:
        """What an entry holds: a block of its own, or lines that move with the entry."""
        if isinstance(node.value, list) and not node.flow_style:
            self.block(node, new + INDENT, levels)
            return
        lines = self.table[owner + 1 : _last_line(self.text, node) + 1]
        literal = not isinstance(node.value, list) and node.style in ("|", ">")
        for line in lines:
            line.new, line.kind = line.old + shift, "literal" if literal else "value" if line.text else "blank"
        if literal and lines:
            header = _header(self.text, node)
            if not any(sign.isdigit() for sign in header):
                self.literal(lines, new + INDENT)
            lines[-1].kind = "open" if "+" in header else "literal"

    def literal(self, lines: list[_Line], new: int) -> None:
        """A text in block style; lines of blanks alone are part of it from the column on where it begins."""
        begins = min((line.old for line in lines if line.text), default=0)
        for line in lines:
            line.new = line.old - begins + new
            if not line.text and line.old > begins:
                line.text, line.new = " " * (line.old - begins), new


def _comment_column(old: int, above: Levels, below: Levels) -> int:
    """The column of a comment between two entries, whose open blocks are given."""
    if len(below) > len(above) and (not above or old > above[-1][0]):
        return below[-1][1]
    fitting = [level for level in {*above, *below} if level[0] <= old]
    return max(fitting, default=(0, 0))[1]
