"""One attempt to get a response, through the library `openai`; whatever happens comes back as a value."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from hsdc_runtime.endpoint.reading import UnreadableError, is_filtered, parsed, read_reply
from hsdc_runtime.endpoint.secret import Key
from hsdc_runtime.endpoint.values import Address, Again, Attempt, Patience, Received, Refused
from hsdc_runtime.endpoint.waiting import asked_wait

MAX_RESPONSE = 16 << 20  # bytes
REPEATED = {408, 409, 425, 429}
PERMANENT = {501, 505}
EXHAUSTED = {"insufficient_quota", "billing_hard_limit_reached"}  # a 429 that no wait mends
HINTS = {
    400: "look at the model's name and the parameters that the prompt sets",
    401: "set the right key in {key}",
    402: "the account behind the key must be paid",
    403: "the key in {key} may not use this model",
    404: "look at the endpoint's url, which ends with the API's version, and the model's name",
    413: "shorten the prompt",
    422: "look at the parameters that the prompt sets",
}


class Client:
    """Sends requests to one endpoint: no retries of its own, no redirects, and no key but the one given."""

    def __init__(self, address: Address, key: Key, patience: Patience) -> None:
        self._address, self._key, self._timeout = address, key, patience.timeout
        self._client = openai.AsyncOpenAI(
            base_url=address.url,
            api_key=key.reveal() or "none",
            admin_api_key="",
            max_retries=0,
            timeout=patience.timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                follow_redirects=False,
                trust_env=not _on_this_machine(address.url),  # a proxy of the environment does not reach it
                limits=httpx2.Limits(max_connections=patience.concurrency),
            ),
        )
        self._client.organization = self._client.project = None  # which the environment may have set
        # Said with every request, so that no variable of the environment says it otherwise.
        self._headers = {"Authorization": f"Bearer {key.reveal()}" if key.reveal() else openai.Omit()}
        self._create = self._client.chat.completions.with_streaming_response.create

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def attempt(self, body: Mapping[str, Any]) -> Attempt:
        """Send a request once. Cancelling it drops the connection."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._sent(body)
        except (openai.APITimeoutError, httpx2.TimeoutException, TimeoutError):
            return Again("timeout", f"there was no whole response within {self._timeout:g} s")
        except openai.APIStatusError as error:
            return self._judged(error)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            return Again("connection", self._key.shown(f"the connection failed: {cause}"))
        except httpx2.HTTPError as error:
            return Again("cut_off", self._key.shown(f"the response broke off: {error}"))

    async def _sent(self, body: Mapping[str, Any]) -> Attempt:
        rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
        data = bytearray()
        async with self._create(
            model=body["model"], messages=body["messages"], extra_body=rest, extra_headers=self._headers
        ) as response:
            kind = response.headers.get("content-type", "")
            if kind and "json" not in kind.lower():
                return Again("content_type", self._key.shown(f"the response is {kind}, not JSON"))
            async for piece in response.iter_bytes():
                data += piece
                if len(data) > MAX_RESPONSE:
                    return Again("malformed", f"the response has more than {MAX_RESPONSE} bytes")
        try:
            text = self._keepable(parsed(bytes(data)))
            read_reply(text)
        except UnreadableError as error:
            return Again("malformed", f"the response cannot be used: {error}")
        return Received(text)

    def _keepable(self, value: dict[str, Any]) -> str:
        """A response's JSON in ASCII, so that nothing in it escapes the search for the key."""
        return self._key.redacted(json.dumps(value, separators=(",", ":")))

    def _judged(self, error: openai.APIStatusError) -> Attempt:
        """What a status that is no success means; the endpoint's own words are part of the message."""
        status, body = error.status_code, error.body
        whole = {"error": body} if isinstance(body, dict) and "error" not in body else body
        if isinstance(whole, dict) and is_filtered(whole):
            return Received(self._keepable(whole))
        said = self._key.shown(_said(body))
        message = f"the endpoint answers {status}" + (f": {said}" if said else "")
        if 300 <= status < 400:
            place = self._key.shown(error.response.headers.get("location", "elsewhere"))
            return Refused(f"{message}, which leads to {place}", "name the url that it leads to, if you trust it")
        after = asked_wait(error.response.headers, time.time())
        repeated = status in REPEATED or (status >= 500 and status not in PERMANENT)
        if repeated and not EXHAUSTED & {error.code, error.type}:
            return Again(str(status), message, after)
        hint = HINTS.get(status, "look at what the endpoint says")
        return Refused(message, hint.format(key=self._address.key_from or "a variable that `key` names"))


def _said(body: Any) -> str:
    """The message in an error's body, whatever its form."""
    if isinstance(body, dict):
        inner = body.get("error", body)
        found = inner.get("message", inner.get("detail", "")) if isinstance(inner, dict) else inner
        return found if isinstance(found, str) else json.dumps(found)
    return body if isinstance(body, str) and not body.lstrip().startswith("<") else ""


def _on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
