"""Stage ask: a reply for every prompt, from a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hsdc_runtime.endpoint.gathering import cost, gather
from hsdc_runtime.endpoint.secret import key_from
from hsdc_runtime.endpoint.values import Address, Gathered, Patience, Reply, Request
from hsdc_runtime.lines import json_lines
from hsdc_runtime.work import Made, Work
from hsdc_schemas.answer_forms import FORMATS, AnswerForm, answer_schema
from hsdc_schemas.components import Endpoint, Prices
from hsdc_schemas.prompting import Generation, Task
from hsdc_schemas.records import shown
from hsdc_schemas.spec import Requests
from hsdc_schemas.stages import typed

MOST_NAMES = 100  # of models and fingerprints that the facts tell apart


def ask(work: Work) -> Made:
    """Ask the endpoint every prompt that it has not answered before; write the replies in the prompts' order."""
    endpoint = typed(Endpoint, work.experiment["model"])
    parameters = _parameters(work, endpoint)
    ids, requests = [], []
    for prompt in json_lines(work.needs["render"]["prompts"].path):
        body = {"model": endpoint.served, "messages": prompt["messages"], **parameters}
        ids.append(prompt["id"])
        requests.append(Request(f"prompt {shown(prompt['id'])}", endpoint.url, body))

    def progress(done: int, total: int, figures: Mapping[str, Any]) -> None:
        work.watch.doing(f"waiting for the endpoint, {done} of {total} responses are here")
        work.progress(done, total, dict(figures))

    work.watch.doing("waiting for the endpoint's first response")
    found = gather(
        Address(work.inputs.endpoint, endpoint.key or ""),
        key_from(endpoint.key or "", os.environ),
        requests,
        work.responses,
        patience=_patience(typed(Requests, work.execution["requests"])),
        prices=endpoint.prices,
        progress=progress,
        stop=work.stop,
    )
    replies = [found.replies[request.digest] for request in requests]
    path = work.folder / "replies.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(_line(name, reply) for name, reply in zip(ids, replies, strict=True))
    facts = {
        "engine": "openai-compatible endpoint",
        "method": "greedy" if parameters.get("temperature") == 0 else "sample",
        "parameters": sorted(parameters),
        "concurrency": work.execution["requests"]["concurrency"],
    }
    return Made({"replies": path}, {**facts, **_facts(found, replies, endpoint.prices)})


def _parameters(work: Work, endpoint: Endpoint) -> dict[str, Any]:
    """What is sent beside model and messages: what the spec sets, and temperature 0 where nothing is drawn."""
    generation = typed(Generation, work.experiment["generation"])
    found: dict[str, Any] = {endpoint.limit: generation.max_tokens}
    if generation.sample:
        for name in ("temperature", "top_p", "top_k", "seed"):
            value = getattr(generation, name)
            if value is not None:
                found[name] = value
    else:
        found["temperature"] = 0.0
    if generation.stop:
        found["stop"] = list(generation.stop)
    declared = work.experiment["prompt"]["format"]
    form = AnswerForm.of(typed(FORMATS[declared["kind"]], declared), typed(Task, work.experiment["task"]).labels)
    if endpoint.json_schema and form.kind == "json":
        schema = answer_schema(form)
        wanted = {"name": "answer", "strict": True, "schema": schema}
        found["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return found


def _patience(requests: Requests) -> Patience:
    return Patience(
        concurrency=requests.concurrency,
        timeout=requests.timeout_seconds,
        attempts=requests.retries + 1,
        seconds=requests.most_seconds,
        cost=requests.most_cost,
    )


def _line(name: str, reply: Reply) -> str:
    row = {
        "id": name,
        "text": reply.text,
        "finish": reply.finish,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _facts(found: Gathered, replies: Sequence[Reply], prices: Prices | None) -> dict[str, Any]:
    """What was asked, who answered, how it ended and what it took.

    Tokens and `cost` are of all responses, each once, however long ago it was asked for; `spent` is of this
    execution alone. Tokens that an endpoint does not count are missing from the sums, and `uncounted` says how often.
    """
    different = tuple(found.replies.values())
    uncounted = sum(reply.prompt_tokens is None or reply.completion_tokens is None for reply in different)
    tokens = (
        sum(reply.prompt_tokens or 0 for reply in different),
        sum(reply.completion_tokens or 0 for reply in different),
    )
    return {
        "prompts": len(replies),
        "asked": found.asked,
        "kept": found.kept,
        "damaged": found.damaged,
        "retries": dict(found.retries),
        "finish": _counts([reply.finish for reply in replies]),
        "reasons": _counts([reply.reason for reply in replies]),
        "declined": sum(reply.declined for reply in replies),
        "models": _counts([reply.model for reply in different]),
        "fingerprints": _counts([reply.fingerprint for reply in different]),
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "uncounted": uncounted,
        "cost": None if uncounted else cost(prices, *tokens),
        "spent": found.spent,
    }


def _counts(names: Sequence[str]) -> dict[str, int]:
    """How often each name occurs, the most frequent ones, sorted by name; "" is for none."""
    return dict(sorted(Counter(names).most_common(MOST_NAMES)))
