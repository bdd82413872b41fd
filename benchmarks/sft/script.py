"""The campaign's script over the rows of hsdc's steps: padded batches of four, loss on all tokens, checkpointing."""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.utils.rnn import pad_sequence

from benchmarks.sft.lessons import Lessons, Steps
from benchmarks.sft.way import Way
from hsdc_runtime.nn.adapter import options
from hsdc_runtime.nn.checkpoint import trained
from hsdc_runtime.nn.model import quiet

BATCH, IGNORED = 4, -100


def train_as_the_script(model: Any, lessons: Lessons, way: Way, steps: Steps) -> None:
    """Take the first steps; every row is padded to `way.most` tokens."""
    with quiet():
        model = get_peft_model(model, LoraConfig(**options(lessons.lora)))
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW(trained(model).values(), lr=lessons.training.learning_rate)
    for rows in lessons.steps:
        optimizer.zero_grad()
        whole = 0.0
        for start in range(0, len(rows), BATCH):
            tokens, labels = _padded(lessons, rows[start : start + BATCH].tolist(), way.most or 0)
            tokens, labels = tokens.to(model.device), labels.to(model.device)
            mask = (labels != IGNORED).long()
            loss = model(input_ids=tokens, attention_mask=mask, labels=labels, use_cache=False).loss
            (loss * BATCH / len(rows)).backward()
            whole += float(loss) * BATCH / len(rows)
        torch.nn.utils.clip_grad_norm_(trained(model).values(), lessons.training.max_grad_norm or float("inf"))
        optimizer.step()
        steps.end(whole, int(lessons.data.supervised[rows].sum()), len(rows) * (way.most or 0))
        if steps.enough():
            return


def _padded(lessons: Lessons, rows: list[int], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    own = [torch.from_numpy(lessons.data.of(row)).long() for row in rows]
    full = [torch.nn.functional.pad(one, (0, length - len(one)), value=IGNORED) for one in own]
    labels = pad_sequence(full, batch_first=True)
    return labels.masked_fill(labels == IGNORED, lessons.pad_id), labels
