"""Answers of rows that share passes are those of each row alone, as the library generates them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_causal
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from hsdc_runtime.nn.causal import end_tokens, pretrained_causal
from hsdc_runtime.nn.cells import Cells
from hsdc_runtime.nn.draw import Draws, draw
from hsdc_runtime.nn.generate import Answering, Generator
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.nn.prompts import Prompt, common, shared_tokens
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.spec import Execution

NEW = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal.build(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return pretrained_causal(folder, Execution())


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return pretrained_tokenizer(folder)


def answers(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], folder: Path, budget: int = 100, **answering: Any
) -> tuple[list[dict[str, Any]], Cells]:
    shared = shared_tokens(tokenizer, common(tiny_causal.write(folder / "prompts.jsonl", rows)))
    cells = Cells(model)
    cells.share(shared, 1000)
    values = {"max_tokens": NEW, "end_tokens": end_tokens(model, tokenizer), **answering}
    generator = Generator(cells, tokenizer, Answering(**values), shared, budget=budget)
    return generator.answer([Prompt(row["id"], row["text"]) for row in rows]), cells


def alone(model: Any, tokenizer: Any, text: str, ends: frozenset[int]) -> tuple[str, str, int, int]:
    asked = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    found = model.generate(
        **asked, max_new_tokens=NEW, do_sample=False, eos_token_id=sorted(ends), pad_token_id=1, num_beams=1
    )[0, asked.input_ids.shape[1] :].tolist()
    finish = "stop" if found[-1] in ends else "length"
    kept = found[:-1] if finish == "stop" else found
    return tokenizer.decode(kept, skip_special_tokens=True), finish, asked.input_ids.shape[1], len(found)


def some_ends(model: Any, tokenizer: Any, rows: list[dict[str, Any]]) -> frozenset[int]:
    """Tokens at which some of the rows end early, at different lengths."""
    seen = Counter[int]()
    for row in rows:
        asked = tokenizer(row["text"], add_special_tokens=False, return_tensors="pt")
        seen.update(
            model.generate(**asked, max_new_tokens=NEW, do_sample=False, pad_token_id=1)[0, -NEW + 2 :].tolist()
        )
    return frozenset(token for token, _ in seen.most_common(3)) | {1}


@pytest.mark.parametrize("budget", [1, 40, 100_000])
def test_greedy_answers_are_those_of_each_row_alone(model: Any, tokenizer: Any, tmp_path: Path, budget: int) -> None:
    rows = tiny_causal.prompts(10)
    ends = some_ends(model, tokenizer, rows)
    found, cells = answers(model, tokenizer, rows, tmp_path, budget, end_tokens=ends)
    expected = [alone(model, tokenizer, row["text"], ends) for row in rows]
    keys = ("text", "finish", "prompt_tokens", "completion_tokens")
    assert [tuple(answer[key] for key in keys) for answer in found] == expected
    assert [answer["id"] for answer in found] == [row["id"] for row in rows]
    assert len({count for *_, count in expected}) > 2, "or nobody left early"
    passes = sum(count for *_, count in expected)
    assert cells.passes == passes if budget == 1 else cells.passes < passes / 2
    private = sum(asked for _, _, asked, _ in expected) - len(rows) * cells.prefix
    assert cells.tokens == private + sum(count - 1 for *_, count in expected), "no token was computed twice"


def test_rows_step_back_where_answers_grow(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tiny_causal.prompts(8, longest=4, instruction=tiny_causal.INSTRUCTION * 8)
    values = {"max_tokens": 40, "end_tokens": frozenset()}
    roomy, cells = answers(model, tokenizer, rows, tmp_path, 100_000, **values)
    prefix, most, held = cells.prefix, 0, Cells.forward

    def forward(self: Cells, *arguments: Any) -> Any:
        nonlocal most
        found = held(self, *arguments)
        most = max(most, len(self) - self.prefix if self.prefix else 0)
        return found

    monkeypatch.setattr("hsdc_runtime.nn.generate.AHEAD", 0)
    monkeypatch.setattr(Cells, "forward", forward)
    tight, cells = answers(model, tokenizer, rows, tmp_path, 6, **values)
    assert tight == roomy
    assert prefix > 320, "or nobody's cells outlive the row unnoticed"
    private = sum(answer["prompt_tokens"] - prefix + 39 for answer in roomy)
    assert cells.tokens > private, "some were computed again"
    assert most < (2 * 48 + 2 + prefix / 4) * 4 / 3 + 20, "and the cells stayed few"


def test_a_stop_text_cuts_the_answer(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = tiny_causal.prompts(6)
    whole, _ = answers(model, tokenizer, rows, tmp_path, end_tokens=frozenset())
    assert {answer["finish"] for answer in whole} == {"length"}
    stop = whole[0]["text"][5:7]
    cut, _ = answers(model, tokenizer, rows, tmp_path, end_tokens=frozenset(), stop=("never there", stop))
    for before, after in zip(whole, cut, strict=True):
        place = before["text"].find(stop)
        assert after["finish"] == ("stop" if place >= 0 else "length")
        assert after["text"] == (before["text"][:place] if place >= 0 else before["text"])
    assert cut[0]["completion_tokens"] < NEW


def test_draws_do_not_depend_on_who_else_is_there(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    rows = tiny_causal.prompts(10)
    draws = Draws(temperature=1.5, top_k=50, top_p=0.9, seed=7)
    together, _ = answers(model, tokenizer, rows, tmp_path, 75, draws=draws)
    apart = [answers(model, tokenizer, [row], tmp_path, draws=draws)[0][0] for row in reversed(rows)]
    assert together == apart[::-1]
    other, _ = answers(model, tokenizer, rows, tmp_path, 75, draws=Draws(1.5, 50, 0.9, seed=8))
    assert sum(one["text"] != two["text"] for one, two in zip(together, other, strict=True)) > 7
    twice = [rows[0], {**rows[0], "id": "another id"}]
    one, two = answers(model, tokenizer, twice, tmp_path, draws=draws)[0]
    assert one["text"] != two["text"]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(0.7, 0, 1.0), (1.0, 5, 1.0), (1.3, 0, 0.8), (0.9, 20, 0.6)]
)
def test_tokens_are_drawn_as_the_library_would(temperature: float, top_k: int, top_p: float) -> None:
    logits = np.random.default_rng(2).normal(0, 2, 3000).astype(np.float32)
    draws = Draws(temperature, top_k, top_p, seed=3)
    values = TemperatureLogitsWarper(temperature)(None, torch.from_numpy(logits)[None])
    values = TopKLogitsWarper(top_k)(None, values) if top_k else values
    values = TopPLogitsWarper(top_p)(None, values) if top_p < 1 else values
    chances = values.double().softmax(-1)[0].numpy()
    count = 4000
    found = np.bincount([draw(logits, draws, "row", step) for step in range(count)], minlength=3000)
    assert not found[chances == 0].any()
    often = chances * count > 8
    assert often.sum() > 3
    apart = (found[often] - chances[often] * count) / np.sqrt(chances[often] * count)
    assert np.abs(apart).max() < 4.5
    assert (apart**2).mean() < 1.6


def test_a_broad_distribution_is_cut_where_the_library_cuts_it() -> None:
    logits = np.zeros(5000, dtype=np.float32)
    logits[:2500] = 0.1
    found = {draw(logits, Draws(1.0, top_p=0.4), "row", step) for step in range(500)}
    assert max(found) < 2500
    assert len(found) > 400


def test_an_answer_beyond_the_models_positions_is_refused(model: Any, tokenizer: Any) -> None:
    generator = Generator(Cells(model), tokenizer, Answering(500, frozenset()), [], budget=100, longest=512)
    with pytest.raises(HsdcError, match=r"row r takes .* and the model takes 512"):
        generator.answer([Prompt("r", "what is the text here and what else was there all " * 4)])


def test_answers_are_plain_values(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    found, _ = answers(model, tokenizer, tiny_causal.prompts(2), tmp_path)
    assert json.loads(json.dumps(found)) == found
