"""TRL's SFTTrainer over the rows of hsdc's steps, from the same first weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer, pack_dataset

from benchmarks.sft.lessons import Lessons, Steps
from benchmarks.sft.way import Way
from hsdc_runtime.nn.adapter import options
from hsdc_runtime.nn.model import quiet

IGNORED = -100


class _Losses(SFTTrainer):
    """What it learns from, noted at each step."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **named: Any) -> Any:
        """TRL's own loss of a batch, which is a step here."""
        loss = super().compute_loss(model, inputs, *args, **named)
        self.seen = loss.detach(), inputs["labels"][:, 1:], inputs["input_ids"].numel()
        return loss


class _Ends(TrainerCallback):
    def __init__(self, steps: Steps) -> None:
        self.steps, self.trainer = steps, None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the step, and stop after the last that is wanted."""
        loss, labels, computed = self.trainer.seen
        self.steps.end(float(loss), int((labels != IGNORED).sum()), computed)
        control.should_training_stop = self.steps.enough()


def train_with_the_library(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lessons: Lessons,
    way: Way,
    start: Path | None,
    folder: Path,
    steps: Steps,
) -> None:
    """Take the first steps; rates, optimizer, clipping and the adapter's first weights are those of hsdc's run.

    Where the library fills its sequences as it likes, it takes as many steps as they are.
    """
    ends, rows = _Ends(steps), _rows(lessons, way, steps.wanted)
    with quiet():
        trainer = _Losses(
            model=model,
            args=SFTConfig(output_dir=str(folder), **_arguments(lessons, way)),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=LoraConfig(**options(lessons.lora)),
            callbacks=[ends],
        )
    if way.rows == "filled":
        steps.wanted = len(trainer.train_dataset)
    if start is not None:
        set_peft_model_state_dict(trainer.model, load_file(start))
    ends.trainer = trainer
    trainer.train()


def _arguments(lessons: Lessons, way: Way) -> dict[str, Any]:
    training, schedule, on_cpu = lessons.training, lessons.training.schedule, lessons.execution.device == "cpu"
    packing: dict[str, Any] = {"packing": way.rows != "padded", "packing_strategy": "bfd"}
    if way.rows == "packed":
        packing["dataset_kwargs"] = {"skip_prepare_dataset": True}
    return {
        **packing,
        "max_length": way.most or training.tokens_per_micro_batch,
        "per_device_train_batch_size": training.rows_per_step if way.rows == "padded" else 1,
        "max_steps": lessons.total,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": schedule.kind,
        "warmup_steps": schedule.warmup_steps,
        "weight_decay": training.optimizer.weight_decay,
        "adam_beta1": training.optimizer.beta1,
        "adam_beta2": training.optimizer.beta2,
        "adam_epsilon": training.optimizer.epsilon,
        "max_grad_norm": training.max_grad_norm,
        "train_sampling_strategy": "sequential",
        "completion_only_loss": True,
        "gradient_checkpointing": False,
        "bf16": lessons.execution.precision == "bfloat16",
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "logging_steps": 10**6,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def _rows(lessons: Lessons, way: Way, wanted: int) -> Any:
    """The rows of the steps in their order; packed, TRL packs those of each step, which must be one sequence."""
    steps, data = lessons.steps[:wanted], lessons.data
    if way.rows != "packed":
        rows = [row for step in steps for row in step.tolist()]
        masks = [[0] * int(data.starts[row]) + [1] * int(data.supervised[row]) for row in rows]
        return Dataset.from_dict({"input_ids": [data.of(row).tolist() for row in rows], "completion_mask": masks})
    packs = []
    for step in steps:
        marked = Dataset.from_list([_marked(data, row) for row in step.tolist()])
        pack = pack_dataset(marked, lessons.training.tokens_per_micro_batch, "bfd")
        if len(pack) != 1:
            raise RuntimeError(f"the rows of a step are {len(pack)} sequences")
        packs.append(pack)
    return concatenate_datasets(packs)


def _marked(data: Any, row: int) -> dict[str, list[int]]:
    tokens, start = data.of(row).tolist(), int(data.starts[row])
    return {"input_ids": tokens, "labels": [IGNORED] * start + tokens[start:]}
