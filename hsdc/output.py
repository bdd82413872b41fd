"""Data for people on stdout: texts cut to a width, and no character that the stream cannot hold."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO


def say(lines: Iterable[str]) -> None:
    """Print lines, without secrets; what the stream's encoding lacks is escaped."""
    from hsdc_schemas.secrets import redacted

    print(fitting(redacted("\n".join(lines)), sys.stdout))


def say_json(value: Any) -> None:
    """Print a value as JSON, without secrets."""
    import json

    from hsdc_schemas.secrets import redacted

    print(redacted(json.dumps(value, indent=2)))


def fitting(text: str, stream: TextIO) -> str:
    """A text as a stream can hold it."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def holds(stream: TextIO, text: str) -> bool:
    """Whether a stream can hold a text as it is."""
    try:
        text.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def method_note(method: str) -> str:
    """That a profile chose how runs of prompts are answered, and what of the spec that leaves unused."""
    unused = "; 'generation' is not used" if method == "rank" else ""
    return f"answers by {method}, as the profile says{unused}"


def inert(text: str) -> str:
    """A text on one line that cannot steer a terminal: no control, invisible or line-breaking characters."""
    return "".join(c if c.isprintable() else "�" for c in text)


def cut(text: str, width: int) -> str:
    """A text, inert and of at most `width` characters, an ellipsis in place of the rest."""
    text = inert(text)
    return text if len(text) <= width else text[: width - 1] + "…"
