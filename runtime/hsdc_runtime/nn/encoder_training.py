"""The training of an encoder with heads: its learner, its course, and what identifies the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.batches import Rows, predict
from hsdc_runtime.nn.course import Course, Metrics, step_counts
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.encoder_learner import EncoderLearner
from hsdc_runtime.nn.group import ALONE, Group
from hsdc_runtime.nn.loop import Progress, Trained, follow
from hsdc_runtime.nn.losses import head_losses
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import adamw
from hsdc_runtime.nn.sampling import epoch_order, joint_weights
from hsdc_schemas.adapters import LowRank
from hsdc_schemas.digests import digest_bytes, digest_json
from hsdc_schemas.encoder import Head, JointOversampling, Shuffle, Training
from hsdc_schemas.spec import Execution
from hsdc_schemas.stages import for_keys

Score: TypeAlias = Callable[[dict[str, np.ndarray]], Mapping[str, float | None]]


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
    doing: Callable[[str], None] = lambda what: None,
    group: Group = ALONE,
    lora: LowRank | None = None,
) -> Trained:
    """Train, going on from the newest checkpoint where there is one; the classifier is left with the last weights.

    With `lora` the encoder stays as it is: an adapter on it and the heads are trained, the result has their weights
    as they are published, and the classifier is left with the best ones.

    Every process of a group calls this with the same work; rank 0 alone observes, stops and writes, and has the result.
    `doing` is told what is begun, for whoever watches that it ends.

    `score` turns validation logits into metrics, of which training.best_metric (larger is better; None is no
    improvement, ties keep the earlier epoch) chooses the weights. Interrupted once `stop()` is true between steps,
    NonFiniteLoss at the step of one, ValueError without rows or where the checkpoints are of other work.
    """
    deterministic(execution)
    steps = step_counts(len(data), training, execution)
    learner = _learner(classifier, data, heads, training, execution, pad_id, group, lora)
    course = _course(learner, validation, steps, heads, sampling, execution, score, checkpoints, lora)
    found = follow(course, observe, stop, doing)
    return found if lora is None else _published(learner, found)


def _adapt(classifier: Classifier, lora: LowRank, seed: int) -> None:
    from hsdc_runtime.nn.adapted_encoder import adapt  # peft takes a second to import, and few encoders need it

    adapt(classifier, lora, seed)


def _published(learner: EncoderLearner, found: Trained) -> Trained:
    from hsdc_runtime.nn.adapted_encoder import published_with_heads

    learner.restore(found.weights)
    return replace(found, weights=published_with_heads(learner.classifier))


def _learner(
    classifier: Classifier,
    data: Rows,
    heads: Mapping[str, Head],
    training: Training,
    execution: Execution,
    pad_id: int,
    group: Group,
    lora: LowRank | None,
) -> EncoderLearner:
    if lora is not None:
        _adapt(classifier, lora, training.seed)
    accelerator = accelerator_for(execution)
    classifier.to(accelerator.device)
    losses = head_losses(heads, data.targets, accelerator.device)
    optimizer = adamw(classifier, training)
    return EncoderLearner(
        classifier, optimizer, accelerator, losses, data, pad_id, training, group, execution.elastic, lora is not None
    )


def _course(
    learner: EncoderLearner,
    validation: Rows,
    steps: tuple[int, int],
    heads: Mapping[str, Head],
    sampling: Shuffle | JointOversampling,
    execution: Execution,
    score: Score,
    checkpoints: Path,
    lora: LowRank | None,
) -> Course:
    """What is followed, in so many steps an epoch and in all; all that its result depends on is its identity."""
    data, training = learner.data, learner.training
    weights = joint_weights(data.targets, heads, sampling) if isinstance(sampling, JointOversampling) else None
    specs = [part.model_dump(mode="json") for part in (training, sampling, *(heads[n] for n in sorted(heads)))]
    specs.append(for_keys(execution.model_dump(mode="json")))
    specs += [] if lora is None else [lora.model_dump(mode="json")]
    return Course(
        learner=learner,
        evaluate=lambda: _evaluate(learner, validation, execution, score),
        metric=training.best_metric,
        order=lambda epoch: epoch_order(len(data), weights, training.seed, epoch),
        per_epoch=steps[0],
        total=steps[1],
        identity=digest_json([specs, sorted(heads), learner.pad_id, _identity(data), _identity(validation)]),
        checkpoints=checkpoints,
        checkpoint_seconds=execution.checkpoint_seconds,
    )


def _evaluate(learner: EncoderLearner, validation: Rows, execution: Execution, score: Score) -> Metrics:
    return score(
        predict(
            learner.classifier,
            validation,
            learner.pad_id,
            learner.training.tokens_per_micro_batch,
            learner.accelerator.device,
            execution.precision == "bfloat16",
            learner.group,
        )
    )


def _identity(rows: Rows) -> list[Any]:
    arrays = [rows.tokens, rows.offsets, *(rows.targets[name] for name in sorted(rows.targets))]
    return [list(rows.ids), [digest_bytes(array.tobytes()) for array in arrays]]
