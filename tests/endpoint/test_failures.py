"""Endpoints that fail in every way: what passes is tried again and counted, what does not stops at once."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest

from hsdc_runtime.endpoint.values import Patience
from hsdc_schemas.errors import Exit, HsdcError
from tests.endpoint.asking import FINAL, GOOD, TEXTS, Ask, echo, gathered, once, requests, texts_of
from tests.endpoint.server import Asked, Says, Server, completion, error, ok

PASSING = {
    "429": error(429, "slow down"),
    "500": error(500),
    "502": Says(502, b"<html>bad gateway</html>", kind="text/html"),
    "503": Says(503, b"", kind=""),
    "408": error(408),
    "timeout": Says(body=GOOD, slow=0.8),
    "cut_off": Says(body=GOOD, cut=40),
    "malformed": Says(body=GOOD[:-5]),
    "content_type": Says(body=b"<html>please log in</html>", kind="text/html; charset=utf-8"),
}


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_tried_again_and_counted(ask: Ask, kind: str) -> None:
    patience = Patience(concurrency=4, timeout=0.4, attempts=3, first_wait=0.01, longest_wait=0.05)
    with Server(once(PASSING[kind])) as server:
        found = ask(server, ["a", "b", "c"], patience)
        assert texts_of(found, server.url, ["a", "b", "c"]) == ["reply to a", "reply to b", "reply to c"]
        assert found.retries == {kind: 3}
        assert [server.times(text) for text in "abc"] == [2, 2, 2]


UNUSABLE = {
    "no object": b"[]",
    "not UTF-8": b'{"choices": "\xff"}',
    "deep": b"[" * 100_000,
    "an error with 200": b'{"error": {"message": "overloaded"}}',
    "no completions": json.dumps(completion() | {"choices": []}).encode(),
    "no list of completions": json.dumps(completion() | {"choices": {"0": 1}}).encode(),
    "no message": json.dumps(completion() | {"choices": [{"index": 0}]}).encode(),
    "no first completion": json.dumps(completion() | {"choices": [{"index": 1, "message": {"content": "x"}}]}).encode(),
    "no text": json.dumps(completion(text=17)).encode(),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("body", UNUSABLE.values(), ids=UNUSABLE)
def test_a_body_of_another_form_is_malformed(ask: Ask, body: bytes) -> None:
    with Server(once(Says(body=body))) as server:
        assert ask(server, ["a"]).retries == {"malformed": 1}


def test_a_response_without_end_is_cut(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsdc_runtime.endpoint.client.MAX_RESPONSE", 1000)
    with Server(once(ok("x" * 1000))) as server:
        assert ask(server, ["a"]).retries == {"malformed": 1}


def test_the_first_of_several_completions_counts_wherever_it_stands(ask: Ask) -> None:
    choices = [{"index": index, "message": {"content": f"of {index}"}, "finish_reason": "stop"} for index in (2, 0, 1)]
    with Server(lambda *_: ok(choices=choices)) as server:
        assert texts_of(ask(server, ["a"]), server.url, ["a"]) == ["of 0"]


@pytest.mark.parametrize("header", [("Retry-After", "0.4"), ("retry-after-ms", "400"), ("Retry-After", "date")])
def test_the_wait_that_is_asked_for_is_kept_by_everybody(ask: Ask, header: tuple[str, str]) -> None:
    name, value = header
    most = 0.4

    def answer(asked: Asked, before: int) -> Says:
        nonlocal most
        if asked.text != "text 0" or before:
            return Says(body=echo(asked, before).body, slow=0.1)
        if value != "date":
            return error(429, headers={name: value})
        now = time.time()
        then = int(now) + 2  # dates have whole seconds
        most = then - now
        return error(503, headers={name: time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(then))})

    with Server(answer) as server:
        ask(server, TEXTS, Patience(concurrency=3, timeout=5, attempts=2, first_wait=0.01, longest_wait=0.02))
        busy = min(item.time for item in server.asked if item.text == "text 0")
        later = [item for item in server.asked if item.time > busy][-7:]
        assert len(server.asked) == 10
        assert min(item.time for item in later) - busy >= most - 0.05
        assert max(item.time for item in later) - busy < most + 3


def test_a_wait_that_is_too_long_is_left_to_another_run(ask: Ask) -> None:
    with Server(lambda *_: error(429, "try tomorrow", {"Retry-After": "86400"})) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, ["a"])
        assert raised.value.diagnostics[0].code == "E462"
        assert "86400" in str(raised.value)
        assert len(server.asked) == 1


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "soon", "", "9" * 400])
def test_a_senseless_wait_is_no_wait(ask: Ask, value: str) -> None:
    with Server(once(error(429, headers={"Retry-After": value}))) as server:
        assert ask(server, ["a"]).retries == {"429": 1}


@pytest.mark.parametrize("status", FINAL)
def test_what_no_repetition_mends_stops_at_once_and_keeps_what_was_answered(
    ask: Ask, tmp_path: Path, status: str
) -> None:
    says, words = FINAL[status]
    with Server(lambda asked, before: says if asked.text == "text 5" else echo(asked, before)) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, TEXTS, Patience(concurrency=1, timeout=2, attempts=5, first_wait=0.01))
        [diagnostic] = raised.value.diagnostics
        assert (diagnostic.code, diagnostic.exit) == ("E461", Exit.ENVIRONMENT)
        assert words in diagnostic.message
        assert "5 of 9 requests are answered" in diagnostic.message
        assert "prompt 5" in diagnostic.message
        assert diagnostic.hint
        assert server.times("text 5") == 1
        assert server.times("text 6") == 0
        server.answer = echo
        assert ask(server, TEXTS).kept == 5


@pytest.mark.parametrize("says", [PASSING["500"], PASSING["cut_off"], PASSING["content_type"]])
def test_what_never_passes_is_given_up_after_so_many_attempts(ask: Ask, says: Says) -> None:
    with Server(lambda *_: says) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, ["a"])
        [diagnostic] = raised.value.diagnostics
        assert (diagnostic.code, diagnostic.exit) == ("E462", Exit.ENVIRONMENT)
        assert "in 4 attempts" in diagnostic.message
        assert server.times("a") == 4


def test_waits_grow(ask: Ask) -> None:
    patience = Patience(concurrency=1, timeout=2, attempts=5, first_wait=0.05, longest_wait=0.2)
    with Server(lambda *_: error(500)) as server:
        with pytest.raises(HsdcError):
            ask(server, ["a"], patience)
        times = [item.time for item in server.asked]
        waits = [after - before for before, after in pairwise(times)]
        for wait, most in zip(waits, (0.05, 0.1, 0.2, 0.2), strict=True):
            assert wait >= most / 2


def test_nobody_there_is_said_in_one_line(tmp_path: Path) -> None:
    with Server(echo) as server:
        url = server.url
    with pytest.raises(HsdcError) as raised:
        gathered(url, requests(url, ["a"]), tmp_path)
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.code == "E462"
    assert "connection" in diagnostic.message
    assert "\n" not in diagnostic.message


def test_a_response_that_trickles_is_cut_at_its_time(ask: Ask) -> None:
    patience = Patience(concurrency=1, timeout=0.5, attempts=2, first_wait=0.01, longest_wait=0.02)
    with Server(once(Says(body=GOOD, trickle=0.02))) as server:
        began = time.monotonic()
        assert ask(server, ["a"], patience).retries == {"timeout": 1}
        assert time.monotonic() - began < 3


def test_what_an_endpoint_says_cannot_control_the_terminal(ask: Ask) -> None:
    with Server(lambda *_: error(400, "\x1b[2Jgone\r\nerror: \u202e" + "x" * 5000)) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, ["a"])
        message = raised.value.diagnostics[0].message
        assert "\x1b" not in message
        assert "\u202e" not in message
        assert "\n" not in message
        assert len(message) < 400
