"""A campaign as data: about 60 values at each root, chains of specs, one to three changes each; always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any, Final

Values = dict[str, Any]

ROOT: Final[Values] = {
    "kind": "encoder",
    "dataset": {"use": "adjudications"},
    "model": {"use": "mbert"},
    "encoder": {"pooling": "last4_mean", "max_length": 224},
    "head": {"layers": 3, "hidden": 768, "dropout": 0.25},
    "heads": {
        "sentiment": {
            "labels": ["negative", "neutral", "positive"],
            "weight": 1.0,
            "loss": {"kind": "focal", "gamma": 2.0, "label_smoothing": 0.1},
            "class_weights": {
                "kind": "balanced",
                "multipliers": {"negative": 1.1, "neutral": 1.8, "positive": 1.3},
                "cap": 10.0,
            },
        },
        "polarization": {
            "labels": ["non_polarized", "objective", "partisan"],
            "weight": 1.3,
            "loss": {"kind": "focal", "gamma": 2.5, "label_smoothing": 0.08},
            "class_weights": {
                "kind": "balanced",
                "multipliers": {"non_polarized": 1.2, "objective": 2.5, "partisan": 0.95},
                "cap": 10.0,
            },
        },
    },
    "sampling": {
        "kind": "joint_oversampling",
        "alpha": 0.7,
        "max_multiplier": 8.0,
        "boosts": {"sentiment": {"neutral": 2.5}, "polarization": {"objective": 6.0}},
    },
    "training": {
        "epochs": 12,
        "learning_rate": 2.5e-5,
        "schedule": {"kind": "linear", "warmup_ratio": 0.2},
        "optimizer": {"kind": "adamw", "weight_decay": 0.03},
        "layer_decay": 0.9,
        "head_multiplier": 3.0,
        "rows_per_step": 48,
        "tokens_per_micro_batch": 4096,
        "max_grad_norm": 0.5,
        "r_drop": {"alpha": 0.6, "warmup_epochs": 2},
        "best_metric": "overall.f1_macro",
        "early_stopping": {"patience": 6},
        "keep_checkpoints": 3,
        "seed": 42,
    },
    "evaluation": {
        "fit_split": "validation",
        "score_split": "test",
        "calibration": {"kind": "bias_and_temperature"},
        "thresholds": {"kind": "none"},
        "cross_slices": True,
    },
}
"""What the project's own first run says."""


def _between(low: float, high: float, digits: int = 4) -> Callable[[Random], float]:
    return lambda random: round(random.uniform(low, high), digits)


def _whole(low: int, high: int) -> Callable[[Random], int]:
    return lambda random: random.randint(low, high)


CHANGEABLE: Final[Mapping[str, Callable[[Random], float]]] = {
    "encoder.max_length": _whole(96, 320),
    "head.dropout": _between(0.05, 0.5),
    "head.hidden": _whole(256, 1536),
    "heads.sentiment.weight": _between(0.5, 2),
    "heads.sentiment.loss.gamma": _between(0.5, 4),
    "heads.sentiment.class_weights.multipliers.neutral": _between(1, 4),
    "heads.polarization.loss.gamma": _between(0.5, 4),
    "heads.polarization.loss.label_smoothing": _between(0.01, 0.2),
    "heads.polarization.class_weights.cap": _between(5, 20),
    "sampling.alpha": _between(0.3, 1),
    "sampling.boosts.sentiment.neutral": _between(1, 6),
    "sampling.boosts.polarization.objective": _between(2, 12),
    "training.epochs": _whole(8, 40),
    "training.learning_rate": _between(1e-5, 5e-5, 9),
    "training.schedule.warmup_ratio": _between(0.02, 0.4),
    "training.optimizer.weight_decay": _between(0.005, 0.1),
    "training.layer_decay": _between(0.8, 0.99),
    "training.max_grad_norm": _between(0.2, 2),
    "training.r_drop.alpha": _between(0.1, 2),
}


@dataclass(frozen=True)
class Spec:
    """One spec: its name, its parent's, what it says itself, and all that it comes to."""

    name: str
    parent: str | None
    said: Values
    resolved: Values


def campaign(count: int, depth: int, seed: int = 20_26) -> Iterator[Spec]:
    """`count` specs in chains of `depth`, a parent before its children; the last chain may be shorter."""
    random = Random(seed)
    last: Spec | None = None
    for index in range(count):
        chain, place = divmod(index, depth)
        name = f"chain{chain:05}_step{place:02}"
        if place and last is not None:
            last = _child(name, last, random)
        else:
            values = deepcopy(ROOT)
            values["training"]["seed"] = chain
            last = Spec(name, None, values, values)
        yield last


def _child(name: str, parent: Spec, random: Random) -> Spec:
    said: Values = {}
    resolved = deepcopy(parent.resolved)
    for path in random.sample(sorted(CHANGEABLE), random.randint(1, 3)):
        *sections, key = path.split(".")
        inner, place = said, resolved
        for section in sections:
            inner, place = inner.setdefault(section, {}), place[section]
        old = place[key]
        while place[key] == old:
            place[key] = CHANGEABLE[path](random)
        inner[key] = place[key]
    return Spec(name, parent.name, said, resolved)


def leaves(values: Values, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, with its dotted path."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
