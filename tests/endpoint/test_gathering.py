"""Asking an endpoint that fails in every way: answers are kept, nothing is asked twice, the key stays secret."""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from hsdc_runtime.endpoint.gathering import gather
from hsdc_runtime.endpoint.secret import Key, key_from
from hsdc_runtime.endpoint.values import Endpoint, Gathered, Patience, Request
from hsdc_runtime.work import Interrupted
from hsdc_schemas.errors import Exit, HsdcError
from tests.endpoint.server import Answer, Asked, Says, Server, completion, error, ok

SECRET = "sk-very-secret-0123456789"
QUICK = Patience(concurrency=4, timeout=2.0, attempts=4, first_wait=0.01, longest_wait=0.05)


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
    prices: tuple[float | None, float | None] = (None, None),
    key: str = SECRET,
) -> Gathered:
    endpoint = Endpoint(url, "m", "", *prices)
    return gather(endpoint, Key(key), wanted, patience, folder, progress=lambda *_: None, stop=stop)


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Gathered]:
    """Ask a server some texts; the responses are kept in one folder for the whole test."""

    def call(server: Server, texts: list[str], *rest: Any, parameters: Any = None, **options: Any) -> Gathered:
        wanted = requests(server.url, texts, **(parameters or {}))
        return gathered(server.url, wanted, tmp_path / "replies", *rest, **options)

    return call


def texts_of(gathered: Gathered, url: str, texts: list[str]) -> list[str]:
    return [gathered.replies[request.digest].text for request in requests(url, texts)]


def echo(asked: Asked, before: int) -> Says:
    return ok(f"reply to {asked.text}")


def once(first: Says) -> Answer:
    """That response to the first asking of every text, then good ones."""
    return lambda asked, before: first if before == 0 else echo(asked, before)


TEXTS = [f"text {number}" for number in range(9)]


def test_replies_belong_to_their_prompts_whatever_order_they_arrive_in(ask: Callable[..., Gathered]) -> None:
    waits = {text: 0.12 - 0.013 * number for number, text in enumerate(TEXTS)}
    with Server(lambda asked, before: Says(body=echo(asked, before).body, slow=waits[asked.text])) as server:
        found = ask(server, TEXTS)
        assert texts_of(ask(server, TEXTS), server.url, TEXTS) == [f"reply to {text}" for text in TEXTS]
        assert (found.asked, found.kept, found.retries) == (9, 0, {})
        assert server.most_at_once == 4


def test_exactly_what_the_request_says_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-of-an-admin")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "authorization: Bearer sk-of-a-header")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}
    parameters = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 5, "seed": 2**53 - 1, "stop": ["x"]}
    with Server(echo) as server:
        wanted = requests(server.url, ["a"], response_format=schema, **parameters)
        gathered(server.url, wanted, tmp_path)
        [asked] = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == wanted[0].body
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert not {"openai-organization", "openai-project"} & set(asked.headers)
    assert not any("sk-of" in value for value in asked.headers.values())


def test_without_a_key_none_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-of-a-header")
    with Server(echo) as server:
        wanted = requests(server.url, ["a"])
        gathered(server.url, wanted, tmp_path, key="")
        assert "authorization" not in server.asked[0].headers


def test_nothing_is_asked_twice(ask: Callable[..., Gathered]) -> None:
    with Server(echo) as server:
        first = ask(server, ["a", "b", "a"])
        assert (first.asked, first.kept) == (2, 0)
        again = ask(server, ["b", "a", "c"])
        assert (again.asked, again.kept) == (1, 2)
        assert [server.times(text) for text in "abc"] == [1, 1, 1]
        assert ask(server, ["a"], parameters={"temperature": 0.5}).asked == 1, "another parameter is another request"
        assert first.replies.items() <= again.replies.items()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"digest": "x"}', "flip"])
def test_a_kept_response_that_was_changed_is_asked_for_again(
    ask: Callable[..., Gathered], tmp_path: Path, damage: bytes | str
) -> None:
    with Server(echo) as server:
        ask(server, ["a"])
        [kept] = tmp_path.rglob("*.json")
        changed = kept.read_bytes().replace(b"reply to a", b"reply to b") if damage == "flip" else damage
        assert changed != kept.read_bytes()
        kept.write_bytes(changed)  # type: ignore[arg-type]
        again = ask(server, ["a"])
        assert (again.asked, again.damaged) == (1, 1)
        assert texts_of(again, server.url, ["a"]) == ["reply to a"]
        assert ask(server, ["a"]).kept == 1


def test_a_response_kept_under_another_name_is_not_taken(ask: Callable[..., Gathered], tmp_path: Path) -> None:
    with Server(echo) as server:
        ask(server, ["a", "b"])
        one, two = sorted(tmp_path.rglob("*.json"))
        one.write_bytes(two.read_bytes())
        again = ask(server, ["a", "b"])
        assert (again.asked, again.damaged) == (1, 1)
        assert texts_of(again, server.url, ["a", "b"]) == ["reply to a", "reply to b"]


GOOD = json.dumps(completion()).encode()
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
def test_what_passes_is_tried_again_and_counted(ask: Callable[..., Gathered], kind: str) -> None:
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
def test_a_body_of_another_form_is_malformed(ask: Callable[..., Gathered], body: bytes) -> None:
    with Server(once(Says(body=body))) as server:
        assert ask(server, ["a"]).retries == {"malformed": 1}


def test_the_first_of_several_completions_counts_wherever_it_stands(ask: Callable[..., Gathered]) -> None:
    choices = [{"index": index, "message": {"content": f"of {index}"}, "finish_reason": "stop"} for index in (2, 0, 1)]
    with Server(lambda *_: ok(choices=choices)) as server:
        assert texts_of(ask(server, ["a"]), server.url, ["a"]) == ["of 0"]


@pytest.mark.parametrize("header", [("Retry-After", "0.4"), ("retry-after-ms", "400"), ("Retry-After", "date")])
def test_the_wait_that_is_asked_for_is_kept_by_everybody(ask: Callable[..., Gathered], header: tuple[str, str]) -> None:
    name, value = header
    most = 0.4

    def answer(asked: Asked, before: int) -> Says:
        nonlocal most
        if asked.text != "text 0" or before:
            return echo(asked, before)
        if value != "date":
            return error(429, headers={name: value})
        now = time.time()
        then = int(now) + 2  # dates have whole seconds
        most = then - now
        return error(503, headers={name: time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(then))})

    with Server(answer) as server:
        ask(server, TEXTS, Patience(concurrency=1, timeout=2, attempts=2, first_wait=0.01, longest_wait=0.02))
        first, later = server.asked[0], server.asked[1:]
        assert min(item.time for item in later) - first.time >= most - 0.05
        assert max(item.time for item in later) - first.time < most + 2


def test_a_wait_that_is_too_long_is_left_to_another_run(ask: Callable[..., Gathered]) -> None:
    with Server(lambda *_: error(429, "try tomorrow", {"Retry-After": "86400"})) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, ["a"])
        assert raised.value.diagnostics[0].code == "E462"
        assert "86400" in str(raised.value)
        assert len(server.asked) == 1


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "soon", "", "9" * 400])
def test_a_senseless_wait_is_no_wait(ask: Callable[..., Gathered], value: str) -> None:
    with Server(once(error(429, headers={"Retry-After": value}))) as server:
        assert ask(server, ["a"]).retries == {"429": 1}


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


@pytest.mark.parametrize("status", FINAL)
def test_what_no_repetition_mends_stops_at_once_and_keeps_what_was_answered(
    ask: Callable[..., Gathered], tmp_path: Path, status: str
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
def test_what_never_passes_is_given_up_after_so_many_attempts(ask: Callable[..., Gathered], says: Says) -> None:
    with Server(lambda *_: says) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, ["a"])
        [diagnostic] = raised.value.diagnostics
        assert (diagnostic.code, diagnostic.exit) == ("E462", Exit.ENVIRONMENT)
        assert "in 4 attempts" in diagnostic.message
        assert server.times("a") == 4


def test_waits_grow(ask: Callable[..., Gathered]) -> None:
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


def test_a_response_that_trickles_is_cut_at_its_time(ask: Callable[..., Gathered]) -> None:
    patience = Patience(concurrency=1, timeout=0.5, attempts=2, first_wait=0.01, longest_wait=0.02)
    with Server(once(Says(body=GOOD, trickle=0.02))) as server:
        began = time.monotonic()
        assert ask(server, ["a"], patience).retries == {"timeout": 1}
        assert time.monotonic() - began < 3


def test_a_request_to_stop_is_heard_while_waiting(ask: Callable[..., Gathered]) -> None:
    flag = threading.Event()

    def answer(asked: Asked, before: int) -> Says:
        if asked.text == "text 3":
            flag.set()
            return Says(body=GOOD, slow=5)
        return echo(asked, before)

    with Server(answer) as server:
        began = time.monotonic()
        with pytest.raises(Interrupted, match="3 of 9"):
            ask(server, TEXTS, Patience(concurrency=1, timeout=30), flag.is_set)
        assert time.monotonic() - began < 4
        server.answer = echo
        assert ask(server, TEXTS).kept == 3


def test_time_for_everything_is_capped(ask: Callable[..., Gathered]) -> None:
    with Server(lambda asked, before: Says(body=GOOD, slow=0.2)) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, TEXTS, Patience(concurrency=1, seconds=0.5))
        assert raised.value.diagnostics[0].code == "E462"
        assert 1 <= len(server.asked) <= 4


def test_what_it_costs_is_counted_and_capped(ask: Callable[..., Gathered]) -> None:
    prices = (1_000.0, 50_000.0)  # 10 and 2 tokens: 0.01 + 0.1
    with Server(echo) as server:
        assert ask(server, ["x"], prices=prices).spent == pytest.approx(0.11)
        with pytest.raises(HsdcError) as raised:
            ask(server, TEXTS, Patience(concurrency=2, cost=0.3), prices=prices)
        [diagnostic] = raised.value.diagnostics
        assert (diagnostic.code, diagnostic.exit) == ("E463", Exit.POLICY)
        assert 3 <= len(server.asked) - 1 <= 4
        assert f"{len(server.asked) - 1} of 9" in diagnostic.message, "whoever was asked was waited for"
        rest = ask(server, TEXTS, Patience(cost=5), prices=prices)
        assert rest.kept + rest.asked == 9
        assert ask(server, TEXTS, Patience(cost=0.01), prices=prices).spent == 0, "what is kept costs nothing"


def test_a_cap_that_cannot_be_kept_is_no_cap(ask: Callable[..., Gathered]) -> None:
    with Server(lambda *_: ok(usage=None)) as server:
        for prices in ((None, None), (1.0, 1.0)):
            with pytest.raises(HsdcError) as raised:
                ask(server, TEXTS, Patience(concurrency=1, cost=1.0), prices=prices)
            assert raised.value.diagnostics[0].code == "E463"
        assert len(server.asked) == 1


def test_what_is_reported_comes_back(ask: Callable[..., Gathered]) -> None:
    says = {
        "a": ok("cut", "length", model="other-name", system_fingerprint=None),
        "b": ok("", "content_filter"),
        "c": ok(None, "stop"),
        "d": ok(usage={"prompt_tokens": -1, "completion_tokens": "2"}),
        "e": error(400, "blocked", code="content_filter"),
        "f": Says(body=json.dumps(completion(None)).replace('"content": null', '"refusal": "No."').encode()),
        "g": ok("a \ud83d"),
        "h": ok([{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]),  # type: ignore[arg-type]
    }
    with Server(lambda asked, before: says[asked.text]) as server:
        found = ask(server, list(says))
        replies = {
            request.body["messages"][0]["content"]: found.replies[request.digest]
            for request in requests(server.url, list(says))
        }
        assert found.retries == {}
        assert (replies["a"].text, replies["a"].finish, replies["a"].model, replies["a"].fingerprint) == (
            "cut",
            "length",
            "other-name",
            "",
        )
        assert [replies[name].finish for name in "bcde"] == ["filter", "stop", "stop", "filter"]
        assert replies["c"].text == ""
        assert (replies["d"].prompt_tokens, replies["d"].completion_tokens) == (None, None)
        assert (replies["f"].text, replies["f"].declined) == ("No.", True)
        assert replies["g"].text == "a �"
        assert replies["h"].text == "in parts"
        assert ask(server, list(says)).replies == found.replies


def test_the_key_is_nowhere_but_in_its_header(
    ask: Callable[..., Gathered], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
    gc.collect()


def test_what_an_endpoint_says_cannot_control_the_terminal(ask: Callable[..., Gathered]) -> None:
    with Server(lambda *_: error(400, "\x1b[2Jgone\r\nerror: \u202e" + "x" * 5000)) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, ["a"])
        message = raised.value.diagnostics[0].message
        assert "\x1b" not in message
        assert "\u202e" not in message
        assert "\n" not in message
        assert len(message) < 400


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


def test_it_works_where_a_loop_runs_already(ask: Callable[..., Gathered]) -> None:
    import asyncio

    async def inside() -> Gathered:
        return ask(server, ["a"])

    with Server(echo) as server:
        assert asyncio.run(inside()).asked == 1
