"""The training loop: epochs of optimizer steps, validation, early stopping, checkpoints to resume from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import ceil, isfinite
from typing import Any, TypeAlias

from torch import Tensor

from hsdc_runtime.nn.checkpoint import Snapshot, load_checkpoint, read_checkpoint, save_checkpoint
from hsdc_runtime.nn.course import Course
from hsdc_runtime.nn.optimizer import learning_rate_factor, optimizer_tensors, restore_optimizer, set_learning_rate
from hsdc_runtime.nn.state import State, after_epoch, after_step
from hsdc_runtime.nn.step import NonFiniteLoss, take_step

__all__ = ["Interrupted", "NonFiniteLoss", "Progress", "Trained", "follow"]

Weights: TypeAlias = dict[str, Tensor]

WRITING = "writing a checkpoint"


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Training stopped where it was asked to, after its checkpoint was written; run again to go on."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"training stopped after step {step}")


@dataclass(frozen=True)
class Progress:
    """Where training is; epochs and steps count from 1, tokens are cumulative, padded tokens include the real ones.

    `loss` is the last step's, and the epoch's mean beside a metric; `metric` is None except after an evaluation.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    learning_rate: float
    rows: int
    real_tokens: int
    padded_tokens: int
    metric: float | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """The weights of the best epoch (counted from 1) on the CPU, the figures of every epoch, and counts of the work.

    Where the metric was undefined in every epoch, `best_metric` is None and the last epoch is the best one.
    """

    weights: Weights
    best_epoch: int
    best_metric: float | None
    history: list[dict[str, Any]]
    counts: dict[str, int | bool]


def follow(
    run: Course,
    observe: Callable[[Progress], None],
    stop: Callable[[], bool],
    doing: Callable[[str], None] = lambda what: None,
) -> Trained:
    """Train, going on from the newest checkpoint where there is one; the learner is left with the last weights.

    Every process of the learner's group calls this with the same work; rank 0 alone observes, stops and writes, and
    has the result. `doing` is told what is begun, for whoever watches that it ends. A metric of None is no improvement,
    and ties keep the earlier epoch. Interrupted once `stop()` is true between steps, NonFiniteLoss at the step of one,
    ValueError where the checkpoints are of other work.
    """
    doing("reading the newest checkpoint")
    state, best = _resume(run)
    while not run.finished(state):
        state = _run_epoch(run, state, best, observe, stop, doing)
        doing(f"validating epoch {state.epoch + 1}")
        state, best = _close_epoch(run, state, best)
        doing(WRITING)
        _save(run, state, best)
        observe(_evaluated(run, state))
    return _trained(run, state, best)


def _run_epoch(
    run: Course,
    state: State,
    best: Weights | None,
    observe: Callable[[Progress], None],
    stop: Callable[[], bool],
    doing: Callable[[str], None],
) -> State:
    """The steps of an epoch that are still to be taken; a checkpoint between two of them when it is time."""
    run.learner.module.train()
    training, epoch, saved = run.learner.training, state.epoch, time.monotonic()
    for rows in run.steps(epoch)[state.step :]:
        asked = stop()
        if asked or (state.step and time.monotonic() - saved >= run.checkpoint_seconds):
            doing(WRITING)
            _save(run, state, best)
            saved = time.monotonic()
        if asked:
            raise Interrupted(state.done)
        doing(f"computing step {state.done + 1}")
        factor = learning_rate_factor(training.schedule, state.done, run.total)
        set_learning_rate(run.learner.optimizer, factor)
        step = take_step(run.learner, rows, epoch, state.step, state.done + 1)
        state = after_step(state, step)
        observe(_progress(run, state, epoch + 1, step.loss))
    return state


def _close_epoch(run: Course, state: State, best: Weights | None) -> tuple[State, Weights | None]:
    """Validate, note the epoch's figures (means over its steps), and decide what is best and whether to stop."""
    training = run.learner.training
    metrics = {name: value if value is not None and isfinite(value) else None for name, value in run.evaluate().items()}
    metric = metrics[run.metric]
    state = after_epoch(state, metrics, _rate(run, state))
    if run.better(metric, state.best_metric):
        return replace(state, best_epoch=state.epoch, best_metric=metric, waited=0), _best(run)
    state = replace(state, waited=state.waited + 1)
    patience = training.early_stopping.patience if training.early_stopping else None
    if patience is not None and state.waited >= patience and not run.finished(state):
        state = replace(state, stopped_early=True)
    return state, best


def _best(run: Course) -> Weights | None:
    """A copy of the weights, where somebody will write it."""
    return run.learner.weights() if run.learner.group.leads else None


def _rate(run: Course, state: State) -> float:
    """The top layer's rate in the step that was taken last."""
    training = run.learner.training
    return training.learning_rate * learning_rate_factor(training.schedule, state.done - 1, run.total)


def _progress(run: Course, state: State, epoch: int, loss: float, metric: float | None = None) -> Progress:
    return Progress(
        epoch=epoch,
        epochs=ceil(run.total / run.per_epoch),
        step=state.done,
        steps=run.total,
        loss=loss,
        learning_rate=_rate(run, state),
        rows=state.rows,
        real_tokens=state.real_tokens,
        padded_tokens=state.padded_tokens,
        metric=metric,
    )


def _evaluated(run: Course, state: State) -> Progress:
    entry = state.history[-1]
    return _progress(run, state, state.epoch, entry["loss"], entry["metrics"][run.metric])


def _save(run: Course, state: State, best: Weights | None) -> None:
    """Write a checkpoint, as rank 0; weights that are the best ones are written once."""
    learner = run.learner
    if not learner.group.leads:
        return
    same = _best_is_current(state)
    tensors = {
        "weights": best if best is not None and same else learner.weights(),
        "optimizer": optimizer_tensors(learner.optimizer, learner.module),
    }
    if best is not None and not same:
        tensors["best"] = best
    snapshot = Snapshot(state.done, {"identity": run.identity, **asdict(state)}, tensors)
    save_checkpoint(run.checkpoints, snapshot, learner.training.keep_checkpoints)


def _best_is_current(state: State) -> bool:
    return state.best_epoch == state.epoch and state.step == 0


def _resume(run: Course) -> tuple[State, Weights | None]:
    """State and best weights of the newest checkpoint, its weights put in place; or a fresh start.

    Rank 0 looks for it, and the others read the one that it found.
    """
    group = run.learner.group
    snapshot = load_checkpoint(run.checkpoints) if group.leads else None
    step = group.told(-1 if snapshot is None else snapshot.step)
    if step < 0:
        return State(), None
    snapshot = snapshot or read_checkpoint(run.checkpoints, step)
    fields = dict(snapshot.state)
    if fields.pop("identity") != run.identity:
        raise ValueError(f"the checkpoints in {run.checkpoints} are of other work")
    state = State(**{**fields, "history": tuple(fields["history"])})
    weights = dict(snapshot.tensors["weights"])
    run.learner.restore(weights)
    restore_optimizer(run.learner.optimizer, run.learner.module, snapshot.tensors["optimizer"])
    best = weights if _best_is_current(state) else snapshot.tensors.get("best")
    return state, None if best is None else dict(best)


def _trained(run: Course, state: State, best: Weights | None) -> Trained:
    counts: dict[str, int | bool] = {
        "rows": state.rows,
        "real_tokens": state.real_tokens,
        "padded_tokens": state.padded_tokens,
        "steps": state.done,
        "epochs_run": state.epoch,
        "stopped_early": state.stopped_early,
    }
    chosen = run.learner.weights() if best is None else best
    epoch = state.epoch if state.best_epoch is None else state.best_epoch
    return Trained(dict(sorted(chosen.items())), epoch, state.best_metric, list(state.history), counts)
