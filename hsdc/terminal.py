"""Messages for people: diagnostics with their line of source, and colour where a terminal wants it."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TextIO

from hsdc_schemas.errors import Diagnostic, Place
from hsdc_schemas.secrets import redacted

STYLES = {"error": "1;31", "warning": "1;33", "dim": "2", "bold": "1", "good": "1;32", "bad": "1;31", "mark": "1;34"}


def coloured(stream: TextIO) -> bool:
    """Whether a stream wants colour."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def style(text: str, name: str, stream: TextIO) -> str:
    """Text in a style, on a stream that wants colour; the words alone elsewhere."""
    return f"\x1b[{STYLES[name]}m{text}\x1b[0m" if coloured(stream) else text


def plain(text: str) -> str:
    """Text without control characters, so that no value of a spec can steer the terminal."""
    return "".join(c if c == "\t" or unicodedata.category(c)[0] != "C" else "�" for c in text)


def show_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Write diagnostics to stderr, each as one block; those without a place as one line. Secrets are taken out."""
    stream = sys.stderr
    for diagnostic in diagnostics:
        stream.write(redacted("\n".join(render(diagnostic, stream)) + "\n"))


def without_secrets(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Diagnostics as other programs may log them: no secret in what they say."""
    return tuple(
        replace(
            found,
            message=redacted(found.message),
            hint=redacted(found.hint),
            related=tuple((redacted(text), place) for text, place in found.related),
        )
        for found in diagnostics
    )


def render(diagnostic: Diagnostic, stream: TextIO) -> list[str]:
    """The lines of a diagnostic."""
    label = style(f"{diagnostic.severity}[{diagnostic.code}]", diagnostic.severity, stream)
    message = plain(diagnostic.message)
    if diagnostic.place is None:
        hint = f"; {plain(diagnostic.hint)}" if diagnostic.hint else ""
        return [f"{label} {message}{hint}"]
    lines = [f"{label} {style(message, 'bold', stream)}"]
    lines += _source(diagnostic.place, "^", stream)
    for text, place in diagnostic.related:
        lines.append(f"   {plain(text)}{':' if place else ''}")
        if place is not None:
            lines += _source(place, "-", stream)
    if diagnostic.hint:
        lines.append(f"   = {plain(diagnostic.hint)}")
    return [*lines, ""]


def _source(place: Place, under: str, stream: TextIO) -> list[str]:
    where = f"{plain(place.path)}:{place.line}" + (f":{place.column}" if place.column else "")
    lines = [f"  {style('-->', 'mark', stream)} {where}"]
    if not place.text.strip():
        return lines
    length = len(place.text)
    start = max(place.column - 1, 0)
    shift = max(0, start - 60) if length > 110 else 0
    text = plain(place.text[shift : shift + 110]).replace("\t", " ")  # cut first: a line may hold a megabyte
    shown = ("…" if shift else "") + text + ("…" if length > shift + 110 else "")
    width = max(1, min(place.end - place.column, shift + 110 - start)) if place.column else len(text.strip())
    margin = " " * len(str(place.line))
    pad = " " * (start - shift + (1 if shift else 0))
    mark = style(under * width, "error" if under == "^" else "mark", stream)
    return [*lines, f"  {margin} |", f"  {place.line} | {shown}", f"  {margin} | {pad}{mark}"]


def columns(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Rows of texts as aligned lines; the last column is not padded."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        (" " * gap).join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
