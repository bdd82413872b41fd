"""The conversation that asks about one text: templates rendered in a sandbox, examples as turns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from hsdc_runtime.confined import Confined
from hsdc_runtime.plain_templates import plain_template
from hsdc_runtime.prompt_worker import told
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.prompting import Prompt
from hsdc_schemas.wording import worded

BLOCKS = ("persona", "policy", "context", "guidance")

SECONDS = 10
"""Most CPU time of one text."""

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
        return rendered(f"prompt.{name}", getattr(self._prompt, name), {"text": text, "fields": fields}, self._given)


def rendered(name: str, source: str, values: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> str:
    """A template over some values, and over what is given to every row; HsdcError where it fails on them.

    `name` stands for it in messages.
    """
    answer: Mapping[str, Any]
    if (plain := plain_template(source)) is not None:
        answer = told(lambda: plain({**(given or {}), **values}))
    else:
        with _LOCK:
            answer = _PROCESS.ask(source, values, given or {})
    if "text" in answer:
        text: str = answer["text"]
        return text
    message = f"the template '{name}' {answer['fault']}".splitlines()[0]
    raise fail("E446", Exit.SPEC, message, None, "mend the template, or shorten what it is given")


class _Process:
    """The process that renders, started when it is first needed, and what it was given last."""

    def __init__(self) -> None:
        self._confined: Confined | None = None
        self._given: Mapping[str, Any] | None = None
        self._owner = 0

    def ask(self, source: str, values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        if self._confined is None or self._owner != os.getpid():  # a forked process shares no pipe with another one
            self._confined, self._given = Confined("hsdc_runtime.prompt_worker", SECONDS, {}), None
            self._owner = os.getpid()
        new = {"given": given} if given is not self._given else {}
        answer = self._confined.ask({"template": source, "values": values, **new})
        self._given = given
        if answer is None:
            self._confined = None
            return {"fault": f"takes more memory, or more time than {SECONDS} s, for one row"}
        return answer


_LOCK = Lock()
_PROCESS = _Process()
