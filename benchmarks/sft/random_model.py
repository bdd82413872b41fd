"""A Llama of some shape with random weights, random rows, and what learning from them must cost at least."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from benchmarks.sft.lessons import Lessons
from hsdc_runtime.nn.causal import DTYPES
from hsdc_runtime.nn.examples import Examples
from hsdc_schemas.encoder import Optimizer
from hsdc_schemas.finetuning import AdapterSchedule, AdapterTraining, Lora
from hsdc_schemas.spec import Execution

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
ANSWER = 6
"""Most tokens of an answer."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, where it is, and the shortest and longest row of its data."""

    width: int
    inner: int
    layers: int
    heads: int
    groups: int
    words: int
    device: str
    precision: str
    lengths: tuple[int, int]
    side: int
    """Rows and columns of the matrices whose product tells how fast the device multiplies."""

    @property
    def body(self) -> int:
        """Weights of all linear layers but the head."""
        attention = 2 * self.width**2 + 2 * self.width * self.width * self.groups // self.heads
        return self.layers * (attention + 3 * self.width * self.inner)

    def adapter(self, rank: int) -> int:
        """Weights of an adapter on the four projections of attention."""
        narrow = self.width * self.groups // self.heads
        return self.layers * rank * 2 * (2 * self.width + self.width + narrow)


SHAPES = {
    "8B": Shape(4096, 14336, 32, 32, 8, 128256, "cuda", "bfloat16", (128, 256), 8192),
    "tiny": Shape(64, 128, 2, 4, 2, 512, "cpu", "float32", (16, 32), 256),
}


@dataclass(frozen=True)
class RandomModel:
    """A model and rows that say nothing."""

    shape: Shape
    lessons: Lessons

    @classmethod
    def of(cls, name: str) -> RandomModel:
        """The model of a shape, with 40 steps of 8 rows."""
        shape = SHAPES[name]
        low, high = shape.lengths
        draws = np.random.Generator(np.random.Philox(8))
        lengths, rows = draws.integers(low, high + 1, 320), tuple(f"row-{number}" for number in range(320))
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        tokens = draws.integers(2, shape.words, int(offsets[-1])).astype(np.int32)
        data = Examples(rows, tokens, offsets, (lengths - draws.integers(2, ANSWER + 1, 320)).astype(np.int64))
        training = AdapterTraining(
            epochs=1,
            learning_rate=2e-4,
            schedule=AdapterSchedule(warmup_steps=4),
            optimizer=Optimizer(kind="adamw", weight_decay=0.01),
            rows_per_step=8,
            tokens_per_micro_batch=8 * high,
            packing=True,
            max_grad_norm=1.0,
        )
        lora = Lora(kind="lora", r=32, alpha=64, targets=TARGETS)
        return cls(
            shape, Lessons(data, data, 0, lora, training, Execution(device=shape.device, precision=shape.precision))
        )

    def model(self, *, ours: bool) -> PreTrainedModel:
        """The model on its device; hsdc puts its own linear layers in where it uses them."""
        shape = self.shape
        config = LlamaConfig(
            hidden_size=shape.width,
            intermediate_size=shape.inner,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.groups,
            vocab_size=shape.words,
            max_position_embeddings=8192,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=1,
        )
        torch.manual_seed(0)
        with torch.device(shape.device):
            made: Any = AutoModelForCausalLM.from_config(
                config, dtype=DTYPES[shape.precision], attn_implementation="sdpa"
            )
        return made

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A tokenizer that knows how rows are padded, and nothing else."""
        words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1}, unk_token="<pad>"))
        return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")

    def floor(self, steps: int) -> dict[str, float]:
        """What the steps after the first must cost at least, and how much the device does in a second.

        A frozen weight is multiplied forward and back to its input, an adapter's also back to itself; logits are for
        supervised tokens alone; attention is causal and within rows. A multiplication and an addition are two.
        """
        shape, data = self.shape, self.lessons.data
        rows = np.concatenate(self.lessons.steps[1:steps])
        lengths = data.lengths[rows].astype(np.float64)
        weights = 4 * shape.body + 6 * shape.adapter(self.lessons.lora.r)
        attention = 6 * shape.layers * shape.width * float((lengths**2).sum())
        head = 4 * shape.words * shape.width * float(data.supervised[rows].sum())
        operations = weights * float(lengths.sum()) + attention + head
        return {"tokens": float(lengths.sum()), "operations": operations, "per_second": self._speed()}

    def _speed(self) -> float:
        """Operations a second in products of large square matrices, the best of several runs."""
        shape, best = self.shape, float("inf")
        left, right = (
            torch.randn(shape.side, shape.side, device=shape.device, dtype=DTYPES[shape.precision]) for _ in range(2)
        )
        for _ in range(12):
            _finish(shape.device)
            began = perf_counter()
            torch.mm(left, right)
            _finish(shape.device)
            best = min(best, perf_counter() - began)
        return 2 * shape.side**3 / best


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
