"""A low-rank adapter: what every kind of run that trains one says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from hsdc_schemas.fields import KIND, Model, Positive, Share
from hsdc_schemas.stages import typed

ALL_LINEAR = "all-linear"
HEADS, POOLING = "heads", "pooling"
"""What an encoder run trains beside its encoder, as `saves` names it."""


class LowRank(Model):
    """Low-rank adaptation (Hu et al. 2021): weights stay, a product of two thin matrices is added to some of them."""

    whole: ClassVar[bool] = True
    kind: Literal["lora"] = Field(description=KIND)
    r: Annotated[int, Field(ge=1, le=4096)] = Field(description="Rank of the product.")
    alpha: Positive = Field(description="The product is scaled by alpha / r, or alpha / sqrt(r) if rank_stabilised.")
    dropout: Share = Field(0.0, description="Dropout probability before the product.")
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Modules that are adapted, by the end of their name; `all-linear` alone takes all but the head.",
        examples=[["q_proj", "k_proj", "v_proj", "o_proj"], ["query", "value"], [ALL_LINEAR]],
    )
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Biases that are trained too.")
    saves: tuple[str, ...] = Field(
        (),
        description="Modules that are trained whole, and saved with the adapter, by the end of their name; an encoder "
        "run's `heads`, and its `pooling` where that is learnt, have to be.",
        examples=[["heads"], ["heads", "pooling"]],
    )
    rank_stabilised: bool = Field(False, description="Scale as rsLoRA does (Kalajdzievski 2023).")
    dora: bool = Field(False, description="Split weights into magnitude and direction (Liu et al. 2024).")


def adapter_of(experiment: Mapping[str, Any]) -> LowRank | None:
    """The adapter in the part of an experiment that a stage reads; None where all weights are trained."""
    return typed(LowRank, experiment["adapter"]) if "adapter" in experiment else None
