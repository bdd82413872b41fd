"""A resolved experiment of any kind, and where it runs: what a spec means once everything is applied.

Every model is strict, frozen and refuses unknown keys.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from hsdc_schemas.components import Dataset, Endpoint, PretrainedModel
from hsdc_schemas.encoder import EncoderExperiment
from hsdc_schemas.fields import NOTES, TITLE, Count, Metric, Model, Name, NotNegative, Positive, RunName
from hsdc_schemas.finetuning import FinetuneExperiment
from hsdc_schemas.making import Corpus, DataExperiment
from hsdc_schemas.prompting import Method, Prompt, PromptExperiment

Experiment: TypeAlias = Annotated[
    EncoderExperiment | PromptExperiment | FinetuneExperiment | DataExperiment, Field(discriminator="kind")
]
EXPERIMENTS: dict[str, type[Experiment]] = {
    "encoder": EncoderExperiment,
    "prompt": PromptExperiment,
    "finetune": FinetuneExperiment,
    "data": DataExperiment,
}


class Limits(Model):
    """Caps that a profile sets beside the experiment's own values."""

    epochs: Count | None = Field(None, description="Most epochs; `training.epochs` stays what the run means.")
    steps: Count | None = Field(None, description="Most optimizer steps.")
    rows: Count | None = Field(None, description="Most rows of each split, from its start.")


class Requests(Model):
    """How an endpoint is asked; no result depends on it."""

    concurrency: Annotated[int, Field(ge=1, le=256)] = Field(8, description="Requests under way at once.")
    timeout_seconds: Positive = Field(120.0, description="Longest wait for one answer, in seconds.")
    retries: Annotated[int, Field(ge=0, le=100)] = Field(6, description="Further attempts after a passing failure.")
    most_seconds: Positive | None = Field(None, description="For all prompts together; null is without end.")
    most_cost: Positive | None = Field(
        None, description="No further request once so much is spent; needs the endpoint's prices."
    )


class Tolerance(Model):
    """How far a run that is executed again may be from its record, declared before it is run; all of it has to hold."""

    tensors: NotNegative | None = Field(None, description="Largest difference of an element of a tensor.")
    figures: NotNegative | None = Field(None, description="Largest difference of a metric, as a share.")


class Execution(Model):
    """Where a run happens: what a profile decides."""

    device: Literal["cpu", "cuda"] = Field("cpu", description="Where tensors live.")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Of forward and backward passes.")
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(1, description="Compute threads of the CPU.")
    attention: Literal["eager", "sdpa"] = Field("sdpa", description="Kernel of the attention layers.")
    gradient_checkpointing: bool = Field(
        False,
        description="Recompute activations in the backward pass: less memory, a third more work, the same result.",
    )
    tokens_per_batch: Count = Field(4096, description="Most padded tokens of one forward pass that asks a model.")
    answer: Method | None = Field(None, description="The answer method, where a spec allows this one too.")
    requests: Requests = Field(Requests.model_construct(), description="How an endpoint is asked.")
    processes: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Processes that share a step's micro-batches; on CUDA each has a device of its own."
    )
    elastic: bool = Field(
        False,
        description="Add gradients up in the order of the micro-batches, so that any number of processes gives the "
        "same bits; without it, the number is part of the result.",
    )
    checkpoint_seconds: NotNegative = Field(
        600.0, description="Time between two checkpoints within an epoch, each after a step; 0 is after every step."
    )
    tolerance: Tolerance | None = Field(
        None, description="What counts as the same result when it is executed again; null: the same bits alone."
    )
    limits: Limits = Field(Limits.model_construct(), description="Caps beside the run's own values.")


class Reproduces(Model):
    """A claim to test: this run gives what another run gave, or what was reported of it."""

    run: RunName = Field(description="The run whose record this one is compared with.")
    metric: Metric | None = Field(None, description="HEAD.METRIC that was reported.", examples=["overall.f1_macro"])
    reported: float | None = Field(None, description="The figure that was reported, as a share.", examples=[0.6206])
    within: NotNegative | None = Field(None, description="Largest difference that still confirms it.")


class Profile(Model):
    """Binds a campaign to a place: whole components for whole components, caps, device."""

    title: str = Field("", description=TITLE)
    notes: str = Field("", description=NOTES)
    bind: dict[Name, dict[Name, Name]] = Field(
        default_factory=dict,
        description="For each slot, the component that stands in for the one that a spec names.",
        examples=[{"model": {"mbert": "minilm"}}],
    )
    execution: Execution = Field(Execution.model_construct(), description="Device, precision and caps.")


SLOTS: dict[str, tuple[str, tuple[type[Model], ...]]] = {
    "dataset": ("datasets", (Dataset,)),
    "corpus": ("corpora", (Corpus,)),
    "model": ("models", (PretrainedModel, Endpoint)),
    "prompt": ("prompts", (Prompt,)),
}
