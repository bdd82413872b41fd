"""The training loop: epochs of optimizer steps, validation, early stopping, checkpoints to resume from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil, isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.batches import Rows, predict
from hsdc_runtime.nn.checkpoint import Snapshot, load_checkpoint, save_checkpoint, weights_of
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.losses import head_losses
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import (
    adamw,
    learning_rate_factor,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)
from hsdc_runtime.nn.sampling import epoch_order, joint_weights, steps_of
from hsdc_runtime.nn.state import State, after_epoch, after_step
from hsdc_runtime.nn.step import Learner, NonFiniteLoss, take_step
from hsdc_schemas.digests import digest_bytes, digest_json
from hsdc_schemas.encoder import Head, JointOversampling, Shuffle, Training
from hsdc_schemas.spec import Execution

__all__ = ["Interrupted", "NonFiniteLoss", "Progress", "Trained", "train"]

Weights: TypeAlias = dict[str, Tensor]
Score: TypeAlias = Callable[[dict[str, np.ndarray]], Mapping[str, float | None]]


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Training stopped where it was asked to, after its checkpoint was written; run again to go on."""

    def __init__(self, step: int, checkpoint: Path) -> None:
        self.step, self.checkpoint = step, checkpoint
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


@dataclass(frozen=True, eq=False)
class Run:
    """One training: the learner, what it is validated on, its plan of steps, and where its checkpoints are."""

    learner: Learner
    validation: Rows
    row_weights: np.ndarray | None
    bfloat16: bool
    per_epoch: int
    total: int
    identity: str
    checkpoints: Path

    def finished(self, state: State) -> bool:
        """Whether nothing is left to do."""
        return state.stopped_early or state.done >= self.total

    def steps(self, epoch: int) -> list[np.ndarray]:
        """Rows of each step of an epoch counted from 0."""
        training = self.learner.training
        order = epoch_order(len(self.learner.data), self.row_weights, training.seed, epoch)
        return steps_of(order, training.rows_per_step)[: self.total - epoch * self.per_epoch]


def train(
    classifier: Classifier,
    data: Rows,
    validation: Rows,
    *,
    heads: Mapping[str, Head],
    sampling: Shuffle | JointOversampling,
    training: Training,
    execution: Execution,
    pad_id: int,
    score: Score,
    checkpoints: Path,
    observe: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> Trained:
    """Train, going on from the newest checkpoint where there is one; the classifier is left with the last weights.

    `score` turns validation logits into metrics, of which training.best_metric (larger is better; None is no
    improvement, ties keep the earlier epoch) chooses the weights. Interrupted once `stop()` is true between steps,
    NonFiniteLoss at the step of one, ValueError without rows or where the checkpoints are of other work.
    """
    deterministic(execution)
    run = _plan(classifier, data, validation, heads, sampling, training, execution, pad_id, checkpoints)
    state, best = _resume(run)
    while not run.finished(state):
        state = _run_epoch(run, state, best, observe, stop)
        state, best = _close_epoch(run, state, best, score)
        _save(run, state, best)
        observe(_evaluated(run, state))
    return _trained(run, state, best)


def _plan(
    classifier: Classifier,
    data: Rows,
    validation: Rows,
    heads: Mapping[str, Head],
    sampling: Shuffle | JointOversampling,
    training: Training,
    execution: Execution,
    pad_id: int,
    checkpoints: Path,
) -> Run:
    if not len(data):
        raise ValueError("there are no rows to train on")
    accelerator = accelerator_for(execution)
    classifier.to(accelerator.device)
    losses = head_losses(heads, data.targets, accelerator.device)
    learner = Learner(classifier, adamw(classifier, training), accelerator, losses, data, pad_id, training)
    per_epoch = ceil(len(data) / training.rows_per_step)
    total = per_epoch * min(training.epochs, execution.limits.epochs or training.epochs)
    specs = [
        part.model_dump(mode="json") for part in (training, execution, sampling, *(heads[n] for n in sorted(heads)))
    ]
    return Run(
        learner=learner,
        validation=validation,
        row_weights=joint_weights(data.targets, heads, sampling) if isinstance(sampling, JointOversampling) else None,
        bfloat16=execution.precision == "bfloat16",
        per_epoch=per_epoch,
        total=min(total, execution.limits.steps or total),
        identity=digest_json([specs, sorted(heads), pad_id, _identity(data), _identity(validation)]),
        checkpoints=checkpoints,
    )


def _identity(rows: Rows) -> list[Any]:
    arrays = [rows.tokens, rows.offsets, *(rows.targets[name] for name in sorted(rows.targets))]
    return [list(rows.ids), [digest_bytes(array.tobytes()) for array in arrays]]


def _run_epoch(
    run: Run, state: State, best: Weights | None, observe: Callable[[Progress], None], stop: Callable[[], bool]
) -> State:
    """The steps of an epoch that are still to be taken."""
    run.learner.classifier.train()
    training, epoch = run.learner.training, state.epoch
    for rows in run.steps(epoch)[state.step :]:
        if stop():
            raise Interrupted(state.done, _save(run, state, best))
        factor = learning_rate_factor(training.schedule, state.done, run.total)
        set_learning_rate(run.learner.optimizer, factor)
        step = take_step(run.learner, rows, epoch, state.step, state.done + 1)
        state = after_step(state, step)
        observe(_progress(run, state, epoch + 1, step.loss))
    return state


def _close_epoch(run: Run, state: State, best: Weights | None, score: Score) -> tuple[State, Weights | None]:
    """Validate, note the epoch's figures (means over its steps), and decide what is best and whether to stop."""
    training, learner = run.learner.training, run.learner
    logits = predict(
        learner.classifier,
        run.validation,
        learner.pad_id,
        training.tokens_per_micro_batch,
        learner.accelerator.device,
        run.bfloat16,
    )
    metrics = {name: value if value is not None and isfinite(value) else None for name, value in score(logits).items()}
    metric = metrics[training.best_metric]
    state = after_epoch(state, metrics, _rate(run, state))
    if metric is not None and (state.best_metric is None or metric > state.best_metric):
        return replace(state, best_epoch=state.epoch, best_metric=metric, waited=0), weights_of(learner.classifier)
    state = replace(state, waited=state.waited + 1)
    patience = training.early_stopping.patience if training.early_stopping else None
    if patience is not None and state.waited >= patience and not run.finished(state):
        state = replace(state, stopped_early=True)
    return state, best


def _rate(run: Run, state: State) -> float:
    """The top layer's rate in the step that was taken last."""
    training = run.learner.training
    return training.learning_rate * learning_rate_factor(training.schedule, state.done - 1, run.total)


def _progress(run: Run, state: State, epoch: int, loss: float, metric: float | None = None) -> Progress:
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


def _evaluated(run: Run, state: State) -> Progress:
    entry = state.history[-1]
    return _progress(run, state, state.epoch, entry["loss"], entry["metrics"][run.learner.training.best_metric])


def _save(run: Run, state: State, best: Weights | None) -> Path:
    """Write a checkpoint; weights that are the best ones are written once."""
    learner = run.learner
    same = _best_is_current(state)
    tensors = {
        "weights": best if best is not None and same else weights_of(learner.classifier),
        "optimizer": optimizer_tensors(learner.optimizer, learner.classifier),
    }
    if best is not None and not same:
        tensors["best"] = best
    snapshot = Snapshot(state.done, {"identity": run.identity, **asdict(state)}, tensors)
    return save_checkpoint(run.checkpoints, snapshot, learner.training.keep_checkpoints)


def _best_is_current(state: State) -> bool:
    return state.best_epoch == state.epoch and state.step == 0


def _resume(run: Run) -> tuple[State, Weights | None]:
    """State and best weights of the newest checkpoint, its weights put in place; or a fresh start."""
    snapshot = load_checkpoint(run.checkpoints)
    if snapshot is None:
        return State(), None
    fields = dict(snapshot.state)
    if fields.pop("identity") != run.identity:
        raise ValueError(f"the checkpoints in {run.checkpoints} are of other work")
    state = State(**{**fields, "history": tuple(fields["history"])})
    weights = dict(snapshot.tensors["weights"])
    run.learner.classifier.load_state_dict(weights)
    restore_optimizer(run.learner.optimizer, run.learner.classifier, snapshot.tensors["optimizer"])
    best = weights if _best_is_current(state) else snapshot.tensors.get("best")
    return state, None if best is None else dict(best)


def _trained(run: Run, state: State, best: Weights | None) -> Trained:
    counts: dict[str, int | bool] = {
        "rows": state.rows,
        "real_tokens": state.real_tokens,
        "padded_tokens": state.padded_tokens,
        "steps": state.done,
        "epochs_run": state.epoch,
        "stopped_early": state.stopped_early,
    }
    chosen = weights_of(run.learner.classifier) if best is None else best
    epoch = state.epoch if state.best_epoch is None else state.best_epoch
    return Trained(dict(sorted(chosen.items())), epoch, state.best_metric, list(state.history), counts)
