"""How answers are written: the forms, the labels in them, what may vary; and an answer as a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from hsdc_schemas.prompting import TOLERATED, Format, JsonAnswer, LabelAnswer, LastLineAnswer, TextAnswer, ranges_of

MAX_REPLY = 1 << 18  # characters; an answer with its reasoning is a few thousand

FAULTS: Mapping[str, str] = {
    "empty": "there is no text",
    "filtered": "the endpoint's content filter withheld the answer",
    "truncated": "the reply ends at the token limit before an answer can be read",
    "refusal": "the model declines to answer",
    "malformed": "the reply is not of the declared form",
    "several": "more than one answer is given",
    "unknown_label": "the answer is none of the labels",
    "missing_field": "the object has no label",
    "wrong_type": "the label is no text",
    "too_long": f"the reply has more than {MAX_REPLY} characters",
}
FORMATS: Mapping[str, type[JsonAnswer | LabelAnswer | LastLineAnswer | TextAnswer]] = {
    "json": JsonAnswer,
    "label": LabelAnswer,
    "last_line": LastLineAnswer,
    "text": TextAnswer,
}
UNSAID: Mapping[str, str] = {
    "missing": "the answer does not say it",
    "several": "the answer says it more than once",
    "cut_off": "the reply ends at the token limit, and the number may go on",
    "no_number": "what the answer says is no number",
    "out_of_range": "the number is below the least or above the most that it may be",
}
Finish: TypeAlias = Literal["stop", "length", "filter"]
Value: TypeAlias = str | float | list[str] | None

_BLANKS = re.compile(r"\s+")
_MARKUP = "*_`\"'“”‘’"
_PUNCTUATION = ".,;:!。"


@dataclass(frozen=True)
class AnswerForm:
    """How answers are written: one of `labels`, in a form; what `tolerate` names may vary.

    A JSON answer has its label at `label_field` and may have `fields`; before the label on the last line, `lead` may
    stand, and before that of a text it must. `numbers` are said beside the label, each with its least and most. Raises
    ValueError where labels, fields or numbers contradict each other.
    """

    kind: Literal["json", "label", "last_line", "text"]
    labels: tuple[str, ...]
    label_field: str = "classification"
    fields: tuple[str, ...] = ()
    lead: str = ""
    tolerate: frozenset[str] = frozenset(TOLERATED)
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = (*self.fields, *self.numbers)
        if self.kind == "json" and len({self.label_field, *named}) != 1 + len(named):
            raise ValueError("the fields of an answer have different names")
        if not self.labels or not all(label.strip() for label in self.labels):
            raise ValueError("labels are written with at least one character, and there is at least one")

    @classmethod
    def of(cls, form: Format, labels: tuple[str, ...]) -> AnswerForm:
        """The form that a prompt declares, for a task's labels."""
        tolerate, numbers = frozenset(form.tolerate), ranges_of(form)
        if isinstance(form, JsonAnswer):
            return cls("json", labels, form.field, form.fields, tolerate=tolerate, numbers=numbers)
        lead = form.lead if isinstance(form, LastLineAnswer) else form.marker if isinstance(form, TextAnswer) else ""
        return cls(form.kind, labels, lead=lead, tolerate=tolerate, numbers=numbers)

    def label(self, written: str) -> str | None:
        """The label that is written, exactly or but for what is tolerated; None where it tells none, or two."""
        return written if written in self.labels else self._loosely.get(self.loose(written))

    def loose(self, written: str) -> str:
        """A written label without what is tolerated."""
        if "space" in self.tolerate:
            written = _BLANKS.sub(" ", written).strip()
        space = " " if "space" in self.tolerate else ""
        before = _MARKUP + space if "markup" in self.tolerate else space
        after = before + _PUNCTUATION if "punctuation" in self.tolerate else before
        written = written.lstrip(before).rstrip(after)
        return written.casefold() if "case" in self.tolerate else written

    @cached_property
    def _loosely(self) -> dict[str, str | None]:
        """Labels by their loose writing; None where two labels share it, for then it tells neither."""
        found: dict[str, str | None] = {}
        for label in self.labels:
            key = self.loose(label)
            found[key] = None if key in found else label
        return {key: label for key, label in found.items() if key}

    def may_go_on(self, written: str) -> bool:
        """Whether a label that was cut off may have been the beginning of another one."""
        key = self.loose(written)
        return any(label != key and label.startswith(key) for label in self._loosely)


@dataclass(frozen=True, slots=True)
class Answer:
    """A label or, where `label` is None, one of `FAULTS`; `ignored` are fields that hold what no answer has.

    Of each number that the form has, an answer with a label has either the value or, in `unsaid`, one of `UNSAID`.
    """

    label: str | None
    fault: str = ""
    fields: Mapping[str, Value] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    unsaid: Mapping[str, str] = field(default_factory=dict)


def answer_schema(form: AnswerForm) -> dict[str, Any]:
    """The JSON schema of an answer of kind `json`: all stands there; fields, but no label or number, may be null."""
    properties: dict[str, Any] = {form.label_field: {"type": "string", "enum": list(form.labels)}}
    properties |= {name: {"type": ["string", "number", "null"]} for name in form.fields}
    properties |= {name: {"type": "number"} for name in sorted(form.numbers)}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
