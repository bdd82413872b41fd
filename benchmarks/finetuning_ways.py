"""The same rows learnt by the same adapter in two ways, in turns, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from hsdc.api import load_manifest
from hsdc_runtime.conversation import Conversation
from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.adapter import attach, options
from hsdc_runtime.nn.adapter_learner import AdapterLearner
from hsdc_runtime.nn.answers import ON_CPU
from hsdc_runtime.nn.causal import longest_sequence, pretrained_causal
from hsdc_runtime.nn.cells import Cells
from hsdc_runtime.nn.chat import ChatTemplate
from hsdc_runtime.nn.checkpoint import trained
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.examples import Examples
from hsdc_runtime.nn.gguf import convert, lay_out
from hsdc_runtime.nn.model import quiet
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.nn.prompts import Prompt, alike, encode
from hsdc_runtime.nn.rank import Ranker
from hsdc_runtime.nn.step import take_step
from hsdc_schemas.spec import Execution
from hsdc_schemas.wording import continuations, worded

PADDED, BATCH, NEW = 512, 4, 10
"""Tokens that the script pads to, rows of its batches, and the new tokens of its answers."""
RATE = 2e-4


@dataclass
class Spent:
    """CPU seconds of each step and of each round of answers; tokens of answers learnt, and all that were computed."""

    steps: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    supervised: int = 0
    padded: int = 0

    @property
    def total(self) -> float:
        """CPU seconds of the whole job."""
        return sum(self.steps) + sum(self.answers)


class Ways:
    """The model twice, each with an adapter of its own, and the rows as conversations."""

    def __init__(self, root: Path, run: str, folder: Path) -> None:
        self.experiment = load_manifest(run, root, "demo").experiment
        package = self.experiment.model
        home = Path(str(distribution(package.source.removeprefix("package:")).locate_file(package.folder)))
        convert(home / package.gguf, folder / "model.safetensors", torch.float32)
        self.folder = lay_out(folder / "model.safetensors", folder / "model")
        deterministic(Execution())
        torch.use_deterministic_algorithms(False)  # the script does not ask for it; hsdc's CPU kernels are the same
        self.tokenizer = pretrained_tokenizer(self.folder)
        self.apart = 0.0

    def measure(self, lessons: Sequence[Any], posts: Sequence[Any], steps: int, asked: int) -> dict[str, Spent]:
        """Steps and answers of every way; `apart` is how far the losses of answers are from each other before."""
        data = self._examples(lessons[: 8 * (steps + 1)])
        prompts = self._prompts(posts[:asked])
        ours, script = self._learner(data), self._script()
        self.apart = abs(self._answer_loss(script, data, range(8)) - ours.evaluate(_first(data, 8))["loss"])
        ways: dict[str, Callable[[np.ndarray, int], int]] = {
            "the script": lambda rows, number: self._pad_and_learn(script, data, rows),
            "hsdc": lambda rows, number: take_step(ours, rows, 0, number, number + 1).padded_tokens,
        }
        spent = {name: Spent() for name in ways}
        asking: dict[str, Callable[[], None]] = {
            "the script": lambda: self._one_at_a_time(script, prompts),
            "hsdc": lambda: self._rank(ours.model, prompts),
        }
        for number in range(-1, steps):
            for name, learn in ways.items():
                rows = np.arange(8 * (number + 1), 8 * (number + 2))
                began = time.process_time()
                padded = learn(rows, number + 1)
                if number >= 0:  # the step before the first is not counted
                    spent[name].steps.append(time.process_time() - began)
                    spent[name].padded += padded
                    spent[name].supervised += int(data.supervised[rows].sum())
            if number in (-1, steps - 1):
                for name, ask in asking.items():
                    began = time.process_time()
                    ask()
                    spent[name].answers.append(time.process_time() - began)
        return spent

    def _prompts(self, rows: Sequence[Any]) -> list[str]:
        return self._rendered([self._conversation.about(row["text"], {}) for row in rows])

    @property
    def _conversation(self) -> Conversation:
        return Conversation(self.experiment.prompt, self.experiment.task.labels)

    def _rendered(self, conversations: Sequence[Any], *, ended: bool = False) -> list[str]:
        with ChatTemplate(str(self.tokenizer.chat_template), self.tokenizer.special_tokens_map) as chat:
            return chat.render(conversations, [str(number) for number in range(len(conversations))], ended=ended)

    def _examples(self, rows: Sequence[Any]) -> Examples:
        asked = [self._conversation.about(row["text"], {}) for row in rows]
        answers = [worded(self.experiment.prompt.format, row["label"]) for row in rows]
        said = [[*one, {"role": "assistant", "content": text}] for one, text in zip(asked, answers, strict=True)]
        before = encode(self.tokenizer, self._rendered(asked))
        whole = encode(self.tokenizer, self._rendered(said, ended=True))
        offsets = np.concatenate(([0], np.cumsum([len(tokens) for tokens in whole]))).astype(np.int64)
        tokens = np.concatenate([np.array(tokens, dtype=np.int32) for tokens in whole])
        starts = np.array([len(tokens) for tokens in before], dtype=np.int64)
        return Examples(tuple(row["id"] for row in rows), tokens, offsets, starts)

    def _learner(self, data: Examples) -> AdapterLearner:
        training = self.experiment.training
        model = attach(pretrained_causal(self.folder, Execution()), self.experiment.adapter, training.seed)
        model.train()
        optimizer = torch.optim.AdamW(trained(model).values(), lr=RATE, fused=True)
        return AdapterLearner(model, optimizer, accelerator_for(Execution()), data, 0, training)

    def _script(self) -> Any:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)
            model = get_peft_model(model, LoraConfig(**options(self.experiment.adapter)))
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        model.optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=RATE)
        return model

    def _padded(self, data: Examples, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = torch.full((len(rows), PADDED), int(self.tokenizer.pad_token_id or 0))
        mask = torch.zeros_like(tokens)
        for line, row in enumerate(rows):
            own = torch.from_numpy(data.of(row).astype(np.int64))
            tokens[line, : len(own)], mask[line, : len(own)] = own, 1
        return tokens, mask

    def _pad_and_learn(self, model: Any, data: Examples, rows: np.ndarray) -> int:
        model.optimizer.zero_grad()
        for start in range(0, len(rows), BATCH):
            tokens, mask = self._padded(data, rows[start : start + BATCH].tolist())
            labels = tokens.masked_fill(mask == 0, -100)
            loss = model(input_ids=tokens, attention_mask=mask, labels=labels, use_cache=False).loss
            (loss * BATCH / len(rows)).backward()
        torch.nn.utils.clip_grad_norm_((p for p in model.parameters() if p.requires_grad), 1.0)
        model.optimizer.step()
        return len(rows) * PADDED

    def _answer_loss(self, model: Any, data: Examples, rows: Sequence[int]) -> float:
        """The loss of answers' tokens, as the padded model has it before anything is learnt."""
        model.eval()
        tokens, mask = self._padded(data, rows)
        labels = tokens.masked_fill(mask == 0, -100)
        for line, row in enumerate(rows):
            labels[line, : int(data.starts[row])] = -100
        with torch.inference_mode():
            loss = float(model(input_ids=tokens, attention_mask=mask, labels=labels).loss)
        model.train()
        return loss

    def _one_at_a_time(self, model: Any, prompts: Sequence[str]) -> None:
        model.eval()
        with torch.inference_mode():
            for prompt in prompts:
                asked = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
                model.generate(**asked, max_new_tokens=NEW, do_sample=False, pad_token_id=self.tokenizer.pad_token_id)
        model.train()

    def _rank(self, model: Any, prompts: Sequence[str]) -> None:
        model.eval()
        plain = model.get_base_model()
        cells, tokens = Cells(plain), encode(self.tokenizer, prompts)
        shared = tokens[0][: alike(tokens)]
        cells.share(shared, ON_CPU)
        labels = continuations(self.experiment.prompt.format, self.experiment.task.labels)
        ranker = Ranker(cells, self.tokenizer, labels, shared, budget=ON_CPU, longest=longest_sequence(plain.config))
        ranker.answer([Prompt(str(number), text) for number, text in enumerate(prompts)])
        model.train()


def _first(data: Examples, rows: int) -> Examples:
    end = int(data.offsets[rows])
    return Examples(data.ids[:rows], data.tokens[:end], data.offsets[: rows + 1], data.starts[:rows])
