"""What the card of a fine-tune says of its lessons: the prompt that it was taught with, and how the training went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hsdc_schemas.finetuning import FinetuneExperiment
from hsdc_schemas.record import Record


def asked(experiment: FinetuneExperiment) -> Iterator[str]:
    """The templates of the conversation, fenced; under the model's own chat template the adapter expects them."""
    yield "The templates (Jinja2) of the conversation that it was taught with, under the model's own chat template:"
    for name, text in (("system", experiment.prompt.system), ("user", experiment.prompt.user)):
        if text.strip():
            fence = "`" * max(3, 1 + max((len(run) for run in text.split() if set(run) == {"`"}), default=0))
            yield from ("", f"{fence}jinja title={name}", *text.rstrip("\n").split("\n"), fence)


def trained(experiment: FinetuneExperiment, record: Record, history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows and settings, then the losses of every epoch, with the one that was kept."""
    facts = {stage.name: stage.facts for stage in record.stages}
    read, found, training = facts["examples"]["splits"], facts["train"], experiment.training
    counts = [f"{read[split]['kept']:,} rows of `{split}`" for split in read]
    schedule = training.schedule
    warmup = f"{schedule.warmup_steps} steps" if schedule.warmup_steps else f"{100 * schedule.warmup_ratio:g} %"
    yield f"Learnt from {counts[0]}, the epoch chosen on {counts[1]}, at most {training.max_tokens} tokens each."
    yield f"The loss is that of the answers. AdamW at {training.learning_rate:g}, {schedule.kind} after a warm-up of"
    yield f"{warmup}, weight decay {training.optimizer.weight_decay:g}, {training.rows_per_step} rows a step,"
    yield f"{found['steps']} steps."
    yield ""
    yield "| epoch | steps | training loss | validation loss | |"
    yield "| ---: | ---: | ---: | ---: | --- |"
    for entry in history:
        kept = "kept" if entry["epoch"] == found["best_epoch"] else ""
        loss = entry["metrics"]["loss"]
        told = "–" if loss is None else f"{loss:.4f}"
        yield f"| {entry['epoch']} | {entry['steps']} | {entry['loss']:.4f} | {told} | {kept} |"
    if found["stopped_early"]:
        yield ""
        yield f"Stopped before its {training.epochs} epochs, as the validation loss no longer fell."
