"""The resolved experiment, typed: what a spec means once inheritance, components and the profile are applied.

Every model is strict, frozen and refuses unknown keys. `Model.whole` marks what a budget counts as one factor;
a field marked `PROSE` (names, titles, notes, places in the spec) enters no digest and no budget, a field marked
`FREE` (seeds) enters the digest but no budget.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

PROSE: JsonDict = {"x-factor": "prose"}
FREE: JsonDict = {"x-factor": "free"}
WHOLE: JsonDict = {"x-factor": "whole"}

Name: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
RunName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}(\.[a-z0-9_+-]+)*$", max_length=128)]
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10**9)]
Labels: TypeAlias = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=2)]
Metric: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z0-9_]+(\[[^\]]+\])?(@[a-z0-9_]+=[^=]+)?$")]


class Model(BaseModel):
    """A strict, frozen part of a spec."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", protected_namespaces=())
    whole: ClassVar[bool] = False


class Dataset(Model):
    """A labelled data set: where each split is and what its columns mean."""

    whole: ClassVar[bool] = True
    title: str = Field("", json_schema_extra=PROSE)
    notes: str = Field("", json_schema_extra=PROSE)
    license: str = Field("", description="SPDX name of the rows' licence.", json_schema_extra=PROSE)
    format: Literal["csv", "tsv", "jsonl", "json"] = Field(description="How the files are written.")
    splits: dict[Name, str] = Field(
        min_length=1, description="Source of each split: `file:PATH` in the project or `local:NAME/PATH`."
    )
    columns: tuple[str, ...] = Field(min_length=2, description="Every column that a row has, exactly.")
    id: str = Field("id", description="Column of the row's unique name.")
    text: str = Field("text", description="Column of the text to classify.")
    labels: dict[Name, str] = Field(min_length=1, description="Name of each label and the column that holds it.")
    groups: dict[Name, str] = Field(default_factory=dict, description="Name of each group and its column.")
    blank: Literal["reject", "mask"] = Field(
        "reject", description="A row with a blank label: rejected, or masked in that head's loss and scores."
    )


class PretrainedModel(Model):
    """Pretrained weights with their tokenizer, pinned."""

    whole: ClassVar[bool] = True
    title: str = Field("", json_schema_extra=PROSE)
    notes: str = Field("", json_schema_extra=PROSE)
    license: str = Field("", json_schema_extra=PROSE)
    source: str = Field(description="`hf:REPO`, `package:NAME`, `file:FOLDER` or `local:NAME/FOLDER`.")
    revision: str = Field("", description="Full commit of a hub repository; version of a package.")
    folder: str = Field("", description="Folder of the model inside a package.")


class Encoder(Model):
    """How texts become vectors."""

    pooling: Literal["cls", "mean", "last4_mean", "attention"] = Field(
        description="A text's vector: first token, mean of the last layer, mean of the last four, learnt attention."
    )
    max_length: Annotated[int, Field(ge=2, le=8192)] = Field(description="Longest input, in tokens; longer is cut.")


class HeadShape(Model):
    """Shape of every classification head: `layers` linear layers, ReLU and dropout between them."""

    layers: Annotated[int, Field(ge=1, le=16)] = Field(1, description="Linear layers, the output layer included.")
    hidden: Count = Field(768, description="Width of the layers before the last.")
    dropout: Share = Field(0.1, description="Dropout probability before each linear layer.")


class FocalLoss(Model):
    """Focal loss (Lin et al. 2017) on label-smoothed cross-entropy."""

    kind: Literal["focal"]
    gamma: NotNegative = Field(2.0, description="Focusing exponent; 0 is cross-entropy.")
    label_smoothing: Share = Field(0.0, description="Probability mass spread over all classes.")


class CrossEntropy(Model):
    """Label-smoothed cross-entropy."""

    kind: Literal["cross_entropy"]
    label_smoothing: Share = 0.0


class BalancedWeights(Model):
    """Class weights rows / (classes × rows of the class), times a multiplier, capped."""

    kind: Literal["balanced"]
    multipliers: dict[str, Positive] = Field(default_factory=dict, description="Factor per label; 1 where unnamed.")
    cap: Positive = Field(10.0, description="Largest class weight.")


class EqualWeights(Model):
    """Every class weighs 1."""

    kind: Literal["equal"]


class Head(Model):
    """One classification task on the shared encoder."""

    labels: Labels = Field(description="The classes, in the order of the logits.")
    target: Name | None = Field(None, description="Label of the data set that is learnt; the head's name by default.")
    weight: Positive = Field(1.0, description="Weight of this task in the summed loss.")
    loss: Annotated[FocalLoss | CrossEntropy, Field(discriminator="kind")]
    class_weights: Annotated[BalancedWeights | EqualWeights, Field(discriminator="kind")]


class Shuffle(Model):
    """Every training row once an epoch, in an order given by the seed."""

    kind: Literal["shuffle"]


class JointOversampling(Model):
    """As many draws with replacement as there are rows, weighted by the joint cell of all labels.

    A row's weight is min(max_multiplier, (largest cell / its cell) ** alpha) times the boosts of its labels.
    """

    kind: Literal["joint_oversampling"]
    alpha: NotNegative = Field(0.7, description="0 leaves the distribution as it is, 1 balances the cells.")
    max_multiplier: Annotated[float, Field(ge=1)] = Field(8.0, description="Cap before the boosts.")
    boosts: dict[Name, dict[str, Positive]] = Field(default_factory=dict, description="Factor per head and label.")


class Optimizer(Model):
    """AdamW (Loshchilov and Hutter 2019); biases and normalisation weights are not decayed."""

    kind: Literal["adamw"]
    weight_decay: NotNegative = 0.01
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Positive = 1e-8


class Schedule(Model):
    """Learning rate over the optimizer steps: linear warm-up, then decay to zero."""

    kind: Literal["linear", "cosine"] = "linear"
    warmup_ratio: Share = Field(0.0, description="Share of all steps spent warming up.")


class RDrop(Model):
    """R-Drop (Liang et al. 2021): symmetric KL divergence of two dropout passes."""

    alpha: Positive = Field(description="Weight of the divergence.")
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(0, description="Epochs without it, at the start.")


class EarlyStopping(Model):
    """Stop after `patience` evaluations without a new best."""

    patience: Count


class Training(Model):
    """How the weights are learnt."""

    epochs: Count
    learning_rate: Positive = Field(description="Peak rate of the encoder's top layer.")
    schedule: Schedule = Schedule()
    optimizer: Optimizer
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
    r_drop: RDrop | None = None
    best_metric: Metric = Field("overall.f1_macro", description="Validation metric that chooses the checkpoint.")
    early_stopping: EarlyStopping | None = None
    keep_checkpoints: Count = Field(1, description="Resumable checkpoints that are kept while training.")
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] = Field(42, json_schema_extra=FREE)


class Calibration(Model):
    """Probabilities from logits: softmax(logits / temperature + bias), fitted by maximum likelihood."""

    kind: Literal["none", "temperature", "bias", "bias_and_temperature"] = "none"


class Thresholds(Model):
    """A threshold per class, argmax of probability / threshold, fitted for macro-F1 on a grid, pair by pair."""

    kind: Literal["none", "grid"] = "none"
    low: Positive = 0.3
    high: Positive = 0.7
    steps: Annotated[int, Field(ge=2, le=1001)] = 41


class Evaluation(Model):
    """What is fitted and scored after training."""

    fit_split: Name = Field("validation", description="Split that chooses, calibrates and tunes.")
    score_split: Name = Field("test", description="Split that is scored.")
    calibration: Calibration = Calibration()
    thresholds: Thresholds = Thresholds()
    cross_slices: bool = Field(False, description="Score every head within each label of every other head.")


class Experiment(Model):
    """A resolved run of kind `encoder`."""

    kind: Literal["encoder"]
    dataset: Dataset
    model: PretrainedModel
    encoder: Encoder
    head: HeadShape
    heads: dict[Name, Head] = Field(min_length=1)
    sampling: Annotated[Shuffle | JointOversampling, Field(discriminator="kind")]
    training: Training
    evaluation: Evaluation = Evaluation()


class Limits(Model):
    """Caps that a profile sets beside the experiment's own values."""

    epochs: Count | None = None
    steps: Count | None = Field(None, description="Most optimizer steps.")
    rows: Count | None = Field(None, description="Most rows of each split, from its start.")


class Execution(Model):
    """Where a run happens: what a profile decides."""

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: Annotated[int, Field(ge=1, le=1024)] = Field(1, description="Compute threads of the CPU.")
    attention: Literal["eager", "sdpa"] = "sdpa"
    gradient_checkpointing: bool = Field(
        False,
        description="Recompute activations in the backward pass: less memory, a third more work, the same result.",
    )
    limits: Limits = Limits()


class Reproduces(Model):
    """A claim to test: this run gives what another run gave, or what was reported of it."""

    run: RunName
    metric: Metric | None = None
    reported: float | None = None
    within: NotNegative | None = None


class Profile(Model):
    """Binds a campaign to a place: whole components for whole components, caps, device."""

    title: str = ""
    notes: str = ""
    bind: dict[Name, dict[Name, Name]] = Field(
        default_factory=dict, description="For each slot, the component that stands in for the one a spec names."
    )
    execution: Execution = Execution()


SLOTS: dict[str, tuple[str, type[Model]]] = {
    "dataset": ("datasets", Dataset),
    "model": ("models", PretrainedModel),
}


def factor_mark(field: Any) -> str:
    """How a budget treats a field: "" (by its leaves), "whole", "free" or "prose"."""
    extra = field.json_schema_extra
    return str(extra.get("x-factor", "")) if isinstance(extra, dict) else ""
