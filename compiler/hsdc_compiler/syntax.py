"""What a YAML parser cannot read, in words that say what to write; the same whichever parser it was."""

from __future__ import annotations

import re

import yaml

from hsdc_compiler.node import Mark, Source
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail

NO_CHARACTER = "an escape that is no character: half of a surrogate pair, or beyond U+10FFFF"
BRACES = 'quote a text that begins with {{: "{{ text }}"'
TEMPLATE = re.compile(r"[-:,[] *\{\{")  # where a value begins
_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?: |$)")
_ENTRY = re.compile(r"[^\s#].*?:(?:\s|$)")


def syntax(source: Source, error: yaml.MarkedYAMLError) -> HsdcError:
    """The fault, where it is to be mended, which often is above the place where a parser noticed it."""
    mark, context = error.problem_mark or error.context_mark, error.context_mark
    problem, within = str(error.problem or ""), str(error.context or "")
    if (conflict := _conflict(source)) is not None:
        return _said("a conflict marker of git", conflict, "keep one of the two sides, and delete the markers")
    if mark is None:
        return _said(f"{problem} {within}".strip(), Place(source.path, 1), "")
    place, opened = _place(source, mark), _place(source, context or mark)
    here = place.text[place.column - 1 : place.column]
    if problem.startswith("found invalid Unicode character escape code"):
        return fail("E111", Exit.SPEC, NO_CHARACTER, place, "write the character itself")
    if "cannot start any token" in problem:
        if here == "\t":
            return _said("a tab where spaces are expected", place, "indent with spaces")
        return _said(f"a text cannot begin with '{here}'", place, "quote it")
    if problem == "found unexpected end of stream" and "quoted scalar" in within:
        return _said("the quote that opens here is not closed", opened, "close it")
    if TEMPLATE.search(place.text):
        return _said("what begins with '{' is a mapping", place, BRACES)
    if problem.startswith("mapping values are not allowed"):
        return _second_colon(source, place)
    if problem.startswith(("did not find expected key", "expected <block end>")):
        return _stray(place)
    if problem.endswith("expected ':'"):
        return _said("this line is no 'KEY: VALUE'", opened, "write a colon and a space after the key")
    for closing in ("'}'", "']'"):
        if f"',' or {closing}" in problem:
            return _unclosed(place, opened, closing)
    return _said(f"{problem} {within}".strip(), place, "")


def _conflict(source: Source) -> Place | None:
    """The first line that git wrote for somebody to choose."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if _CONFLICT.match(line):
            return Mark(source, number, 1, len(line) + 1).place()
    return None


def _place(source: Source, mark: yaml.Mark) -> Place:
    return Mark(source, mark.line + 1, mark.column + 1, mark.column + 2).place()


def _said(what: str, place: Place, hint: str) -> HsdcError:
    return fail("E103", Exit.SPEC, f"not YAML: {what}", place, hint)


def _second_colon(source: Source, place: Place) -> HsdcError:
    """A key where a text goes on: in the middle of a line, or because the line above is no entry."""
    before = place.text[: place.column - 1]
    above = source.line(place.line - 1)
    if _ENTRY.search(before + " ") or not above.strip() or above.lstrip().startswith("#"):
        return _said("a second ': ' in one entry", place, "quote a text that holds ': '")
    if not _ENTRY.search(above):
        start = len(above) - len(above.lstrip()) + 1
        line = Mark(source, place.line - 1, start, len(above) + 1).place()
        return _said("this line is no 'KEY: VALUE'", line, "write a colon and a space after the key")
    return _said("an entry below a value", place, "begin in the column of the line above, or take its value away")


def _stray(place: Place) -> HsdcError:
    if place.text[: place.column - 1].strip():
        hint = "quote the whole text; a single quote inside single quotes is written twice"
        return _said("something stands after a quoted text", place, hint)
    hint = "entries of one mapping begin in the same column"
    return _said("this line belongs to nothing above it", place, hint)


def _unclosed(place: Place, opened: Place, closing: str) -> HsdcError:
    if place.line != opened.line:
        return _said("the bracket that opens here is not closed", opened, f"write {closing} where it ends")
    message = f"not YAML: ',' or {closing} is expected here"
    related = (("the bracket opens here", opened),)
    return HsdcError([Diagnostic("E103", Exit.SPEC, message, place, "", related)])
