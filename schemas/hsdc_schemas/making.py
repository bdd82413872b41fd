"""Kind `data`: rows from files of declared shapes, filtered, split, checked and written for training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from hsdc_schemas.components import PretrainedModel
from hsdc_schemas.fields import FREE, KIND, NOTES, PROSE, TITLE, Count, Model, Name, Seed
from hsdc_schemas.prompting import Prompt, Task

Path = Annotated[str, Field(min_length=1, max_length=256)]


class FieldShape(Model):
    """What a record holds at a path."""

    type: Literal["text", "number", "integer", "truth", "texts"] = Field("text", description="`texts` is a list.")
    required: bool = Field(True, description="Whether the key is there.")
    nullable: bool = Field(False, description="Whether it may be null.")
    allowed: tuple[str, ...] = Field((), description="The texts that it may be; none means any.")
    minimum: float | None = Field(None, description="Least number.")
    maximum: float | None = Field(None, description="Largest number.")


class Take(Model):
    """Where a column's value comes from in a record."""

    path: Path | None = Field(None, description="Dotted path of a field.")
    pattern: str | None = Field(
        None, max_length=1000, description="Regular expression, as RE2 reads it; its one group is taken."
    )
    value: str | None = Field(None, description="This text, in every row.")
    values: dict[str, str] = Field(default_factory=dict, description="What some values become; others stay.")


class Shape(Model):
    """The form of a record: its fields by dotted path, exactly, and the columns that are taken from it."""

    fields: dict[Path, FieldShape] = Field(min_length=1, description="Every field that a record has, by dotted path.")
    columns: dict[Name, Path | Take] = Field(min_length=1, description="Each column: a field's path, or more.")


class Source(Model):
    """A file of records."""

    source: str = Field(
        description="`file:PATH`, `local:NAME/PATH` or `hf:REPO`.", examples=["file:data/unified_train.json"]
    )
    revision: str = Field("", description="Full commit of a hub data set.")
    files: str = Field("", description="The file in a hub data set.")
    format: Literal["csv", "tsv", "jsonl", "json", "parquet"] = Field(description="How the file is written.")
    shapes: Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="The shapes that its records may have; the first that fits is taken."
    )
    split: Name | None = Field(None, description="The split that all its rows belong to.")
    license: str = Field("", description="Under which terms it was had; for the data card.", examples=["MIT"])


class Between(Model):
    """Bounds, both included."""

    minimum: float | None = Field(None, description="The least.")
    maximum: float | None = Field(None, description="The most.")


class Expect(Model):
    """What the result must be, or the run fails."""

    rows: dict[Name, Between] = Field(default_factory=dict, description="Rows per split; `all` is their sum.")
    counts: dict[Name, dict[str, Between]] = Field(
        default_factory=dict, description="Per column and value, rows over all splits."
    )
    shares: dict[Name, dict[str, Between]] = Field(
        default_factory=dict, description="Per column and value, the share of all rows."
    )


class Corpus(Model):
    """Files of records, the forms that their records have, and what is known of them beforehand."""

    whole: ClassVar[bool] = True
    title: str = Field("", description=TITLE, json_schema_extra=PROSE)
    notes: str = Field("", description=NOTES, json_schema_extra=PROSE)
    shapes: dict[Name, Shape] = Field(min_length=1, description="The forms of records, by name.")
    sources: dict[Name, Source] = Field(min_length=1, description="The files, by name.")
    rejects: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict, description="Records that may be rejected, by the code of the reason; no others may."
    )
    expect: Expect = Field(
        Expect(), description="What a run must make of these records, beside what the run itself expects."
    )


class AtLeast(Model):
    """Keep rows whose number is large enough."""

    kind: Literal["at_least"] = Field(description=KIND)
    column: Name = Field(description="The column.")
    minimum: float = Field(description="The least that is kept.")


class Length(Model):
    """Keep rows whose text is neither too short nor too long."""

    kind: Literal["length"] = Field(description=KIND)
    column: Name = Field(description="The column.")
    minimum: Annotated[int, Field(ge=0)] = Field(0, description="Fewest characters.")
    maximum: Count | None = Field(None, description="Most characters.")


class OneOf(Model):
    """Keep rows with certain values."""

    kind: Literal["one_of"] = Field(description=KIND)
    column: Name = Field(description="The column.")
    values: Annotated[tuple[str, ...], Field(min_length=1)] = Field(description="The values that are kept.")


class Distinct(Model):
    """Keep the first of rows that are the same after normalisation: case, blanks, Unicode form."""

    kind: Literal["distinct"] = Field(description=KIND)
    column: Name = Field(description="The column.")


class NotSimilar(Model):
    """Keep the first of rows that are nearly the same, by MinHash over words (Broder 1997)."""

    kind: Literal["not_similar"] = Field(description=KIND)
    column: Name = Field(description="The column.")
    similarity: Annotated[float, Field(gt=0, lt=1)] = Field(0.8, description="Jaccard similarity of sets of shingles.")
    shingle: Annotated[int, Field(ge=1, le=10)] = Field(3, description="Words of one shingle.")


class GivenSplits(Model):
    """Splits that a column names."""

    kind: Literal["given"] = Field(description=KIND)
    column: Name = Field("split", description="The column.")
    names: dict[str, Name] = Field(
        min_length=1, description="Its values that are taken, and the splits that they name."
    )
    on_missing: Literal["error", "use_all"] = Field(
        "error", description="A source none of whose rows is of its own split: an error, or all of its rows are."
    )


class DrawnSplits(Model):
    """Splits that are drawn, by shares."""

    kind: Literal["drawn"] = Field(description=KIND)
    shares: dict[Name, Annotated[float, Field(gt=0, lt=1)]] = Field(min_length=2, description="Share of each split.")
    stratify: tuple[Name, ...] = Field((), description="Columns whose joint shares are kept.")
    group: Name | None = Field(None, description="Column whose value never straddles splits.")
    seed: Seed = Field(42, description="Of the draw.", json_schema_extra=FREE)


class SourceSplits(Model):
    """The split that each source declares."""

    kind: Literal["source"] = Field(description=KIND)


class Leakage(Model):
    """What counts as the same text in two splits."""

    column: Name = Field("text", description="The column.")
    exact: Literal["raise", "drop", "allow"] = Field("raise", description="The same after normalisation.")
    similar: Literal["raise", "drop", "allow"] = Field("raise", description="Nearly the same, by MinHash.")
    similarity: Annotated[float, Field(gt=0, lt=1)] = Field(0.9, description="From which on texts are nearly the same.")


class Sample(Model):
    """At most so many rows of each split."""

    rows: Count = Field(description="Most rows.")
    stratify: Name | None = Field(None, description="Column whose shares are kept.")
    seed: Seed = Field(42, description="Of the draw.", json_schema_extra=FREE)


class RowsOutput(Model):
    """The columns, as they are."""

    kind: Literal["rows"] = Field(description=KIND)
    format: Literal["jsonl", "parquet"] = Field("jsonl", description="How it is written.")


class ChatOutput(Model):
    """Conversations with their answers, by the run's prompt: one `messages` list a line."""

    kind: Literal["chat"] = Field(description=KIND)


class PairsOutput(Model):
    """A prompt and a response a line, by Jinja2 templates over the columns."""

    kind: Literal["pairs"] = Field(description=KIND)
    prompt: str = Field(min_length=1, description="Template of the prompt.")
    response: str = Field(min_length=1, description="Template of the response.")


class LengthLimit(Model):
    """Tokens that a written row may have."""

    maximum: Count = Field(description="Most tokens, by the tokenizer of `model`.")
    over: Literal["raise", "truncate", "drop"] = Field("raise", description="What becomes of a longer row.")


class About(Model):
    """What the card and the metadata say that the rows do not."""

    name: str = Field("", max_length=200, description="What the data set is called.")
    description: str = Field("", description="What it holds and what it is for.")
    license: str = Field(
        "",
        description="Under which terms it is given, as SPDX writes them; by default those of all sources.",
        examples=["Apache-2.0"],
    )
    url: str = Field("", description="Where it is described.")


class DataExperiment(Model):
    """A resolved run of kind `data`."""

    kind: Literal["data"] = Field(description="What the run does: it makes a data set.")
    corpus: Corpus = Field(description="The records: files of declared shapes.")
    id: Name = Field("id", description="Column of a row's unique name.")
    text: Name = Field("text", description="Column of the text.")
    filters: tuple[Annotated[AtLeast | Length | OneOf | Distinct | NotSimilar, Field(discriminator="kind")], ...] = (
        Field((), description="What rows must pass, in this order; each is counted by its name.")
    )
    splits: Annotated[GivenSplits | DrawnSplits | SourceSplits, Field(discriminator="kind")] = Field(
        description="Which split a row is in."
    )
    leakage: Leakage = Field(Leakage.model_construct(), description="Texts that stand in two splits.")
    sample: Sample | None = Field(None, description="A draw from each split; null keeps all.")
    expect: Expect = Field(Expect.model_construct(), description="What the result must be.")
    task: Task | None = Field(None, description="Which column is the answer, where conversations are written.")
    prompt: Prompt | None = Field(None, description="What is asked, where conversations are written.")
    model: PretrainedModel | None = Field(None, description="Whose tokenizer counts, where lengths are limited.")
    length: LengthLimit | None = Field(None, description="Most tokens of a written row.")
    about: About = Field(About.model_construct(), description="For the data card and the metadata.")
    outputs: dict[Name, Annotated[RowsOutput | ChatOutput | PairsOutput, Field(discriminator="kind")]] = Field(
        min_length=1, description="What is written, by name; each holds every split."
    )

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that are made: what is trained on first, `test` last, the others between by name."""
        match self.splits:
            case GivenSplits(names=names):
                found = tuple(names.values())
            case DrawnSplits(shares=shares):
                found = tuple(shares)
            case SourceSplits():
                found = tuple(source.split or "all" for source in self.corpus.sources.values())
        return tuple(sorted(set(found), key=lambda name: (name != "train", name == "test", name)))

    @property
    def tasks(self) -> Mapping[str, Any]:
        """A data run scores nothing."""
        return {}
