"""transformers' Trainer as the oracle: same rows in the same order, one micro-batch a step, same losses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from hsdc_runtime.nn.loop import Progress, train
from hsdc_runtime.nn.sampling import epoch_order, steps_of
from hsdc_schemas.encoder import Schedule, Shuffle
from hsdc_schemas.spec import Execution


def test_the_loss_curve_of_trainer(make: SimpleNamespace, tmp_path: Path) -> None:
    data, epochs, seen = make.rows(48), 3, []
    training = make.training(
        epochs=epochs,
        max_grad_norm=0.5,
        schedule=Schedule(kind="cosine", warmup_ratio=0.25),
        best_metric="overall.constant",
        tokens_per_micro_batch=10**6,
        learning_rate=1e-3,
    )
    train(
        make.classifier(),
        data,
        data,
        heads=make.heads(focal=False, balanced=False),
        sampling=Shuffle(kind="shuffle"),
        training=training,
        execution=Execution(),
        pad_id=0,
        score=lambda logits: {"overall.constant": 1.0},
        checkpoints=tmp_path / "ours",
        observe=seen.append,
        stop=lambda: False,
    )

    batches: list[dict[str, torch.Tensor]] = []
    for epoch in range(epochs):
        for rows in steps_of(epoch_order(48, None, training.seed, epoch), 8):
            tokens, mask = data.pad(rows, 0)
            targets = {name: torch.from_numpy(data.targets[name][rows]) for name in data.targets}
            batches.append({"input_ids": tokens, "attention_mask": mask, **targets})

    class Oracle(Trainer):
        def get_train_dataloader(self) -> Any:
            return DataLoader(batches, batch_size=None)

        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
            logits = model(inputs["input_ids"], inputs["attention_mask"])
            kind = F.cross_entropy(logits["type"], inputs["type"], label_smoothing=0.1)
            return F.cross_entropy(logits["polarity"], inputs["polarity"]) + 0.5 * kind

    arguments = TrainingArguments(
        output_dir=str(tmp_path / "theirs"),
        num_train_epochs=1,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_steps=5,  # ceil(0.25 × 18)
        weight_decay=0.01,
        max_grad_norm=0.5,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    oracle = Oracle(model=make.classifier(), args=arguments, train_dataset=batches)
    oracle.train()
    logged = [entry for entry in oracle.state.log_history if "loss" in entry]
    ours: list[Progress] = [progress for progress in seen if progress.metric is None]
    assert len(ours) == len(logged) == 18
    assert [progress.loss for progress in ours] == pytest.approx([entry["loss"] for entry in logged], rel=1e-3)
    assert [p.learning_rate for p in ours] == pytest.approx([entry["learning_rate"] for entry in logged], abs=1e-9)
