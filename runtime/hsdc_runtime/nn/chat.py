"""Prompts from a model's own chat template: code of strangers, so it runs in a process of its own with little room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from select import select
from types import TracebackType
from typing import Any

from hsdc_schemas.digests import digest_bytes
from hsdc_schemas.errors import Exit, HsdcError, fail

SECONDS = 30
GROUP = 64
LARGEST_ANSWER = 1 << 28

Messages = Sequence[Mapping[str, str]]


class ChatTemplate:
    """A chat template ready to render; leave it, as a context, to end its process.

    `variables` are the tokenizer's special tokens by name; `seconds` bounds the time of each `GROUP` of prompts. The
    process inherits nothing of the environment that could hold a secret; `chat_worker` says what else bounds it.
    """

    def __init__(self, template: str, variables: Mapping[str, Any], *, seconds: int = SECONDS) -> None:
        self.digest = digest_bytes(template.encode())
        self._seconds, self._rest = seconds, b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from hsdc_runtime.nn.chat_worker import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **_libraries()},
        )
        self._send({"template": template, "variables": dict(variables), "seconds": seconds})

    def __enter__(self) -> ChatTemplate:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

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
        self._send({"conversations": conversations, "ended": ended})
        answer = self._receive()
        if answer is None:
            rows = f"row {ids[0]}" if len(ids) == 1 else f"the rows {ids[0]} to {ids[-1]}"
            raise _refused(f"takes more time or memory than it may for {rows}")
        if fault := answer.get("fault"):
            raise _refused(f"fails for row {ids[int(answer['row'])]}: {fault}")
        texts: list[str] = answer["texts"]
        return texts

    def _send(self, value: Any) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(value).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; what is read next tells

    def _receive(self) -> dict[str, Any] | None:
        """The worker's answer; None where it has ended, or has none in time."""
        stdout, end = self._process.stdout, time.monotonic() + 2 * self._seconds
        assert stdout is not None
        while b"\n" not in self._rest[-(1 << 16) :]:
            if not select([stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            data = os.read(stdout.fileno(), 1 << 16)
            if not data or len(self._rest) > LARGEST_ANSWER:
                return None
            self._rest += data
        line, self._rest = self._rest, b""
        found: dict[str, Any] = json.loads(line)
        return found


def _libraries() -> dict[str, str]:
    """Without these, an interpreter that lies in an unusual place does not start."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}


def _refused(what: str) -> HsdcError:
    hint = "bind a model with another template, or mend the messages that it refuses"
    return fail("E445", Exit.SPEC, f"the model's chat template {what}", None, hint)
