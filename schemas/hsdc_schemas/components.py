"""The components that slots name: data sets, models, endpoints."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hsdc_schemas.fields import KIND, NOTES, PROSE, TITLE, Count, Model, Name, NotNegative, Seed


class Group(Model):
    """Rows that a score is also shown for: those whose column holds one of some values. A row may be in several."""

    column: str = Field(description="Column of the row's groups: a text, or (JSON) a list of texts.")
    values: Annotated[tuple[str, ...], Field(min_length=1)] = Field(description="What puts a row into the group.")


class Subset(Model):
    """The first rows of a draw from a split, a function of their ids and the seed alone."""

    split: Name = Field(description="The split that rows are drawn from.")
    rows: Count = Field(description="Rows that are drawn.")
    stratify: Name | None = Field(None, description="Label whose shares are kept, to the nearest row.")
    seed: Seed = Field(42, description="Of the draw.")


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
    values: dict[Name, dict[str, str | None]] = Field(
        default_factory=dict,
        description="Per label, what a value of its column counts as; null filters the rows that hold it.",
        examples=[{"label": {"hatespeech": "hate", "offensive": "hate", "normal": "normal"}}],
    )
    groups: dict[Name, Group] = Field(default_factory=dict, description="The groups that rows may belong to, by name.")
    fields: dict[Name, str] = Field(
        default_factory=dict,
        description="Further texts and numbers of a row, by name, and their columns: for prompts and answers.",
    )
    separator: str = Field(";", min_length=1, description="Between the entries of one cell of a group's column.")
    cluster: str | None = Field(None, description="Column of what rows share that are not independent: author, thread.")
    subsets: dict[Name, Subset] = Field(default_factory=dict, description="Named draws of rows, each from one split.")
    blank: Literal["reject", "mask"] = Field(
        "reject", description="A row with a blank label: rejected, or left out of that head's loss and scores (mask)."
    )


class PretrainedModel(Model):
    """Pretrained weights with their tokenizer, pinned."""

    whole: ClassVar[bool] = True
    kind: Literal["pretrained"] = Field("pretrained", description=KIND)
    title: str = Field("", description=TITLE, json_schema_extra=PROSE)
    notes: str = Field("", description=NOTES, json_schema_extra=PROSE)
    license: str = Field("", description="SPDX name of the weights' licence.", json_schema_extra=PROSE)
    source: str = Field(
        description="`hf:REPO`, `package:NAME`, `file:FOLDER` or `local:NAME/FOLDER`.",
        examples=["hf:bert-base-multilingual-cased", "file:models/tiny"],
    )
    revision: str = Field("", description="Full commit of a hub repository (40 digits, quoted); version of a package.")
    folder: str = Field("", description="Folder of the model inside a package.")
    gguf: str = Field(
        "",
        pattern=r"^([^/\\*?\[\]]+\.gguf)?$",
        description="A GGUF file in the folder, in place of safetensors; converted once.",
    )
    remote_code: bool = Field(False, description="Run the model's own code, which is pinned with the rest.")


class Prices(Model):
    """What an endpoint's tokens cost, in the currency of its bill."""

    input_per_million: NotNegative = Field(description="Per million tokens of prompts.")
    output_per_million: NotNegative = Field(description="Per million tokens of answers.")


class Endpoint(Model):
    """A model behind an OpenAI-compatible endpoint: known by its name there, not by its bytes."""

    whole: ClassVar[bool] = True
    kind: Literal["endpoint"] = Field(description=KIND)
    title: str = Field("", description=TITLE, json_schema_extra=PROSE)
    notes: str = Field("", description=NOTES, json_schema_extra=PROSE)
    url: str = Field(
        pattern=r"^(https?://[^\s?#@]+|local:[A-Za-z0-9_][A-Za-z0-9._-]*)$",
        description="Base URL, up to and with /v1; or `local:NAME`, which .hsdc/sources.toml gives under [endpoints].",
        examples=["https://api.example.org/v1", "local:gpu_box"],
    )
    served: str = Field(min_length=1, description="The model's name at the endpoint.")
    key: str | None = Field(
        None,
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="The environment variable that holds the key; never the key itself.",
    )
    limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="The parameter that limits an answer's tokens."
    )
    json_schema: bool = Field(False, description="Whether the endpoint takes a JSON Schema for its answers.")
    prices: Prices | None = Field(None, description="What tokens cost; null where nobody counts.")
