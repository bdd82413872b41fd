"""Errors are data: a `Diagnostic` says what is wrong, where, and the way out; only the face renders it.

`HsdcError` is the one exception that carries them. Its exit code is that of its gravest diagnostic:

    FAULT (70) > SPEC (2) > POLICY (3) > ENVIRONMENT (4) > NO (1)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice


class Exit(IntEnum):
    """The exit codes of the command."""

    DONE = 0
    NO = 1
    SPEC = 2
    POLICY = 3
    ENVIRONMENT = 4
    FAULT = 70
    INTERRUPTED = 75


GRAVITY = (Exit.FAULT, Exit.SPEC, Exit.POLICY, Exit.ENVIRONMENT, Exit.NO, Exit.INTERRUPTED)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A stretch of one line of a file; lines and columns count from 1, `end` is one past the last column."""

    path: str
    line: int
    column: int = 0
    end: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault: a code that is never reused, the exit code it leads to, a message, a place and the way out."""

    code: str
    exit: Exit
    message: str
    place: Place | None = None
    hint: str = ""
    related: tuple[tuple[str, Place | None], ...] = ()
    severity: str = "error"

    def as_json(self) -> dict[str, object]:
        """The diagnostic as JSON values."""

        def where(place: Place | None) -> dict[str, object] | None:
            if place is None:
                return None
            return {"path": place.path, "line": place.line, "column": place.column, "end_column": place.end}

        return {
            "code": self.code,
            "severity": self.severity,
            "exit": int(self.exit),
            "message": self.message,
            "place": where(self.place),
            "hint": self.hint,
            "related": [{"message": text, "place": where(place)} for text, place in self.related],
        }


class HsdcError(Exception):
    """Every failure that a user can meet; `diagnostics` are sorted by place, then by code."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = sorted_diagnostics(diagnostics)
        super().__init__("; ".join(d.message for d in self.diagnostics))

    @property
    def exit(self) -> Exit:
        """The exit code of the gravest diagnostic."""
        return gravest(self.diagnostics)


def fail(code: str, exit: Exit, message: str, place: Place | None = None, hint: str = "") -> HsdcError:
    """An error that holds a single diagnostic, ready to raise."""
    return HsdcError([Diagnostic(code, exit, message, place, hint)])


def sorted_diagnostics(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Without repetitions, by file, line and column, then by code and message."""
    unique = dict.fromkeys(diagnostics)
    return tuple(sorted(unique, key=lambda d: (d.place or Place("", 0), d.code, d.message)))


def gravest(diagnostics: Iterable[Diagnostic]) -> Exit:
    """The exit code that the gravest error asks for; `DONE` when there are only warnings."""
    exits = {d.exit for d in diagnostics if d.severity == "error"}
    return next((code for code in GRAVITY if code in exits), Exit.DONE)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or the known words when none is near."""
    names = sorted(map(str, islice(known, 1000)))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    more = ", …" if len(names) > 20 else ""
    return f"known here: {', '.join(names[:20])}{more}" if names else ""
