"""The stages that ask and parse: replies in the prompts' order, facts that add up, answers or faults for all rows."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hsdc_runtime.inputs import Located
from hsdc_runtime.stages.ask import ask
from hsdc_runtime.stages.parse import parse
from hsdc_runtime.watch import Watch
from hsdc_runtime.work import Interrupted, Made, Output, Work
from hsdc_schemas.errors import Exit, HsdcError
from tests.endpoint.asking import SECRET
from tests.endpoint.server import Asked, Says, Server, completion, error, ok

LABELS = ["hate", "offensive", "neither"]
TASK = {"target": "label", "labels": LABELS}
JSON = {"kind": "json", "field": "classification", "fields": ["confidence"]}
PRICES = {"input_per_million": 1.0, "output_per_million": 10.0}
REQUESTS = {"concurrency": 3, "timeout_seconds": 5.0, "retries": 2}
TEXTS = {f"row-{number}": f"text {number % 5}" for number in range(8)}  # three are asked about twice
ROOT = Path(__file__).resolve().parents[2]


def work_at(tmp_path: Path, experiment: dict[str, Any], needs: dict[str, dict[str, str]], **more: Any) -> Work:
    """What a stage sees, with the files that it needs written as they are given."""
    outputs: dict[str, dict[str, Output]] = {}
    for stage, files in needs.items():
        for name, text in files.items():
            path = tmp_path / f"{stage}.{name}"
            path.write_text(text, "utf-8")
            outputs.setdefault(stage, {})[name] = Output(path, "")
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    return Work(
        section={"experiment": experiment, "execution": {"requests": {**REQUESTS, **more.get("requests", {})}}},
        inputs=Located({}, {}, tmp_path, (), more.get("url", "")),
        needs=outputs,
        keys={},
        folder=folder,
        checkpoints=tmp_path / "checkpoints",
        responses=tmp_path / "responses",
        progress=more.get("progress", lambda *_: None),
        stop=more.get("stop", lambda: False),
        watch=more.get("watch") or Watch(lambda *_: None),
    )


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def lines(made: Made, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in made.files[name].read_text("utf-8").splitlines()]


def asking(tmp_path: Path, url: str, model: dict[str, Any] | None = None, **more: Any) -> Work:
    endpoint = {"kind": "endpoint", "url": "local:box", "served": "m", **(model or {})}
    generation = {"max_tokens": 16, "sample": False, "stop": [], "seed": 42, **more.pop("generation", {})}
    experiment = {"model": endpoint, "generation": generation, "prompt": {"format": JSON}, "task": TASK}
    prompts = [{"id": name, "messages": [{"role": "user", "content": text}]} for name, text in TEXTS.items()]
    return work_at(tmp_path, experiment, {"render": {"prompts": jsonl(prompts)}}, url=url, **more)


def echo(asked: Asked, before: int) -> Says:
    return ok(f"reply to {asked.text} – ü", model="served", system_fingerprint=f"fp-{asked.text[-1]}")


def test_replies_come_in_the_order_of_the_prompts_with_facts_that_add_up(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with Server(echo) as server:
        work = asking(tmp_path, server.url, {"prices": PRICES}, progress=lambda at, total, _: seen.append((at, total)))
        made = ask(work)
    assert [(row["id"], row["text"]) for row in lines(made, "replies")] == [
        (name, f"reply to {text} – ü") for name, text in TEXTS.items()
    ]
    assert {tuple(row)[2:] for row in lines(made, "replies")} == {("finish", "prompt_tokens", "completion_tokens")}
    facts = dict(made.facts)
    assert facts == {
        "engine": "openai-compatible endpoint",
        "method": "greedy",
        "parameters": ["max_tokens", "temperature"],
        "concurrency": 3,
        "prompts": 8,
        "asked": 5,
        "kept": 0,
        "damaged": 0,
        "retries": {},
        "finish": {"stop": 8},
        "reasons": {"stop": 8},
        "declined": 0,
        "models": {"served": 5},
        "fingerprints": {f"fp-{number}": 1 for number in range(5)},
        "prompt_tokens": 50,
        "completion_tokens": 10,
        "uncounted": 0,
        "cost": pytest.approx(50e-6 + 100e-6),
        "spent": pytest.approx(50e-6 + 100e-6),
    }
    assert seen == [(number, 5) for number in range(1, 6)]
    json.dumps(facts)


@pytest.mark.parametrize(
    ("generation", "sent"),
    [
        ({}, {"max_tokens": 16, "temperature": 0.0}),
        ({"sample": True}, {"max_tokens": 16, "seed": 42}),
        (
            {"sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 20, "stop": ["\n"], "seed": 2**63 - 1},
            {"max_tokens": 16, "temperature": 0.7, "top_p": 0.9, "top_k": 20, "stop": ["\n"], "seed": 2**63 - 1},
        ),
    ],
)
def test_only_what_the_spec_sets_is_sent(tmp_path: Path, generation: dict[str, Any], sent: dict[str, Any]) -> None:
    with Server(echo) as server:
        if generation.get("seed", 0) > 2**53:
            generation = {**generation, "seed": str(generation["seed"])}  # as canonical JSON holds it
        ask(asking(tmp_path, server.url, generation=generation))
        assert {tuple(sorted(item.body)) for item in server.asked} == {tuple(sorted({"model", "messages", *sent}))}
        assert {name: server.asked[0].body[name] for name in sent} == sent
        assert server.asked[0].body["model"] == "m"


def test_the_limit_is_sent_by_the_name_that_the_endpoint_takes(tmp_path: Path) -> None:
    with Server(echo) as server:
        ask(asking(tmp_path, server.url, {"limit": "max_completion_tokens"}))
        assert server.asked[0].body["max_completion_tokens"] == 16
        assert "max_tokens" not in server.asked[0].body


def test_a_schema_is_sent_where_the_endpoint_takes_one(tmp_path: Path) -> None:
    with Server(echo) as server:
        ask(asking(tmp_path, server.url, {"json_schema": True}))
        schema = server.asked[0].body["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["classification"]["enum"] == LABELS


def test_the_key_comes_from_the_variable_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(echo) as server:
        with pytest.raises(HsdcError) as raised:
            ask(asking(tmp_path, server.url, {"key": "BOX_KEY"}))
        assert [d.code for d in raised.value.diagnostics] == ["E460"]
        assert server.asked == []
        monkeypatch.setenv("BOX_KEY", SECRET)
        ask(asking(tmp_path, server.url, {"key": "BOX_KEY"}))
        assert {item.headers["authorization"] for item in server.asked} == {f"Bearer {SECRET}"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_text("utf-8")]


def test_what_an_endpoint_does_not_count_is_not_made_up(tmp_path: Path) -> None:
    with Server(lambda asked, before: ok(usage=None) if asked.text == "text 0" else ok()) as server:
        made = ask(asking(tmp_path, server.url, {"prices": PRICES}))
    assert made.facts["uncounted"] == 1
    assert made.facts["prompt_tokens"] == 40
    assert made.facts["cost"] is None
    assert [row["prompt_tokens"] for row in lines(made, "replies")] == [None, 10, 10, 10, 10, None, 10, 10]


def test_a_stopped_stage_goes_on_where_it_was_and_gives_the_same_bytes(tmp_path: Path) -> None:
    with Server(echo) as server:
        server.answer = lambda asked, before: Says(body=echo(asked, before).body, slow=0.1)
        one = {"concurrency": 1}
        work = asking(tmp_path, server.url, stop=lambda: len(server.asked) >= 2, requests=one)
        with pytest.raises(Interrupted):
            ask(work)
        known = len(list((tmp_path / "responses").rglob("*.json")))
        assert 1 <= known <= 4
        server.answer = echo
        made = ask(asking(tmp_path, server.url))
        assert (made.facts["kept"], made.facts["asked"]) == (known, 5 - known)
        again = made.files["replies"].read_bytes()
        assert ask(asking(tmp_path, server.url)).files["replies"].read_bytes() == again
        assert max(server.times(text) for text in TEXTS.values()) <= 2


CHILD = """
import sys
from pathlib import Path
from tests.endpoint.test_stages import asking
from hsdc_runtime.stages.ask import ask
ask(asking(Path(sys.argv[1]), sys.argv[2], requests={"concurrency": 1}))
"""


def test_a_killed_process_has_not_asked_in_vain(tmp_path: Path) -> None:
    with Server(lambda asked, before: Says(body=echo(asked, before).body, slow=0.2)) as server:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), server.url], cwd=ROOT)
        end = time.monotonic() + 60
        while len(server.asked) < 3:
            assert time.monotonic() < end
            assert child.poll() is None
            time.sleep(0.01)
        child.kill()
        child.wait()
        assert len(list((tmp_path / "responses").rglob("*.json"))) == 2
        server.answer = echo
        assert ask(asking(tmp_path, server.url)).facts["kept"] == 2
        assert [server.times(f"text {number}") for number in range(5)] == [1, 1, 2, 1, 1]


def parsing(
    tmp_path: Path, needs: dict[str, dict[str, str]], form: dict[str, Any] = JSON, policy: str = "wrong", **answer: Any
) -> Made:
    experiment = {
        "task": TASK,
        "prompt": {"format": form},
        "answer": {"method": "rank" if "rank" in needs else "generate", "normalise": "sum", **answer},
        "evaluation": {"unparseable": policy},
    }
    return parse(work_at(tmp_path, experiment, needs))


REPLIES = [
    {"id": "a", "text": '{"classification": "Hate", "confidence": 0.5}', "finish": "stop"},
    {"id": "b", "text": "I'm sorry, no.", "finish": "stop"},
    {"id": "c", "text": '{"classification": "hate"', "finish": "length"},
    {"id": "d", "text": "", "finish": "filter"},
    {"id": "e", "text": '{"classification": "offensive", "confidence": {}}', "finish": "stop"},
    {"id": "f", "text": "", "finish": "filter"},
]


@pytest.mark.parametrize("source", ["ask", "generate", "generate_adapter"])
def test_every_reply_is_an_answer_or_a_counted_fault(tmp_path: Path, source: str) -> None:
    made = parsing(tmp_path, {"prepare": {"rows": ""}, source: {"replies": jsonl(REPLIES)}})
    assert lines(made, "parsed") == [
        {"id": "a", "label": "hate", "fault": "", "fields": {"confidence": 0.5}},
        {"id": "b", "label": None, "fault": "refusal", "fields": {}},
        {"id": "c", "label": None, "fault": "truncated", "fields": {}},
        {"id": "d", "label": None, "fault": "filtered", "fields": {}},
        {"id": "e", "label": "offensive", "fault": "", "fields": {"confidence": None}},
        {"id": "f", "label": None, "fault": "filtered", "fields": {}},
    ]
    assert made.facts == {
        "rows": 6,
        "labels": {"hate": 1, "offensive": 1, "neither": 0},
        "faults": {"filtered": 2, "truncated": 1, "refusal": 1},
        "ignored_fields": {"confidence": 1},
        "unreadable": {"policy": "wrong", "rows": 4},
    }


def test_rows_without_an_answer_stay_for_the_scores_or_fail_the_run_where_the_spec_says_so(tmp_path: Path) -> None:
    made = parsing(tmp_path, {"ask": {"replies": jsonl(REPLIES)}}, policy="drop")
    assert [row["id"] for row in lines(made, "parsed")] == [row["id"] for row in REPLIES]
    assert made.facts["unreadable"] == {"policy": "drop", "rows": 4}
    assert made.facts["rows"] == 6
    with pytest.raises(HsdcError) as raised:
        parsing(tmp_path, {"ask": {"replies": jsonl(REPLIES)}}, policy="error")
    [diagnostic] = raised.value.diagnostics
    assert (diagnostic.code, diagnostic.exit) == ("E464", Exit.NO)
    assert (
        "4 of 6 answers cannot be read: 2 filtered, 1 refusal, 1 truncated; the first is row 'b'" in diagnostic.message
    )
    readable = [row for row in REPLIES if row["id"] in "ae"]
    assert parsing(tmp_path, {"ask": {"replies": jsonl(readable)}}, policy="error").facts["rows"] == 2


def test_the_likeliest_label_is_the_answer_and_the_first_of_equals(tmp_path: Path) -> None:
    rankings = [
        {"id": "a", "loglikelihoods": [-3.0, -1.5, -2.0], "tokens": [1, 1, 1]},
        {"id": "b", "loglikelihoods": [-3.0, -2.0, -2.0], "tokens": [3, 1, 1]},
        {"id": "c", "loglikelihoods": [-6.0, -2.5, -9.0], "tokens": [4, 1, 6]},
    ]
    made = parsing(tmp_path, {"rank": {"rankings": jsonl(rankings)}})
    assert [row["label"] for row in lines(made, "parsed")] == ["offensive", "offensive", "offensive"]
    assert lines(made, "parsed")[0] == {
        "id": "a",
        "label": "offensive",
        "fault": "",
        "fields": {},
        "likelihoods": [-3.0, -1.5, -2.0],
    }
    assert made.facts["ties"] == 1
    made = parsing(tmp_path, {"rank": {"rankings": jsonl(rankings)}}, normalise="mean")
    assert [row["label"] for row in lines(made, "parsed")] == ["offensive", "hate", "hate"]
    assert made.facts["labels"] == {"hate": 2, "offensive": 1, "neither": 0}
    assert made.facts["ties"] == 1, "-6 over 4 tokens and -9 over 6 are equal"
    assert made.facts["unreadable"]["rows"] == 0


@pytest.mark.parametrize(
    ("values", "tokens", "how"),
    [
        ([math.nan, -1.0, -1.0], [1, 1, 1], "sum"),
        ([-math.inf] * 3, [1, 1, 1], "sum"),
        ([-1.0, -1.0], [1, 1], "sum"),
        ([-1.0] * 3, [0, 1, 1], "mean"),
    ],
)
def test_a_row_without_a_likelihood_for_every_label_fails(
    tmp_path: Path, values: list[float], tokens: list[int], how: str
) -> None:
    ranking = {"id": "a", "loglikelihoods": values, "tokens": tokens}
    with pytest.raises(HsdcError) as raised:
        parsing(tmp_path, {"rank": {"rankings": jsonl([ranking])}}, normalise=how)
    assert [d.code for d in raised.value.diagnostics] == ["E465"]


def test_what_is_asked_is_what_is_parsed(tmp_path: Path) -> None:
    says = {
        "text 0": ok('{"classification": "hate"}'),
        "text 1": ok(None, "content_filter"),
        "text 2": error(400, "blocked", code="content_filter"),
        "text 3": Says(body=json.dumps(completion('```json\n{"classification": "neither"}\n```')).encode()),
        "text 4": ok('{"classification": "hat', "length"),
    }
    with Server(lambda asked, before: says[asked.text]) as server:
        made = ask(asking(tmp_path, server.url))
    found = parsing(tmp_path, {"ask": {"replies": made.files["replies"].read_text("utf-8")}})
    answers = [(row["label"], row["fault"]) for row in lines(found, "parsed")]
    once = [("hate", ""), (None, "filtered"), (None, "filtered"), ("neither", ""), (None, "truncated")]
    assert answers == [*once, *once[:3]]
