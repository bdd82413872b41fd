"""A response of the chat completions API, read strictly where it matters: text, end, tokens, who answered."""

from __future__ import annotations

import json
from typing import Any

from hsdc_runtime.endpoint.values import Reply
from hsdc_schemas.answer_forms import Finish
from hsdc_schemas.replies import well_formed

FINISHES: dict[str, Finish] = {"length": "length", "max_tokens": "length", "content_filter": "filter"}


class UnreadableError(ValueError):
    """A response is not one of the chat completions API; the message says in what."""


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object of a response's bytes; raises UnreadableError."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise UnreadableError("it is not valid JSON") from None
    if not isinstance(value, dict):
        raise UnreadableError("it is not a JSON object")
    return value


def read_reply(text: str) -> Reply:
    """What a response says, given its JSON; raises UnreadableError. Of several completions the first counts."""
    value = parsed(text.encode())
    if is_filtered(value):
        return Reply("", "filter", "content_filter", _name(value.get("model")), "", None, None)
    choice = _first_choice(value)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise UnreadableError("its completion has no message")
    said, declined = _said(message.get("content")), message.get("refusal")
    if said is None and not isinstance(declined, str):
        said = ""
    reason = choice.get("finish_reason")
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    return Reply(
        text=well_formed(said if said is not None else declined),
        finish=FINISHES.get(reason, "stop") if isinstance(reason, str) else "stop",
        reason=_name(reason),
        model=_name(value.get("model")),
        fingerprint=_name(value.get("system_fingerprint")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        declined=said is None,
    )


def is_filtered(value: dict[str, Any]) -> bool:
    """Whether a response is an error that says that a content filter withheld the answer."""
    error = value.get("error")
    if not isinstance(error, dict):
        return False
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    return any(code in ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation") for code in codes)


def _first_choice(value: dict[str, Any]) -> dict[str, Any]:
    """The completion of index 0, wherever in the list it stands."""
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(item, dict) for item in choices):
        raise UnreadableError("it has no completions")
    for place, item in enumerate(choices):
        if item.get("index", place) == 0:
            return dict(item)
    raise UnreadableError("its first completion is missing")


def _said(content: Any) -> str | None:
    """The text of a message: a string, or the text parts of a list."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        texts = [part.get("text") for part in content if part.get("type", "text") == "text"]
        if all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise UnreadableError("its message is no text")


def _name(value: Any) -> str:
    return well_formed(value)[:200] if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
