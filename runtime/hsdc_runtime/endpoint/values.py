"""What is asked of whom, how patiently, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hsdc_schemas.answer_forms import Finish
from hsdc_schemas.digests import LARGEST, digest_json


@dataclass(frozen=True)
class Address:
    """Where an endpoint is and where its key is: its base URL, and an environment variable, "" for none."""

    url: str
    key_from: str = ""


@dataclass(frozen=True)
class Patience:
    """How much at once, how long, how often, in seconds; `seconds` and `cost` cap everything together.

    Before attempt n + 1 the wait is half to all of min(longest_wait, first_wait · 2ⁿ), or what the endpoint asks for.
    """

    concurrency: int = 8
    timeout: float = 120.0
    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 60.0
    seconds: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Request:
    """One request as it is sent, and the endpoint's declared url; `name` stands for it in messages."""

    name: str
    url: str
    body: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Digest of the canonical JSON of url and body; the key is no part of it."""
        body = {name: value if _has_json(value) else str(value) for name, value in self.body.items()}
        return digest_json({"url": self.url, "body": body})


def _has_json(value: Any) -> bool:
    """Whether canonical JSON has a value, as it has not for a seed beyond its numbers."""
    return not isinstance(value, int) or abs(value) <= LARGEST


@dataclass(frozen=True)
class Reply:
    """What a response says: tokens are None where it does not count them, `model` and `fingerprint` are as reported."""

    text: str
    finish: Finish
    reason: str
    model: str
    fingerprint: str
    prompt_tokens: int | None
    completion_tokens: int | None
    declined: bool = False


@dataclass(frozen=True)
class Received:
    """A response that can be kept: its JSON value as text, without the key."""

    text: str


@dataclass(frozen=True)
class Again:
    """An attempt that may be repeated: its class, what happened, and the wait that the endpoint asks for."""

    kind: str
    message: str
    after: float | None = None


@dataclass(frozen=True)
class Refused:
    """An attempt that no repetition mends."""

    message: str
    hint: str


Attempt = Received | Again | Refused


@dataclass(frozen=True)
class Gathered:
    """A reply per request, by digest, and what getting them took; `asked` + `kept` are the different requests.

    `damaged` kept responses were asked for again; `spent` is what this execution has cost, None where prices are not
    declared.
    """

    replies: Mapping[str, Reply]
    asked: int
    kept: int
    damaged: int
    retries: Mapping[str, int] = field(default_factory=dict)
    spent: float | None = None
