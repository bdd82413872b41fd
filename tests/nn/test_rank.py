"""Likelihoods of labels are those of each label alone, one at a time, without padding, without anything shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_causal
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hsdc_runtime.nn.causal import longest_sequence, pretrained_causal
from hsdc_runtime.nn.cells import Cells, Span
from hsdc_runtime.nn.labels import continued, require_labels
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.nn.prompts import Prompt, common, shared_tokens
from hsdc_runtime.nn.rank import Ranker
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.spec import Execution

LABELS = ("hate", "not hate", "normal text", "none of these, often")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal.build(tmp_path_factory.mktemp("llama"))


def load(folder: Path, **execution: Any) -> tuple[Any, Any]:
    return pretrained_causal(folder, Execution(**execution)), pretrained_tokenizer(folder)


def ranked(folder: Path, rows: list[dict[str, Any]], tmp_path: Path, **options: Any) -> tuple[list[Any], Cells]:
    model, tokenizer = load(folder, **options.pop("execution", {}))
    shared = shared_tokens(tokenizer, common(tiny_causal.write(tmp_path / "prompts.jsonl", rows)))
    cells = Cells(model)
    if options.pop("share", True):
        cells.share(shared, 50)
    else:
        shared = []
    ranker = Ranker(cells, tokenizer, LABELS, shared, **{"budget": 128, **options})
    return ranker.answer([Prompt(row["id"], row["text"]) for row in rows]), cells


def alone(folder: Path, text: str, label: str) -> tuple[float, int]:
    """The library's own forward pass over the joined text, scored from where its tokens leave the prompt's."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer(text, add_special_tokens=False).input_ids
    joined = [tokenizer(text + other, add_special_tokens=False).input_ids for other in LABELS]
    start = next(
        at for at in range(len(prompt)) if len({tuple(tokens[at : at + 1]) for tokens in [prompt, *joined]}) > 1
    )
    tokens = joined[LABELS.index(label)]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
    return sum(float(logits[at - 1, tokens[at]]) for at in range(start, len(tokens))), len(tokens) - start


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("budget", [1, 100, 10_000])
def test_a_pass_of_many_rows_says_what_each_says_alone(
    folder: Path, tmp_path: Path, attention: str, budget: int
) -> None:
    rows = tiny_causal.prompts(9)
    found, cells = ranked(folder, rows, tmp_path, budget=budget, execution={"attention": attention})
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    for row, answer in zip(rows, found, strict=True):
        expected = [alone(folder, row["text"], label) for label in LABELS]
        assert answer["tokens"] == [count for _, count in expected]
        assert answer["loglikelihoods"] == pytest.approx([value for value, _ in expected], abs=1e-4)
        assert max(answer["loglikelihoods"]) - min(answer["loglikelihoods"]) > 1, "or the test could not fail"
    assert cells.passes == {1: 9, 10_000: 1}.get(budget, cells.passes)
    assert 1 < cells.passes < 9 or budget != 100


def test_sharing_saves_the_prefix_and_changes_nothing_else(folder: Path, tmp_path: Path) -> None:
    rows = tiny_causal.prompts(7)
    found, cells = ranked(folder, rows, tmp_path)
    other, whole = ranked(folder, rows, tmp_path, share=False)
    for one, two in zip(found, other, strict=True):
        assert one["tokens"] == two["tokens"]
        assert one["loglikelihoods"] == pytest.approx(two["loglikelihoods"], abs=1e-4)
    assert cells.prefix > 50
    assert whole.tokens - cells.tokens == 7 * cells.prefix


def test_a_row_that_begins_otherwise_shares_what_it_can(folder: Path, tmp_path: Path) -> None:
    """The last shared tokens are those of a text that ends there; a row in which it goes on may have others."""
    model, tokenizer = load(folder)
    rows = [Prompt("a", "what is the text here "), Prompt("b", "what is normal "), Prompt("c", "how often ")]
    shared = tokenizer("what is the text", add_special_tokens=False).input_ids
    cells = Cells(model)
    cells.share(shared, 3)
    found = Ranker(cells, tokenizer, LABELS, shared, budget=1000).answer(rows)
    for row, answer in zip(rows, found, strict=True):
        expected = [alone(folder, row.text, label)[0] for label in LABELS]
        assert answer["loglikelihoods"] == pytest.approx(expected, abs=1e-4)


def test_the_same_rows_give_the_same_bits(folder: Path, tmp_path: Path) -> None:
    rows = tiny_causal.prompts(12)
    assert ranked(folder, rows, tmp_path)[0] == ranked(folder, rows, tmp_path)[0]


def test_a_label_is_scored_as_it_is_cut_in_the_joined_text(folder: Path) -> None:
    tokenizer = pretrained_tokenizer(folder)
    found = continued(tokenizer, "the answer: ", ("hate", "normal"))
    assert tokenizer.decode(found.trunk) == "the answer:"
    assert [tokenizer.decode(tokens) for tokens in found.branches] == [" hate", " normal"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("hate", "hate"), "the labels 'hate' and 'hate' are the same tokens"),
        (("hate", "hate not"), "the tokens of the label 'hate not' begin with those of 'hate'"),
        (("hate not", "normal", "hate"), "the tokens of the label 'hate not' begin with those of 'hate'"),
    ],
)
def test_labels_that_hide_one_another_are_refused(folder: Path, labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(HsdcError) as raised:
        require_labels(pretrained_tokenizer(folder), labels, "answer: ")
    assert [(found.code, found.message) for found in raised.value.diagnostics] == [("E443", message)]
    require_labels(pretrained_tokenizer(folder), [f"{label}{at}\n" for at, label in enumerate(labels)], "answer: ")


def test_a_prompt_beyond_the_models_positions_is_refused(folder: Path, tmp_path: Path) -> None:
    model, _ = load(folder)
    assert longest_sequence(model.config) == 512
    rows = tiny_causal.prompts(3)
    rows[1]["text"] = rows[0]["text"] + "none " * 600
    with pytest.raises(HsdcError, match=r"row-1 takes .* and the model takes 512"):
        ranked(folder, rows, tmp_path, longest=512)


def test_a_model_of_another_build_works_too(tmp_path: Path) -> None:
    folder = tiny_causal.build(tmp_path / "gpt2", kind="gpt2")
    rows = tiny_causal.prompts(4)
    for row, answer in zip(rows, ranked(folder, rows, tmp_path)[0], strict=True):
        expected = [alone(folder, row["text"], label)[0] for label in LABELS]
        assert answer["loglikelihoods"] == pytest.approx(expected, abs=1e-4)


def test_a_model_that_does_not_heed_the_mask_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hsdc_runtime.nn.cells._mask", lambda new, shared, cells, dtype: torch.zeros(1, 1, new.shape[1], cells.shape[1])
    )
    with pytest.raises(HsdcError, match="does not keep rows apart"):
        load(folder)


def test_half_precision_is_near(folder: Path, tmp_path: Path) -> None:
    rows = tiny_causal.prompts(3)
    full, half = (ranked(folder, rows, tmp_path, execution={"precision": p})[0] for p in ("float32", "bfloat16"))
    for one, two in zip(full, half, strict=True):
        assert one["loglikelihoods"] != two["loglikelihoods"]
        assert one["loglikelihoods"] == pytest.approx(two["loglikelihoods"], rel=0.1)


def test_cells_of_rows_that_left_are_gone(folder: Path) -> None:
    model, _ = load(folder)
    cells = Cells(model)
    cells.share([5, 6, 7], 2)
    cells.forward([Span(0, [8, 9], 3, 3), Span(1, [10, 11, 12], 2, 2)], [4])
    cells.drop({0})
    assert len(cells) == 6
    after = cells.forward([Span(1, [13], 5, 2)], [0])[0]
    with torch.no_grad():
        expected = model(torch.tensor([[5, 6, 10, 11, 12, 13]])).logits[0, -1]
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-4)
