"""Every prompt answered once, in any order, whatever is kept, within time and money."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest

from hsdc_runtime.endpoint.values import Gathered, Patience
from hsdc_runtime.work import Interrupted
from hsdc_schemas.components import Prices
from hsdc_schemas.errors import Exit, HsdcError
from tests.endpoint.asking import GOOD, SECRET, TEXTS, Ask, echo, gathered, requests, texts_of
from tests.endpoint.server import Asked, Says, Server, completion, error, ok


def test_replies_belong_to_their_prompts_whatever_order_they_arrive_in(ask: Ask) -> None:
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


def test_nothing_is_asked_twice(ask: Ask) -> None:
    with Server(echo) as server:
        first = ask(server, ["a", "b", "a"])
        assert (first.asked, first.kept) == (2, 0)
        again = ask(server, ["b", "a", "c"])
        assert (again.asked, again.kept) == (1, 2)
        assert [server.times(text) for text in "abc"] == [1, 1, 1]
        assert ask(server, ["a"], parameters={"temperature": 0.5}).asked == 1, "another parameter is another request"
        assert first.replies.items() <= again.replies.items()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"digest": "x"}', "flip"])
def test_a_kept_response_that_was_changed_is_asked_for_again(ask: Ask, tmp_path: Path, damage: bytes | str) -> None:
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


def test_a_response_kept_under_another_name_is_not_taken(ask: Ask, tmp_path: Path) -> None:
    with Server(echo) as server:
        ask(server, ["a", "b"])
        one, two = sorted(tmp_path.rglob("*.json"))
        one.write_bytes(two.read_bytes())
        again = ask(server, ["a", "b"])
        assert (again.asked, again.damaged) == (1, 1)
        assert texts_of(again, server.url, ["a", "b"]) == ["reply to a", "reply to b"]


def test_what_is_reported_comes_back(ask: Ask) -> None:
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


def test_a_request_to_stop_is_heard_while_waiting(ask: Ask) -> None:
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


def test_time_for_everything_is_capped(ask: Ask) -> None:
    with Server(lambda asked, before: Says(body=GOOD, slow=0.2)) as server:
        with pytest.raises(HsdcError) as raised:
            ask(server, TEXTS, Patience(concurrency=1, seconds=0.5))
        assert raised.value.diagnostics[0].code == "E462"
        assert 1 <= len(server.asked) <= 4


def test_what_it_costs_is_counted_and_capped(ask: Ask) -> None:
    prices = Prices(input_per_million=1_000.0, output_per_million=50_000.0)  # 10 and 2 tokens: 0.01 + 0.1
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


def test_a_cap_that_cannot_be_kept_is_no_cap(ask: Ask) -> None:
    with Server(lambda *_: ok(usage=None)) as server:
        for prices in (None, Prices(input_per_million=1.0, output_per_million=1.0)):
            with pytest.raises(HsdcError) as raised:
                ask(server, TEXTS, Patience(concurrency=1, cost=1.0), prices=prices)
            assert raised.value.diagnostics[0].code == "E463"
        assert len(server.asked) == 1


def test_it_works_where_a_loop_runs_already(ask: Ask) -> None:
    async def inside() -> Gathered:
        return ask(server, ["a"])

    with Server(echo) as server:
        assert asyncio.run(inside()).asked == 1
