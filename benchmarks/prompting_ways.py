"""The same prompts put to the same model in several ways, in turns, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from hsdc.api import load_manifest
from hsdc_runtime.conversation import Conversation
from hsdc_runtime.nn.answers import ON_CPU
from hsdc_runtime.nn.causal import end_tokens, longest_sequence, pretrained_causal
from hsdc_runtime.nn.cells import Cells
from hsdc_runtime.nn.chat import ChatTemplate
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.generate import Answering, Generator
from hsdc_runtime.nn.gguf import convert, lay_out
from hsdc_runtime.nn.model import quiet
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.nn.prompts import Prompt, alike, encode
from hsdc_runtime.nn.rank import Ranker
from hsdc_schemas.spec import Execution
from hsdc_schemas.wording import continuations, lead

PADDED, TOGETHER, NEW = 512, 16, 10
"""Tokens that the campaign pads to, rows of a batch of the library's, and new tokens: ten, as in the campaign."""


@dataclass
class Asked:
    """CPU seconds of each round, and what every row was answered."""

    seconds: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def total(self) -> float:
        """CPU seconds of all rounds."""
        return sum(self.seconds)


@dataclass(frozen=True)
class Measured:
    """Every way with its rounds; tokens that all prompts share, and seconds that they took once."""

    ways: dict[str, Asked]
    rows: int
    shared: int
    tokens: int
    prefix_seconds: float
    apart: float


class Ways:
    """The model, once as the library has it and once as hsdc has it, and everything that is asked of it."""

    def __init__(self, root: Path, run: str, folder: Path) -> None:
        manifest = load_manifest(run, root, "demo")
        self.experiment = manifest.experiment
        package = self.experiment.model
        home = Path(str(distribution(package.source.removeprefix("package:")).locate_file(package.folder)))
        convert(home / package.gguf, folder / "model.safetensors", torch.float32)
        self.folder = lay_out(folder / "model.safetensors", folder / "model")
        deterministic(Execution())
        self.tokenizer: PreTrainedTokenizerBase = pretrained_tokenizer(self.folder)
        self.tokenizer.padding_side = "left"
        self.model: PreTrainedModel = pretrained_causal(self.folder, Execution())
        with quiet():
            self.library = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()

    def prompts(self, texts: Sequence[str]) -> list[Prompt]:
        """The prompt of each text, as the stage `render` writes it for `generate`."""
        conversation = Conversation(self.experiment.prompt, self.experiment.task.labels)
        names = [f"row-{number}" for number in range(len(texts))]
        with ChatTemplate(str(self.tokenizer.chat_template), self.tokenizer.special_tokens_map) as chat:
            rendered = chat.render([conversation.about(text, {}) for text in texts], names)
        return [Prompt(name, text) for name, text in zip(names, rendered, strict=True)]

    def measure(self, texts: Sequence[str], per_round: int) -> Measured:
        """Every way over the same rows, round by round; two rows are asked in every way beforehand."""
        prompts = self.prompts(texts)
        tokens = encode(self.tokenizer, [prompt.text for prompt in prompts])
        shared = tokens[0][: alike(tokens)]
        began = time.process_time()
        cells = Cells(self.model)
        cells.share(shared, ON_CPU)
        prefix_seconds = time.process_time() - began
        ways = self._ways(cells, shared)
        for ask in ways.values():
            ask(prompts[:2])
        asked = {name: Asked() for name in ways}
        for start in range(0, len(prompts), per_round):
            for name, ask in ways.items():
                began = time.process_time()
                asked[name].texts += ask(prompts[start : start + per_round])
                asked[name].seconds.append(time.process_time() - began)
        apart = self._apart(prompts[:4], cells, shared)
        return Measured(asked, len(prompts), len(shared), sum(map(len, tokens)), prefix_seconds, apart)

    def _ways(self, cells: Cells, shared: list[int]) -> dict[str, Callable[[Sequence[Prompt]], list[str]]]:
        answering = Answering(NEW, end_tokens(self.model, self.tokenizer))
        options: dict[str, Any] = {"budget": ON_CPU, "longest": longest_sequence(self.model.config)}
        generator = Generator(cells, self.tokenizer, answering, shared, **options)
        ranker = Ranker(cells, self.tokenizer, self._labels(), shared, **options)
        padding = {"padding": "max_length", "max_length": PADDED, "truncation": True}
        return {
            "one row at a time, padded to 512": lambda rows: [
                text for row in rows for text in self._library([row], **padding)
            ],
            "one row at a time": lambda rows: [text for row in rows for text in self._library([row])],
            "the library's batches of 16": lambda rows: [
                text
                for start in range(0, len(rows), TOGETHER)
                for text in self._library(rows[start : start + TOGETHER], padding=True)
            ],
            "hsdc, generate": lambda rows: [row["text"] for row in generator.answer(rows)],
            "hsdc, rank": lambda rows: [str(row["loglikelihoods"]) for row in ranker.answer(self._led(rows))],
        }

    def _labels(self) -> tuple[str, ...]:
        return continuations(self.experiment.prompt.format, self.experiment.task.labels)

    def _led(self, rows: Sequence[Prompt]) -> list[Prompt]:
        return [Prompt(row.id, row.text + lead(self.experiment.prompt.format)) for row in rows]

    def _library(self, rows: Sequence[Prompt], **padding: Any) -> list[str]:
        """Greedy answers by the library's own `generate`."""
        asked = self.tokenizer([row.text for row in rows], add_special_tokens=False, return_tensors="pt", **padding)
        with torch.inference_mode():
            found = self.library.generate(
                **asked, max_new_tokens=NEW, do_sample=False, pad_token_id=self.tokenizer.pad_token_id
            )
        return self.tokenizer.batch_decode(found[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)

    def _apart(self, rows: Sequence[Prompt], cells: Cells, shared: list[int]) -> float:
        """The largest difference of a label's log-likelihood from that of its joined text computed alone."""
        ranker = Ranker(cells, self.tokenizer, self._labels(), shared, budget=ON_CPU)
        most = 0.0
        for row, found in zip(self._led(rows), ranker.answer(self._led(rows)), strict=True):
            joined = encode(self.tokenizer, [row.text, *(row.text + label for label in self._labels())])
            start = alike(joined)
            for tokens, value in zip(joined[1:], found["loglikelihoods"], strict=True):
                with torch.inference_mode():
                    logits = self.library(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
                alone = sum(float(logits[at - 1, tokens[at]]) for at in range(start, len(tokens)))
                most = max(most, abs(alone - value))
        return most
