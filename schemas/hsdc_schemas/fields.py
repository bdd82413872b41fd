"""What specs are made of: strict frozen models, the types of their fields, and what a budget counts.

`Model.whole` marks what a budget counts as one factor; a field marked `PROSE` (names, titles, notes, places in the
spec) enters no digest and no budget, a field marked `FREE` (seeds) enters the digest but no budget.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeAlias

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


Gate: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]


class Model(BaseModel):
    """A strict, frozen part of a spec.

    A default that is a model is made by `model_construct`: to call it would build its validator, wanted or not.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", protected_namespaces=(), defer_build=True)
    whole: ClassVar[bool] = False


def factor_mark(field: Any) -> str:
    """How a budget treats a field: "" (by its leaves), "whole", "free" or "prose"."""
    extra = field.json_schema_extra
    return str(extra.get("x-factor", "")) if isinstance(extra, dict) else ""
