"""The training of an adapter: its learner, its course, and what identifies the work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn

from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.adapter import attach
from hsdc_runtime.nn.adapter_learner import AdapterLearner
from hsdc_runtime.nn.checkpoint import trained
from hsdc_runtime.nn.course import Course, step_counts
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.examples import FIELDS, Examples
from hsdc_runtime.nn.loop import Progress, Trained, follow
from hsdc_runtime.nn.model import recompute_activations
from hsdc_runtime.nn.optimizer import adamw_over, not_decayed
from hsdc_runtime.nn.sampling import epoch_order
from hsdc_schemas.digests import digest_bytes, digest_json
from hsdc_schemas.finetuning import AdapterTraining, Lora
from hsdc_schemas.spec import Execution
from hsdc_schemas.stages import for_keys


def train_adapter(
    model: nn.Module,
    data: Examples,
    validation: Examples,
    *,
    lora: Lora,
    training: AdapterTraining,
    execution: Execution,
    pad_id: int,
    checkpoints: Path,
    observe: Callable[[Progress], None],
    stop: Callable[[], bool],
    doing: Callable[[str], None] = lambda what: None,
) -> tuple[PeftModel, Trained]:
    """Put a new adapter on a model and train it, going on from the newest checkpoint where there is one.

    The adapted model is left with the adapter of the best epoch, the one of the smallest loss on `validation`. Raises
    what `follow` raises, and HsdcError where the model has not what is to be adapted.
    """
    deterministic(execution)
    per_epoch, total = step_counts(len(data), training, execution)
    learner = _learner(model, data, lora, training, execution, pad_id)
    specs = [*(part.model_dump(mode="json") for part in (lora, training)), for_keys(execution.model_dump(mode="json"))]
    course = Course(
        learner=learner,
        evaluate=lambda: learner.evaluate(validation),
        metric="loss",
        least=True,
        order=lambda epoch: epoch_order(len(data), None, training.seed, epoch),
        per_epoch=per_epoch,
        total=total,
        identity=digest_json([specs, pad_id, _identity(data), _identity(validation)]),
        checkpoints=checkpoints,
        checkpoint_seconds=execution.checkpoint_seconds,
    )
    found = follow(course, observe, stop, doing)
    learner.restore(found.weights)
    learner.model.eval()
    return learner.model, found


def _learner(
    model: nn.Module, data: Examples, lora: Lora, training: AdapterTraining, execution: Execution, pad_id: int
) -> AdapterLearner:
    """A new adapter on a model, where the model is to be, with its optimizer."""
    accelerator = accelerator_for(execution)
    adapted = attach(model, lora, training.seed)
    adapted.to(accelerator.device)
    if execution.gradient_checkpointing:
        recompute_activations(model)
    return AdapterLearner(adapted, _optimizer(adapted, training), accelerator, data, pad_id, training)


def _optimizer(adapted: PeftModel, training: AdapterTraining) -> torch.optim.AdamW:
    plain, groups = not_decayed(adapted), []
    parameters = list(trained(adapted).values())
    for name, chosen, decay in (
        ("decay", [p for p in parameters if id(p) not in plain], training.optimizer.weight_decay),
        ("no_decay", [p for p in parameters if id(p) in plain], 0.0),
    ):
        rate = training.learning_rate
        group = {"name": name, "params": chosen, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        groups += [group] if chosen else []
    return adamw_over(groups, training.optimizer)


def _identity(examples: Examples) -> list[Any]:
    return [list(examples.ids), [digest_bytes(getattr(examples, name).tobytes()) for name in FIELDS]]
