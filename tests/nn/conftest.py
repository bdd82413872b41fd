"""A tiny BERT made from a configuration, with rows and specs to go with it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.model import Classifier, initialise
from hsdc_schemas.encoder import (
    BalancedWeights,
    CrossEntropy,
    Encoder,
    EqualWeights,
    FocalLoss,
    Head,
    HeadShape,
    Training,
)
from hsdc_schemas.encoder import Optimizer as OptimizerSpec

LABELS = {"polarity": ("negative", "neutral", "positive"), "type": ("no", "yes")}
VOCABULARY = 60


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """One thread, and no test leaves its determinism switches to the next."""
    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)


def encoder(*, layers: int = 2, dropout: float = 0.0, attention_dropout: float = 0.0, attention: str = "eager") -> Any:
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=attention_dropout,
        attn_implementation=attention,
    )
    torch.manual_seed(5)
    return BertModel(config, add_pooling_layer=False)


def classifier(
    *,
    pooling: str = "mean",
    layers: int = 2,
    dropout: float = 0.0,
    attention_dropout: float | None = None,
    head_layers: int = 2,
    checkpointing: bool = False,
) -> Classifier:
    """Dropout is that of heads and encoder alike, and of its attention unless that has its own."""
    spec = Encoder(pooling=pooling, max_length=64)
    shape = HeadShape(layers=head_layers, hidden=16, dropout=dropout)
    classes = {name: len(labels) for name, labels in LABELS.items()}
    attention = dropout if attention_dropout is None else attention_dropout
    base = encoder(layers=layers, dropout=dropout, attention_dropout=attention)
    made = Classifier(base, spec, shape, classes, recompute=checkpointing)
    initialise(made, 7)
    return made


def rows(count: int, *, seed: int = 0, masked: float = 0.0) -> Rows:
    """Rows of 3 to 20 tokens whose labels can be learnt: the first token tells them."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 21, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = random.integers(10, VOCABULARY, int(offsets[-1])).astype(np.int32)
    targets = {}
    for name, labels in sorted(LABELS.items()):
        target = random.integers(0, len(labels), count)
        targets[name] = np.where(random.random(count) < masked, -100, target).astype(np.int64)
    tokens[offsets[:-1]] = 1 + np.maximum(0, targets["polarity"]) * 2 + np.maximum(0, targets["type"])
    return Rows(tuple(f"row-{index}" for index in range(count)), tokens, offsets, targets)


def heads(*, focal: bool = True, balanced: bool = True, smoothing: float = 0.1) -> dict[str, Head]:
    loss = FocalLoss(kind="focal", gamma=1.5, label_smoothing=smoothing) if focal else None
    return {
        "type": Head(
            labels=LABELS["type"],
            weight=0.5,
            loss=CrossEntropy(kind="cross_entropy", label_smoothing=smoothing),
            class_weights=EqualWeights(kind="equal"),
        ),
        "polarity": Head(
            labels=LABELS["polarity"],
            loss=loss or CrossEntropy(kind="cross_entropy"),
            class_weights=BalancedWeights(kind="balanced", multipliers={"negative": 1.5})
            if balanced
            else EqualWeights(kind="equal"),
        ),
    }


def training(**changes: Any) -> Training:
    values = {
        "epochs": 3,
        "learning_rate": 3e-3,
        "optimizer": OptimizerSpec(kind="adamw"),
        "rows_per_step": 8,
        "tokens_per_micro_batch": 64,
        "best_metric": "overall.accuracy",
    }
    return Training(**{**values, **changes})


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The makers above."""
    return SimpleNamespace(
        encoder=encoder, classifier=classifier, rows=rows, heads=heads, training=training, labels=LABELS
    )
