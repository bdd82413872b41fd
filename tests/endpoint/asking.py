"""Asking a server on the loopback, for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hsdc_runtime.endpoint.gathering import gather
from hsdc_runtime.endpoint.secret import Key
from hsdc_runtime.endpoint.values import Address, Gathered, Patience, Request
from hsdc_schemas.components import Prices
from tests.endpoint.server import Answer, Asked, Says, completion, error, ok

SECRET = "sk-very-secret-0123456789"
QUICK = Patience(concurrency=4, timeout=2.0, attempts=4, first_wait=0.01, longest_wait=0.05)
Ask = Callable[..., Gathered]

GOOD = json.dumps(completion()).encode()

FINAL = {
    "400": (error(400, "unknown parameter"), "unknown parameter"),
    "401": (error(401, f"wrong key: {SECRET}"), "wrong key: [key]"),
    "403": (error(403), "403"),
    "404": (error(404, "no model 'm'"), "no model 'm'"),
    "422": (Says(422, b'{"detail": [{"loc": ["body"]}]}'), "loc"),
    "301": (Says(301, b"", {"Location": "http://elsewhere.invalid/"}), "elsewhere.invalid"),
    "429": (error(429, "pay first", code="insufficient_quota"), "pay first"),
    "501": (error(501), "501"),
}


def requests(url: str, texts: list[str], **parameters: Any) -> list[Request]:
    return [
        Request(f"prompt {n}", url, {"model": "m", "messages": [{"role": "user", "content": text}], **parameters})
        for n, text in enumerate(texts)
    ]


def gathered(
    url: str,
    wanted: list[Request],
    folder: Path,
    patience: Patience = QUICK,
    stop: Callable[[], bool] = lambda: False,
    prices: Prices | None = None,
    key: str = SECRET,
) -> Gathered:
    address = Address(url)
    return gather(
        address, Key(key), wanted, folder, patience=patience, prices=prices, progress=lambda *_: None, stop=stop
    )


def texts_of(gathered: Gathered, url: str, texts: list[str]) -> list[str]:
    return [gathered.replies[request.digest].text for request in requests(url, texts)]


def echo(asked: Asked, before: int) -> Says:
    return ok(f"reply to {asked.text}")


def once(first: Says) -> Answer:
    """That response to the first asking of every text, then good ones."""
    return lambda asked, before: first if before == 0 else echo(asked, before)


TEXTS = [f"text {number}" for number in range(9)]
