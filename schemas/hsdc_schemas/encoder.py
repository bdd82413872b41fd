"""Kind `encoder`: classification heads on a pretrained encoder, all of it trained, or an adapter and the heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from hsdc_schemas.adapters import HEADS, POOLING, LowRank
from hsdc_schemas.components import Dataset, PretrainedModel
from hsdc_schemas.fields import (
    FREE,
    KIND,
    SMOOTHING,
    WHOLE,
    Count,
    Gate,
    Labels,
    Metric,
    Model,
    Name,
    NotNegative,
    Positive,
    RunName,
    Seed,
    Share,
)


class Encoder(Model):
    """How texts become vectors."""

    pooling: Literal["cls", "mean", "last4_mean", "attention"] = Field(
        description="A text's vector: first token, mean of the last layer, mean of the last four, learnt attention."
    )
    max_length: Annotated[int, Field(ge=2, le=8192)] = Field(description="Longest input in tokens; longer is cut.")

    @property
    def beside(self) -> tuple[str, ...]:
        """What is learnt beside the encoder's own weights, as an adapter's `saves` names it."""
        return (HEADS, POOLING) if self.pooling == "attention" else (HEADS,)


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
    schedule: Schedule = Field(Schedule.model_construct(), description="Learning rate over the steps.")
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
    calibration: Calibration = Field(Calibration.model_construct(), description="Fitted on `fit_split`.")
    thresholds: Thresholds = Field(Thresholds.model_construct(), description="Fitted on `fit_split`.")
    cross_slices: bool = Field(False, description="Score every head within each label of every other head.")
    against: RunName | None = Field(None, description="The run that `delta.` gates compare with.")
    gates: tuple[Gate, ...] = Field(
        (), description="Inequalities that decide the verdict.", examples=[["overall.f1_macro >= 0.62"]]
    )


class EncoderExperiment(Model):
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
    adapter: LowRank | None = Field(
        None, description="Trained in place of the encoder's own weights, which stay; null trains all of them."
    )
    training: Training = Field(description="How the weights are learnt.")
    evaluation: Evaluation = Field(
        Evaluation.model_construct(), description="What is fitted and scored after training."
    )

    @property
    def tasks(self) -> Mapping[str, tuple[str, tuple[str, ...]]]:
        """Per head, the label of the data set that it learns and the labels that it knows."""
        return {name: (head.target or name, head.labels) for name, head in self.heads.items()}

    @property
    def numbers(self) -> Mapping[str, tuple[float, float]]:
        """An encoder says no numbers."""
        return {}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the data set that the run reads."""
        return tuple(self.dataset.splits)

    @property
    def subset(self) -> str | None:
        """The subset that stands in for a split."""
        return None
