"""Position and memory of the training loop: values that a checkpoint keeps as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hsdc_runtime.nn.step import Step


@dataclass(frozen=True)
class State:
    """Position and memory of the loop: epochs done, steps done within the running one and in all, sums over them."""

    epoch: int = 0
    step: int = 0
    done: int = 0
    best_epoch: int | None = None
    best_metric: float | None = None
    waited: int = 0
    stopped_early: bool = False
    rows: int = 0
    real_tokens: int = 0
    padded_tokens: int = 0
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    history: tuple[dict[str, Any], ...] = ()


def after_step(state: State, step: Step) -> State:
    """The state once a step is taken."""
    sums = {
        part: {name: state.sums.get(part, {}).get(name, 0.0) + value for name, value in values.items()}
        for part, values in (
            ("loss", {"loss": step.loss}),
            ("head_losses", step.head_losses),
            ("gradient_norms", step.gradient_norms),
        )
    }
    return replace(
        state,
        step=state.step + 1,
        done=state.done + 1,
        rows=state.rows + step.rows,
        real_tokens=state.real_tokens + step.real_tokens,
        padded_tokens=state.padded_tokens + step.padded_tokens,
        sums=sums,
    )


def after_epoch(state: State, metrics: Mapping[str, float | None], learning_rate: float) -> State:
    """The state once an epoch is evaluated: its figures, as means over its steps, join the history."""
    means = {part: {name: value / state.step for name, value in sums.items()} for part, sums in state.sums.items()}
    entry = {
        "epoch": state.epoch + 1,
        "steps": state.step,
        "loss": means["loss"]["loss"],
        "head_losses": means["head_losses"],
        "gradient_norms": means["gradient_norms"],
        "learning_rate": learning_rate,
        "metrics": dict(metrics),
    }
    return replace(state, epoch=state.epoch + 1, step=0, sums={}, history=(*state.history, entry))
