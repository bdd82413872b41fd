"""Prompts from a model's own chat template: code of strangers, so it runs in a process of its own with little room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from hsdc_runtime.confined import Confined
from hsdc_schemas.digests import digest_bytes
from hsdc_schemas.errors import Exit, HsdcError, fail

SECONDS = 30
GROUP = 64

Messages = Sequence[Mapping[str, str]]


class ChatTemplate:
    """A chat template ready to render; leave it, as a context, to end its process.

    `variables` are the tokenizer's special tokens by name; `seconds` bounds the time of each `GROUP` of prompts. The
    process is confined, as `hsdc_runtime.confined` says.
    """

    def __init__(self, template: str, variables: Mapping[str, Any], *, seconds: int = SECONDS) -> None:
        self.digest = digest_bytes(template.encode())
        told = {"template": template, "variables": dict(variables)}
        self._process = Confined("hsdc_runtime.nn.chat_worker", seconds, told)

    def __enter__(self) -> ChatTemplate:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.close()

    def render(self, conversations: Sequence[Messages], ids: Sequence[str], *, ended: bool = False) -> list[str]:
        """The prompt of each conversation, up to where the model's answer begins; `ids` name rows in messages.

        With `ended` the last message is an answer, and the text goes on to where the template ends it.
        HsdcError where the template fails, refuses, or takes too long or too much.
        """
        texts: list[str] = []
        for start in range(0, len(conversations), GROUP):
            group = [[dict(message) for message in messages] for messages in conversations[start : start + GROUP]]
            texts += self._group(group, ids[start : start + GROUP], ended)
        return texts

    def _group(self, conversations: list[list[dict[str, str]]], ids: Sequence[str], ended: bool) -> list[str]:
        answer = self._process.ask({"conversations": conversations, "ended": ended})
        if answer is None:
            rows = f"row {ids[0]}" if len(ids) == 1 else f"the rows {ids[0]} to {ids[-1]}"
            raise _refused(f"takes more time or memory than it may for {rows}")
        if fault := answer.get("fault"):
            raise _refused(f"fails for row {ids[int(answer['row'])]}: {fault}")
        texts: list[str] = answer["texts"]
        return texts


def _refused(what: str) -> HsdcError:
    hint = "bind a model with another template, or mend the messages that it refuses"
    return fail("E445", Exit.SPEC, f"the model's chat template {what}", None, hint)
