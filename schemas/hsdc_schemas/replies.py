"""Answers read from a model's replies: a label that is written there, or one fault that says why there is none.

Nothing here guesses: a reply that cannot be read never becomes a default label, it becomes a counted fault.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hsdc_schemas.answer_forms import MAX_REPLY, Answer, AnswerForm, Finish, Value

# How replies begin that decline, in English: apologies and statements of inability, apostrophes made straight. It is
# looked at only where nothing could be read, so a reply that begins so and answers in the end keeps its answer.
REFUSALS = (
    "i'm sorry",
    "i am sorry",
    "sorry,",
    "i apologize",
    "i apologise",
    "i can't",
    "i cannot",
    "i can not",
    "i won't",
    "i will not",
    "i'm unable",
    "i am unable",
    "i'm not able",
    "i am not able",
    "i must decline",
    "as an ai",
    "unfortunately, i",
)

_THINKING = re.compile(r"\s*<think>.*?(</think>|\Z)", re.DOTALL)
_FENCE = re.compile(r"```[A-Za-z]*[ \t]*\n(.*?)```", re.DOTALL)
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LONE = re.compile("[\ud800-\udfff]")


def read_answer(text: str, finish: Finish, form: AnswerForm) -> Answer:
    """The answer in a reply; never raises. `finish` is why the reply ended: `stop`, `length` or `filter`.

    A filtered reply is a fault whatever it holds; only where no answer can be read is it asked why: a refusal comes
    before a reply cut off, and that before what is wrong with its form.
    """
    if finish == "filter":
        return Answer(None, "filtered")
    if len(text) > MAX_REPLY:
        return Answer(None, "too_long")
    if "thinking" in form.tolerate and (thought := _THINKING.match(text)):
        text = text[thought.end() :]
    answer = _READERS[form.kind](text, form) if text.strip() else Answer(None, "empty")
    if answer.label is not None:
        cut = finish == "length" and form.kind != "json" and form.may_go_on(_last_line(text, form))
        return Answer(None, "truncated") if cut else _whole(answer, text, finish, form)
    if answer.fault in ("malformed", "unknown_label") and _refuses(text):
        return Answer(None, "refusal")
    return Answer(None, "truncated") if finish == "length" else answer


def _whole(answer: Answer, text: str, finish: Finish, form: AnswerForm) -> Answer:
    """An answer without a number on the last line of a reply that was cut off: more digits may have followed."""
    if finish != "length" or form.kind != "text" or text.endswith("\n"):
        return answer
    last = text.splitlines()[-1]
    cut = [name for name in answer.numbers if _led(last, f"{name}:", form) is not None]
    kept = {name: value for name, value in answer.numbers.items() if name not in cut}
    return replace(answer, numbers=kept, unsaid={**answer.unsaid, **dict.fromkeys(cut, "cut_off")})


def well_formed(text: str) -> str:
    """A text without halves of surrogate pairs, which have no UTF-8: pairs are joined, lone halves replaced."""
    if not _LONE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _refuses(text: str) -> bool:
    return text[:200].lstrip(" \t\r\n\"'“*_>#").replace("’", "'").casefold().startswith(REFUSALS)


def _bare_label(text: str, form: AnswerForm) -> Answer:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) == 1 or "space" not in form.tolerate:
        return _labelled(text if "space" not in form.tolerate else lines[0], form)
    every = all(form.label(line) is not None for line in lines)
    return Answer(None, "several" if every else "malformed")


def _on_last_line(text: str, form: AnswerForm) -> Answer:
    return _labelled(_last_line(text, form), form)


def _last_line(text: str, form: AnswerForm) -> str:
    """The last line that is not blank, without the lead and the emphasis around it."""
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    if form.kind not in ("last_line", "text") or not form.lead:
        return line
    led = _led(line, form.lead, form)
    return line if led is None else led


def _led(line: str, lead: str, form: AnswerForm) -> str | None:
    """What stands behind the lead on a line; None where the line does not begin with it."""
    bare = line.strip().lstrip("*_`#> ") if "markup" in form.tolerate else line.strip()
    lead = lead.strip()
    same = bare[: len(lead)].casefold() == lead.casefold() if "case" in form.tolerate else bare.startswith(lead)
    return bare[len(lead) :] if same else None


def _behind_marker(text: str, form: AnswerForm) -> Answer:
    """The label on the one line that begins with the marker, and the numbers on lines of their own."""
    lines = text.splitlines()
    marked = [led for line in lines if (led := _led(line, form.lead, form)) is not None]
    if len(marked) != 1:
        return Answer(None, "several" if marked else "malformed")
    found = _labelled(marked[0], form)
    if found.label is None or not form.numbers:
        return found
    said = {name: [led for line in lines if (led := _led(line, f"{name}:", form)) is not None] for name in form.numbers}
    return _numbered(found, {name: _told(behind, form) for name, behind in said.items()}, form)


def _told(behind: list[str], form: AnswerForm) -> float | str:
    """The number that stands alone behind a name; one of `UNSAID` where there is none, or more than one."""
    if len(behind) != 1:
        return "several" if behind else "missing"
    written = form.loose(behind[0])
    return float(written) if _DECIMAL.fullmatch(written) else "no_number"


def _numbered(answer: Answer, told: Mapping[str, float | str], form: AnswerForm) -> Answer:
    """An answer with the numbers that it says, those left out that it may not say."""
    numbers: dict[str, float] = {}
    unsaid: dict[str, str] = {}
    for name, value in told.items():
        low, high = form.numbers[name]
        if isinstance(value, str):
            unsaid[name] = value
        elif low <= value <= high:
            numbers[name] = value
        else:
            unsaid[name] = "out_of_range"
    return replace(answer, numbers=numbers, unsaid=unsaid)


def _labelled(written: str, form: AnswerForm) -> Answer:
    label = form.label(written)
    if label is not None:
        return Answer(label)
    longest = max(len(label.split()) for label in form.labels)
    return Answer(None, "unknown_label" if len(written.split()) <= longest else "malformed")


def _from_json(text: str, form: AnswerForm) -> Answer:
    objects = [_decoded(piece) for piece in _pieces(text, form)]
    if len(objects) > 1 and all(isinstance(item, dict) for item in objects):
        return Answer(None, "several")
    if len(objects) != 1 or not isinstance(objects[0], dict):
        return Answer(None, "malformed")
    return _from_object(objects[0], form)


def _pieces(text: str, form: AnswerForm) -> list[str]:
    """What may be the answer: the text as it is, what is in a fence, or every {…} of the text."""
    whole = text.strip()
    fence = _FENCE.fullmatch(whole)
    if fence or "prose" not in form.tolerate:
        return [fence[1] if fence else whole]
    return _braced(whole)


def _braced(text: str) -> list[str]:
    """The outermost {…} of a text, in one pass, braces inside JSON strings left out; an open one goes to the end."""
    found: list[str] = []
    depth = start = 0
    quoted = escaped = False
    for place, sign in enumerate(text):
        if quoted:
            if not escaped and sign == '"':
                quoted = False
            escaped = sign == "\\" and not escaped
        elif sign == '"':
            quoted = depth > 0
        elif sign == "{":
            start = place if depth == 0 else start
            depth += 1
        elif sign == "}" and depth:
            depth -= 1
            if depth == 0:
                found.append(text[start : place + 1])
    return [*found, text[start:]] if depth else found


class _RepeatedError(ValueError):
    """A key stands twice in an object, so that it says two things."""


def _decoded(piece: str) -> Any:
    """The JSON value of a piece, or None; a repeated key makes two answers of it."""
    if piece.count("{") + piece.count("[") > MOST_OPENED:
        return None
    try:
        return json.loads(piece, object_pairs_hook=_object, parse_constant=_no_constant)
    except _RepeatedError:
        return _TWICE
    except (ValueError, RecursionError):
        return None


MOST_OPENED = 500
"""Brackets in a piece: how deep JSON may be is another matter in every Python, and an answer is the same in all."""

_TWICE: dict[str, Any] = {}  # stands for an object that says two things; told by identity


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedError
    return found


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON value")


def _from_object(value: dict[str, Any], form: AnswerForm) -> Answer:
    if value is _TWICE:
        return Answer(None, "several")
    if form.label_field not in value:
        return Answer(None, "missing_field")
    if not isinstance(value[form.label_field], str):
        return Answer(None, "wrong_type")
    label = form.label(value[form.label_field])
    if label is None:
        return Answer(None, "unknown_label")
    fields = {name: _value(value.get(name)) for name in form.fields}
    ignored = [name for name, found in fields.items() if found is None and value.get(name) is not None]
    told = {name: _number(value, name) for name in form.numbers}
    return _numbered(Answer(label, "", fields, tuple(ignored)), told, form)


def _number(value: Mapping[str, Any], name: str) -> float | str:
    """What an object says at a key, as a number; one of `UNSAID` where it says none, or null."""
    found = value.get(name)
    if found is None:
        return "missing"
    if isinstance(found, bool) or not isinstance(found, int | float):
        return "no_number"
    return float(found) if abs(found) < sys.float_info.max else "out_of_range"


def _value(value: Any) -> Value:
    """What a field may hold: a text, a number, a list of texts; None for anything else."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [well_formed(item) for item in value]
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
    return float(value) if number else None


_READERS: Mapping[str, Callable[[str, AnswerForm], Answer]] = {
    "json": _from_json,
    "label": _bare_label,
    "last_line": _on_last_line,
    "text": _behind_marker,
}
