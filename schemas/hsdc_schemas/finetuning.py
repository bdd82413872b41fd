"""Kind `finetune`: an adapter on a causal language model, measured against the model without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from hsdc_schemas.adapters import LowRank
from hsdc_schemas.components import Dataset, PretrainedModel
from hsdc_schemas.encoder import EarlyStopping, Optimizer
from hsdc_schemas.fields import FREE, Count, Model, Name, Positive, Seed, Share
from hsdc_schemas.prompting import Answer, AnswerEvaluation, Generation, Prompt, Task, ranges_of


class Lora(LowRank):
    """A low-rank adapter on a causal language model."""

    base: Literal["as_is", "nf4"] = Field("as_is", description="The model's own weights; nf4 holds them in 4 bits.")


class AdapterSchedule(Model):
    """Learning rate over the optimizer steps: linear warm-up, then constant or decaying to zero."""

    kind: Literal["linear", "cosine", "constant"] = Field("linear", description="Form after the warm-up.")
    warmup_ratio: Share = Field(0.0, description="Share of all steps spent warming up.")
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="Steps spent warming up, in place of a share.")


class AdapterTraining(Model):
    """How the adapter is learnt; the loss is that of the answers' tokens, over their number in a whole step."""

    epochs: Count = Field(description="Most passes over the training rows.")
    learning_rate: Positive = Field(description="Peak rate.", examples=[2e-4])
    schedule: AdapterSchedule = Field(AdapterSchedule.model_construct(), description="Learning rate over the steps.")
    optimizer: Optimizer = Field(description="What turns gradients into steps.")
    rows_per_step: Count = Field(description="Rows of one optimizer step.")
    tokens_per_micro_batch: Count = Field(2048, description="Most padded tokens of one forward pass.")
    packing: bool = Field(False, description="Rows of a micro-batch in one sequence, none seeing another.")
    max_tokens: Count = Field(1024, description="Most tokens of a row, its answer included.")
    over_length: Literal["raise", "truncate", "drop"] = Field(
        "raise", description="A longer row fails the run, loses the start of its prompt, or is left out and counted."
    )
    max_grad_norm: Positive | None = Field(None, description="Gradient norm that is clipped to.")
    early_stopping: EarlyStopping | None = Field(None, description="By the loss on `fit_split`; null trains on.")
    keep_checkpoints: Count = Field(1, description="Resumable checkpoints that are kept while training.")
    seed: Seed = Field(42, description="Of all randomness; no budget counts it.", json_schema_extra=FREE)


class FinetuneEvaluation(AnswerEvaluation):
    """Which rows choose the best epoch, which ones are asked about before and after, and how answers are scored."""

    train_split: Name = Field("train", description="Split that is learnt.")
    fit_split: Name = Field("validation", description="Split whose loss chooses the best epoch.")


class FinetuneExperiment(Model):
    """A resolved run of kind `finetune`."""

    kind: Literal["finetune"] = Field(description="What the run does: it trains an adapter and measures what it does.")
    dataset: Dataset = Field(description="The rows.")
    model: PretrainedModel = Field(description="The model that is adapted.")
    prompt: Prompt = Field(description="What is asked, in training and in evaluation.")
    task: Task = Field(description="What is decided about each text.")
    adapter: Annotated[Lora, Field(description="What is trained.")]
    training: AdapterTraining = Field(description="How it is trained.")
    answer: Answer = Field(description="How the model's choice is taken.")
    generation: Generation | None = Field(None, description="How text is generated; null where nothing is.")
    evaluation: FinetuneEvaluation = Field(
        FinetuneEvaluation.model_construct(), description="Which rows are scored, and how."
    )

    @property
    def tasks(self) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Per head, the label of the data set that answers are held against and the labels that are known."""
        return {self.task.target: (self.task.target, self.task.labels)}

    @property
    def numbers(self) -> Mapping[str, tuple[float, float]]:
        """What answers say beside their label, each with its least and its most."""
        return ranges_of(self.prompt.format)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the data set that the run reads."""
        evaluation = self.evaluation
        return tuple(dict.fromkeys((evaluation.train_split, evaluation.fit_split, evaluation.split)))

    @property
    def subset(self) -> str | None:
        """The subset that stands in for a split."""
        return self.evaluation.subset
