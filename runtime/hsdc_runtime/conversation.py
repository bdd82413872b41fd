"""The conversation that asks about one text: templates rendered in a sandbox, examples as turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import TemplateError

from hsdc_runtime.sandbox import LONGEST, PromptEnvironment
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.prompting import Prompt
from hsdc_schemas.wording import worded

BLOCKS = ("persona", "policy", "context", "guidance")

Message = dict[str, str]


class Conversation:
    """A prompt, ready to be put to any text."""

    def __init__(self, prompt: Prompt, labels: Sequence[str]) -> None:
        self._prompt = prompt
        blocks = {name: getattr(prompt, name).strip() for name in BLOCKS}
        self._given: dict[str, Any] = {**blocks, "labels": list(labels), "examples": []}
        self._shots: list[Message] = []
        for example in prompt.examples:
            answer = worded(prompt.format, example.label, example.fields)
            self._given["examples"].append({"text": example.text, "label": example.label, "answer": answer})
        for example in prompt.examples if prompt.shots == "turns" else ():
            answer = worded(prompt.format, example.label, example.fields)
            self._shots += [self._user(example.text, example.fields), {"role": "assistant", "content": answer}]

    def about(self, text: str, fields: Mapping[str, str]) -> list[Message]:
        """The messages that ask about a row; HsdcError where a template fails on it."""
        system = self._render("system", text, fields).strip()
        head = [{"role": "system", "content": system}] if system else []
        return [*head, *self._shots, self._user(text, fields)]

    def _user(self, text: str, fields: Mapping[str, str]) -> Message:
        return {"role": "user", "content": self._render("user", text, fields).strip()}

    def _render(self, name: str, text: str, fields: Mapping[str, str]) -> str:
        return rendered(f"prompt.{name}", getattr(self._prompt, name), {**self._given, "text": text, "fields": fields})


def rendered(name: str, source: str, values: Mapping[str, Any]) -> str:
    """A template over some values; HsdcError where it fails on them. `name` stands for it in messages."""
    try:
        found: str = _template(source).render(values)
    except (TemplateError, TypeError, ValueError, OverflowError, ArithmeticError, RecursionError) as error:
        message = f"the template '{name}' fails: {error}".splitlines()[0]
        raise fail("E446", Exit.SPEC, message, None, "mend the template") from None
    if len(found) > LONGEST:
        message = f"the template '{name}' renders {len(found)} characters; {LONGEST} are the most"
        raise fail("E446", Exit.SPEC, message, None, "shorten the template or the text")
    return found


@cache
def _environment() -> PromptEnvironment:
    return PromptEnvironment()


@cache
def _template(source: str):  # type: ignore[no-untyped-def]  # jinja2's own class
    return _environment().from_string(source)
