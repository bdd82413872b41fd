"""The key of an endpoint is in one header and nowhere else."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import pytest

from hsdc_runtime.endpoint.secret import Key, key_from
from hsdc_schemas.errors import Exit, HsdcError
from tests.endpoint.asking import FINAL, SECRET, Ask, echo, gathered, requests
from tests.endpoint.server import Says, Server, completion, error


def test_without_a_key_none_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-of-a-header")
    with Server(echo) as server:
        wanted = requests(server.url, ["a"])
        gathered(server.url, wanted, tmp_path, key="")
        assert "authorization" not in server.asked[0].headers


def test_the_key_is_nowhere_but_in_its_header(ask: Ask, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint tells it in every way it can: in texts, escaped, in names, in errors and in headers."""
    escaped = "".join(f"\\u{ord(sign):04x}" for sign in SECRET)
    body = json.dumps(completion("PLACE", model=SECRET, system_fingerprint=SECRET, **{SECRET: 1}))
    says = {
        "a": Says(body=body.replace("PLACE", escaped).encode(), headers={"X-Key": SECRET}),
        "b": error(500, f"the key is {SECRET}", {"X-Key": SECRET}),
        "c": error(400, f"blocked for {SECRET}", code="content_filter"),
    }
    caplog.set_level(logging.DEBUG)
    messages = []
    with Server(lambda asked, before: says[asked.text]) as server:
        messages.append(repr(ask(server, ["a", "c"])))
        for final in (says["b"], *(says for says, _ in FINAL.values()), Says(301, b"", {"Location": SECRET})):
            server.answer = lambda asked, before, final=final: final
            with pytest.raises(HsdcError) as raised:
                ask(server, ["b"])
            messages += ["".join(traceback.format_exception(raised.value)), repr(raised.value.diagnostics)]
        assert all(SECRET in item.headers["authorization"] for item in server.asked)
    everything = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(everything) == 2
    decoded = [json.dumps(json.loads(text), ensure_ascii=False) for text in everything]
    decoded += [json.dumps(json.loads(json.loads(text)["response"]), ensure_ascii=False) for text in everything]
    for text in (*everything, *decoded, *messages, caplog.text):
        assert SECRET not in text
    assert any("[key]" in text for text in everything)


def test_a_key_that_is_missing_or_none_is_said_without_it() -> None:
    assert key_from("", {}).reveal() == ""
    assert key_from("K", {"K": f" {SECRET}\n"}).reveal() == SECRET
    for value in (None, "", "  ", "short", "with a blank", 'with-"quotes"', "with-ü-in-it", "line\nbreak-in-it"):
        with pytest.raises(HsdcError) as raised:
            key_from("K", {} if value is None else {"K": value})
        [diagnostic] = raised.value.diagnostics
        assert (diagnostic.code, diagnostic.exit) == ("E460", Exit.ENVIRONMENT)
        assert not (value or "").strip() or value not in diagnostic.message
    assert SECRET not in repr(Key(SECRET))
