"""How answers are written: the forms, the labels in them, what may vary; and an answer as a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

MAX_REPLY = 1 << 18  # characters; an answer with its reasoning is a few thousand

FORMS = ("json", "label", "last_line")
FAULTS: Mapping[str, str] = {
    "empty": "there is no text",
    "filtered": "the endpoint's content filter withheld the answer",
    "truncated": "the reply ends at the token limit before an answer can be read",
    "refusal": "the model declines to answer",
    "malformed": "the reply is not of the declared form",
    "several": "more than one answer is given",
    "unknown_label": "the answer is none of the labels",
    "missing_field": "a required field is missing",
    "wrong_type": "a required field has another type",
    "too_long": f"the reply has more than {MAX_REPLY} characters",
}
TOLERATED: Mapping[str, str] = {
    "space": "blanks around a label, and how many are inside it",
    "case": "upper and lower case of a label",
    "punctuation": "punctuation after a label",
    "markup": "quotes and Markdown emphasis around a label",
    "prose": "text around a JSON object",
    "thinking": "a leading <think>…</think> block",
}
Finish: TypeAlias = Literal["stop", "length", "filter"]
Value: TypeAlias = str | float | None

_BLANKS = re.compile(r"\s+")
_MARKUP = "*_`\"'“”‘’"
_PUNCTUATION = ".,;:!。"


@dataclass(frozen=True, slots=True)
class AnswerField:
    """A field of a JSON answer beside its label; only one that is `required` can void the answer."""

    name: str
    kind: Literal["text", "number"] = "text"
    required: bool = False


@dataclass(frozen=True)
class AnswerForm:
    """How answers are written. `words` maps each written form to its label; `tolerate` names what may vary.

    `lead` may stand before the label on the last line. Raises ValueError on unknown names and repeated fields.
    """

    kind: Literal["json", "label", "last_line"]
    words: Mapping[str, str]
    label_field: str = "classification"
    fields: tuple[AnswerField, ...] = ()
    lead: str = ""
    tolerate: frozenset[str] = field(default_factory=lambda: frozenset(TOLERATED))

    def __post_init__(self) -> None:
        if self.kind not in FORMS:
            raise ValueError(f"'{self.kind}' is no form of answers; known are {', '.join(FORMS)}")
        if unknown := sorted(self.tolerate - set(TOLERATED)):
            raise ValueError(f"'{unknown[0]}' cannot be tolerated; known are {', '.join(TOLERATED)}")
        names = [self.label_field, *(item.name for item in self.fields)]
        if len(set(names)) != len(names):
            raise ValueError("the fields of an answer have different names")
        if not self.words or not all(word.strip() for word in self.words):
            raise ValueError("labels are written with at least one character, and there is at least one")

    def label(self, written: str) -> str | None:
        """The label that is written, exactly or but for what is tolerated; None where it tells none, or two."""
        if written in self.words:
            return self.words[written]
        return self._loosely.get(self.loose(written))

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
        for word, label in self.words.items():
            key = self.loose(word)
            found[key] = label if found.get(key, label) == label else None
        return {key: label for key, label in found.items() if key}

    def may_go_on(self, written: str) -> bool:
        """Whether a label that was cut off may have been the beginning of another one."""
        key = self.loose(written)
        return any(word != key and word.startswith(key) for word in self._loosely)


@dataclass(frozen=True, slots=True)
class Answer:
    """A label or, where `label` is None, one of `FAULTS`; `ignored` are optional fields of another type."""

    label: str | None
    fault: str = ""
    fields: Mapping[str, Value] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def answer_schema(form: AnswerForm) -> dict[str, Any]:
    """The JSON schema of an answer of kind `json`: every field stands there, an optional one may be null."""
    kinds = {"text": "string", "number": "number"}
    properties: dict[str, Any] = {form.label_field: {"type": "string", "enum": list(form.words)}}
    for item in form.fields:
        kind = kinds[item.kind]
        properties[item.name] = {"type": kind if item.required else [kind, "null"]}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
