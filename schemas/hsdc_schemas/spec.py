"""The resolved experiment, typed: what a spec means once inheritance, components and the profile are applied.

Every model is strict, frozen and refuses unknown keys. `Model.whole` marks what a budget counts as one factor;
a field marked `PROSE` (names, titles, notes, places in the spec) enters no digest and no budget, a field marked
`FREE` (seeds) enters the digest but no budget.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationInfo
from pydantic.config import JsonDict

from hsdc_schemas.digests import LARGEST

PROSE: JsonDict = {"x-factor": "prose"}
FREE: JsonDict = {"x-factor": "free"}
WHOLE: JsonDict = {"x-factor": "whole"}

TITLE = "One line for people; counts nowhere."
NOTES = "Anything for people; counts nowhere."
KIND = "Which variant; a change of it drops the values inherited beside it."
SMOOTHING = "Share of the probability spread over all classes."

Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
RunName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}(\.[a-z0-9_+-]+)*$", max_length=128)]
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10**9)]
Labels: TypeAlias = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=2)]
Metric: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z0-9_]+(\[[^\]]+\])?(@[a-z0-9_]+=[^=]+)?$")]


def _exact(value: Any, info: ValidationInfo) -> Any:
    """A whole number of JSON that is beyond its numbers stands there as a text."""
    written = info.mode == "json" and isinstance(value, str) and value.isdecimal() and int(value) > LARGEST
    return int(value) if written else value


SeedNumber: TypeAlias = Annotated[int, Field(ge=0, le=2**64 - 1)]
Seed: TypeAlias = Annotated[
    SeedNumber,
    BeforeValidator(_exact, json_schema_input_type=SeedNumber),
    PlainSerializer(lambda value: value if value <= LARGEST else str(value), return_type=int | str, when_used="json"),
]


class Model(BaseModel):
    """A strict, frozen part of a spec."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)
    whole: ClassVar[bool] = False


class Dataset(Model):
    """A labelled data set: where each split is and what its columns mean."""

    whole: ClassVar[bool] = True
    title: str = Field("", description=TITLE, json_schema_extra=PROSE)
    notes: str = Field("", description=NOTES, json_schema_extra=PROSE)
    license: str = Field("", description="SPDX name of the rows' licence.", json_schema_extra=PROSE)
    format: Literal["csv", "tsv", "jsonl", "json"] = Field(description="How the files are written.")
    splits: dict[Name, str] = Field(
        min_length=1,
        description="Source of each split: `file:PATH` in the project or `local:NAME/PATH`.",
        examples=[{"train": "file:data/train.csv", "validation": "local:rows/dev.csv", "test": "local:rows/test.csv"}],
    )
    columns: tuple[str, ...] = Field(min_length=2, description="Every column that a row has, exactly.")
    id: str = Field("id", description="Column of the row's unique name.")
    text: str = Field("text", description="Column of the text to classify.")
    labels: dict[Name, str] = Field(min_length=1, description="Name of each label, and the column that holds it.")
    groups: dict[Name, str] = Field(default_factory=dict, description="Name of each group, and its column.")
    blank: Literal["reject", "mask"] = Field(
        "reject", description="A row with a blank label: rejected, or left out of that head's loss and scores (mask)."
    )


class PretrainedModel(Model):
    """Pretrained weights with their tokenizer, pinned."""

    whole: ClassVar[bool] = True
    title: str = Field("", description=TITLE, json_schema_extra=PROSE)
    notes: str = Field("", description=NOTES, json_schema_extra=PROSE)
    license: str = Field("", description="SPDX name of the weights' licence.", json_schema_extra=PROSE)
    source: str = Field(
        description="`hf:REPO`, `package:NAME`, `file:FOLDER` or `local:NAME/FOLDER`.",
        examples=["hf:bert-base-multilingual-cased", "file:models/tiny"],
    )
    revision: str = Field("", description="Full commit of a hub repository (40 digits, quoted); version of a package.")
    folder: str = Field("", description="Folder of the model inside a package.")


class Encoder(Model):
    """How texts become vectors."""

    pooling: Literal["cls", "mean", "last4_mean", "attention"] = Field(
        description="A text's vector: first token, mean of the last layer, mean of the last four, learnt attention."
    )
    max_length: Annotated[int, Field(ge=2, le=8192)] = Field(description="Longest input in tokens; longer is cut.")


class HeadShape(Model):
    """Shape of every classification head: `layers` linear layers, ReLU and dropout between them."""

    layers: Annotated[int, Field(ge=1, le=16)] = Field(1, description="Linear layers; the output layer is one of them.")
    hidden: Count = Field(768, description="Width of the layers before the last, in units.")
    dropout: Share = Field(0.1, description="Dropout probability before each linear layer.")


class FocalLoss(Model):
    """Focal loss (Lin et al. 2017) on label-smoothed cross-entropy."""

    kind: Literal["focal"] = Field(description=KIND)
    gamma: NotNegative = Field(2.0, description="Focusing exponent; 0 is cross-entropy.")
    label_smoothing: Share = Field(0.0, description=SMOOTHING)


class CrossEntropy(Model):
    """Label-smoothed cross-entropy."""

    kind: Literal["cross_entropy"] = Field(description=KIND)
    label_smoothing: Share = Field(0.0, description=SMOOTHING)


class BalancedWeights(Model):
    """Class weights rows / (classes × rows of the class), times a multiplier, capped."""

    kind: Literal["balanced"] = Field(description=KIND)
    multipliers: dict[str, Positive] = Field(default_factory=dict, description="Factor per label; 1 where unnamed.")
    cap: Positive = Field(10.0, description="Largest class weight.")


class EqualWeights(Model):
    """Every class weighs 1."""

    kind: Literal["equal"] = Field(description=KIND)


class Head(Model):
    """One classification task on the shared encoder."""

    labels: Labels = Field(description="The classes in the order of the logits.")
    target: Name | None = Field(None, description="Label of the data set that is learnt; the head's name by default.")
    weight: Positive = Field(1.0, description="Weight of this task in the summed loss.")
    loss: Annotated[FocalLoss | CrossEntropy, Field(discriminator="kind", description="Loss of this task.")]
    class_weights: Annotated[
        BalancedWeights | EqualWeights, Field(discriminator="kind", description="What each class weighs in the loss.")
    ]


class Shuffle(Model):
    """Every training row once an epoch, in an order given by the seed."""

    kind: Literal["shuffle"] = Field(description=KIND)


class JointOversampling(Model):
    """As many draws with replacement as there are rows, weighted by the joint cell of all labels.

    A row's weight is min(max_multiplier, (largest cell / its cell) ** alpha) times the boosts of its labels.
    """

    kind: Literal["joint_oversampling"] = Field(description=KIND)
    alpha: NotNegative = Field(0.7, description="0 leaves the distribution as it is, 1 balances the cells.")
    max_multiplier: Annotated[float, Field(ge=1)] = Field(8.0, description="Cap before the boosts.")
    boosts: dict[Name, dict[str, Positive]] = Field(default_factory=dict, description="Factor per head and label.")


class Optimizer(Model):
    """AdamW (Loshchilov and Hutter 2019); biases and normalisation weights are not decayed."""

    kind: Literal["adamw"] = Field(description=KIND)
    weight_decay: NotNegative = Field(0.01, description="Decoupled decay; times the rate, per step.")
    beta1: Share = Field(0.9, description="Decay of the mean of the gradients.")
    beta2: Share = Field(0.999, description="Decay of the mean of their squares.")
    epsilon: Positive = Field(1e-8, description="Added to the denominator.")


class Schedule(Model):
    """Learning rate over the optimizer steps: linear warm-up, then decay to zero."""

    kind: Literal["linear", "cosine"] = Field("linear", description="Form of the decay.")
    warmup_ratio: Share = Field(0.0, description="Share of all steps spent warming up.")


class RDrop(Model):
    """R-Drop (Liang et al. 2021): symmetric KL divergence of two dropout passes."""

    alpha: Positive = Field(description="Weight of the divergence.")
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(0, description="Epochs without it, at the start.")


class EarlyStopping(Model):
    """Stop after `patience` evaluations without a new best."""

    patience: Count = Field(description="Evaluations, one an epoch.")


class Training(Model):
    """How the weights are learnt."""

    epochs: Count = Field(description="Most passes over the training rows.")
    learning_rate: Positive = Field(description="Peak rate of the encoder's top layer.", examples=[2.5e-5])
    schedule: Schedule = Field(Schedule(), description="Learning rate over the steps.")
    optimizer: Optimizer = Field(description="What turns gradients into steps.")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Rate factor per layer towards the input."
    )
    head_multiplier: Positive = Field(1.0, description="Rate factor of the heads and the pooling.")
    rows_per_step: Count = Field(description="Rows of one optimizer step, in the sampler's order.")
    tokens_per_micro_batch: Count = Field(2048, description="Most padded tokens of one forward pass.")
    max_grad_norm: Positive | None = Field(None, description="Gradient norm that is clipped to, over all parameters.")
    head_max_grad_norm: dict[Name, Positive] | None = Field(
        None,
        description="Own gradient norm per head; the other parameters are clipped to max_grad_norm together.",
        json_schema_extra=WHOLE,
    )
    r_drop: RDrop | None = Field(None, description="R-Drop; null is without.")
    best_metric: Metric = Field("overall.f1_macro", description="HEAD.METRIC on `fit_split` that picks the best epoch.")
    early_stopping: EarlyStopping | None = Field(None, description="null trains all epochs.")
    keep_checkpoints: Count = Field(1, description="Resumable checkpoints that are kept while training.")
    seed: Seed = Field(42, description="Of all randomness; no budget counts it.", json_schema_extra=FREE)


class Calibration(Model):
    """Probabilities from logits: softmax(logits / temperature + bias), fitted by maximum likelihood."""

    kind: Literal["none", "temperature", "bias", "bias_and_temperature"] = Field("none", description="What is fitted.")


class Thresholds(Model):
    """A threshold per class, argmax of probability / threshold, fitted for macro-F1 on a grid, pair by pair."""

    kind: Literal["none", "grid"] = Field("none", description="Whether thresholds are fitted.")
    low: Positive = Field(0.3, description="Lowest threshold of the grid.")
    high: Positive = Field(0.7, description="Highest threshold of the grid.")
    steps: Annotated[int, Field(ge=2, le=1001)] = Field(41, description="Thresholds in the grid.")


class Evaluation(Model):
    """What is fitted and scored after training."""

    fit_split: Name = Field("validation", description="Split that chooses, calibrates and tunes.")
    score_split: Name = Field("test", description="Split that is scored.")
    calibration: Calibration = Field(Calibration(), description="Fitted on `fit_split`.")
    thresholds: Thresholds = Field(Thresholds(), description="Fitted on `fit_split`.")
    cross_slices: bool = Field(False, description="Score every head within each label of every other head.")


class Experiment(Model):
    """A resolved run of kind `encoder`."""

    kind: Literal["encoder"] = Field(description="What the run trains: an encoder with classification heads.")
    dataset: Dataset = Field(description="The rows.")
    model: PretrainedModel = Field(description="The pretrained weights that training starts from.")
    encoder: Encoder = Field(description="How texts become vectors.")
    head: HeadShape = Field(description="Shape of every head.")
    heads: dict[Name, Head] = Field(min_length=1, description="The classification tasks, by name.")
    sampling: Annotated[
        Shuffle | JointOversampling, Field(discriminator="kind", description="Which rows an epoch draws.")
    ]
    training: Training = Field(description="How the weights are learnt.")
    evaluation: Evaluation = Field(Evaluation(), description="What is fitted and scored after training.")


class Limits(Model):
    """Caps that a profile sets beside the experiment's own values."""

    epochs: Count | None = Field(None, description="Most epochs; `training.epochs` stays what the run means.")
    steps: Count | None = Field(None, description="Most optimizer steps.")
    rows: Count | None = Field(None, description="Most rows of each split, from its start.")


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
    limits: Limits = Field(Limits(), description="Caps beside the run's own values.")


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
    execution: Execution = Field(Execution(), description="Device, precision and caps.")


SLOTS: dict[str, tuple[str, type[Model]]] = {
    "dataset": ("datasets", Dataset),
    "model": ("models", PretrainedModel),
}


def factor_mark(field: Any) -> str:
    """How a budget treats a field: "" (by its leaves), "whole", "free" or "prose"."""
    extra = field.json_schema_extra
    return str(extra.get("x-factor", "")) if isinstance(extra, dict) else ""
