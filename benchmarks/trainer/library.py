"""transformers' Trainer over the rows of hsdc's steps: batches of 16 in the sampler's order, accumulated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.trainer.way import BATCH
from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.losses import head_losses, step_loss
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.optimizer import adamw, learning_rate_factor
from hsdc_runtime.nn.sampling import MASKED
from hsdc_schemas.spec import Experiment


@dataclass(frozen=True, eq=False)
class Batches(Dataset[dict[str, Any]]):
    """The batches of some steps, padded when they are asked for: to `length`, or to their own longest row."""

    data: Rows
    pad_id: int
    steps: list[np.ndarray]
    length: int | None

    def __len__(self) -> int:
        return sum(-(-len(rows) // BATCH) for rows in self.steps)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Tokens, mask and targets, with the labelled rows of the whole step for each head."""
        at, part = divmod(index, -(-len(self.steps[0]) // BATCH))
        rows = self.steps[at]
        own = rows[part * BATCH : (part + 1) * BATCH]
        tokens, mask = self.data.pad(own, self.pad_id)
        if self.length is not None:
            more = (0, self.length - tokens.shape[1])
            tokens = torch.nn.functional.pad(tokens, more, value=self.pad_id)
            mask = torch.nn.functional.pad(mask, more)
        return {
            "input_ids": tokens,
            "attention_mask": mask,
            "targets": {name: torch.from_numpy(values[own]) for name, values in self.data.targets.items()},
            "labelled": {name: int((values[rows] != MASKED).sum()) for name, values in self.data.targets.items()},
        }


class _Losses(Trainer):
    """Trainer with hsdc's losses, each divided by the labelled rows of the whole step."""

    def get_train_dataloader(self) -> Any:
        """The batches as they are."""
        return DataLoader(self.train_dataset, batch_size=None)

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Tensor:
        """One batch's share of the step's loss."""
        logits = model(inputs["input_ids"], inputs["attention_mask"])
        self.loss_is_scaled_for_ga = True
        self.padded_tokens += inputs["input_ids"].numel()
        loss = step_loss(logits, inputs["targets"], self.losses, inputs["labelled"]).total
        self.shares.append(loss.detach())
        return loss


class _Ends(TrainerCallback):
    def __init__(self, end: Callable[[float, int], None]) -> None:
        self.end, self.trainer = end, None

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Tell the step's loss and all padded tokens so far."""
        self.end(float(sum(self.trainer.shares)), self.trainer.padded_tokens)
        self.trainer.shares = []


def train_with_the_library(
    classifier: Classifier,
    batches: Batches,
    experiment: Experiment,
    total: int,
    folder: Path,
    end: Callable[[float, int], None],
) -> None:
    """Train over all batches; optimizer, rates (over `total` steps) and the norm of gradients are hsdc's."""
    training = experiment.training
    optimizer = adamw(classifier, training)
    schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(training.schedule, step, total))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=len(batches.steps),
        gradient_accumulation_steps=len(batches) // len(batches.steps),
        max_grad_norm=training.max_grad_norm,
        logging_steps=10**6,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    ends = _Ends(end)
    trainer = _Losses(
        model=classifier, args=arguments, train_dataset=batches, optimizers=(optimizer, schedule), callbacks=[ends]
    )
    trainer.losses = head_losses(experiment.heads, batches.data.targets)
    trainer.shares, trainer.padded_tokens, ends.trainer = [], 0, trainer
    trainer.train()
