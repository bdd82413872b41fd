"""What is asked of whom, how patiently, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hsdc_schemas.answers import Finish
from hsdc_schemas.digests import digest_json


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint: its base URL, the model served there, and where its key is.

    `key_from` names an environment variable, "" is for none; prices are per million tokens, None where undeclared.
    """

    url: str
    model: str
    key_from: str = ""
    prompt_price: float | None = None
    completion_price: float | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; None where a price is undeclared."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return round((prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6, 9)


@dataclass(frozen=True)
class Patience:
    """How much at once, how long, how often: seconds everywhere; `seconds` and `cost` cap the whole stage.

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
    """One request as it is sent; its digest is over the whole of it and the address. `name` is for messages."""

    name: str
    url: str
    body: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Digest of the canonical JSON of address and body; the key is no part of it."""
        return digest_json({"url": self.url, "body": self.body})


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
    """A reply per request, by digest, and what getting them took; `asked` + `kept` are the different requests."""

    replies: Mapping[str, Reply]
    asked: int
    kept: int
    damaged: int
    retries: Mapping[str, int] = field(default_factory=dict)
    spent: float | None = None
