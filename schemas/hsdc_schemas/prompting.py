"""Kind `prompt`: a causal language model answers one question about each text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hsdc_schemas.components import Dataset, Endpoint, PretrainedModel
from hsdc_schemas.fields import (
    FREE,
    KIND,
    NOTES,
    PROSE,
    TITLE,
    Count,
    Gate,
    Labels,
    Model,
    Name,
    NotNegative,
    RunName,
    Seed,
)

Method = Literal["generate", "rank"]
Tolerated = Literal["space", "case", "punctuation", "markup", "prose", "thinking"]
TOLERATED: tuple[Tolerated, ...] = ("space", "case", "punctuation", "markup", "prose", "thinking")


class Example(Model):
    """A text with its answer, shown before the question."""

    text: str = Field(min_length=1, description="The example's text.")
    label: str = Field(min_length=1, description="Its label, one of the task's.")
    fields: dict[Name, str] = Field(
        default_factory=dict, description="Further fields of its answer, where the format has them."
    )


class _Format(Model):
    """What every format has."""

    tolerate: tuple[Tolerated, ...] = Field(
        TOLERATED,
        description="What may vary where an answer is read: blanks, case, punctuation after the label, quotes and "
        "emphasis around it (markup), text around a JSON object (prose), a leading <think> block (thinking).",
    )


class Number(Model):
    """A number that an answer says beside its label; the row's field of the same name, where there is one, is right."""

    minimum: float = Field(0.0, allow_inf_nan=False, description="Least that it may be; one below is not read.")
    maximum: float = Field(1.0, allow_inf_nan=False, description="Most that it may be; one above is not read.")


Numbers = dict[Name, Number]
NUMBERS = "Numbers that an answer says beside its label, for figures such as mean[NAME]."


class JsonAnswer(_Format):
    """One JSON object, alone, in a fence or (prose) with text around it."""

    kind: Literal["json"] = Field(description=KIND)
    field: Name = Field("classification", description="Key of the label.")
    fields: tuple[Name, ...] = Field((), description="Further keys that the object may have.")
    numbers: Numbers = Field(default_factory=dict, description=f"{NUMBERS} Each is a key of the object.")


class LabelAnswer(_Format):
    """The bare label."""

    kind: Literal["label"] = Field(description=KIND)


class LastLineAnswer(_Format):
    """Any text whose last line is the lead and the label."""

    kind: Literal["last_line"] = Field(description=KIND)
    lead: str = Field("Answer:", description="What stands before the label on the last line.")


class TextAnswer(_Format):
    """Any text with the label behind a marker; what is taught is a field of the row."""

    kind: Literal["text"] = Field(description=KIND)
    marker: str = Field(min_length=1, description="What stands before the label.", examples=["status:"])
    field: Name = Field("response", description="The row's field that holds the answer to learn.")
    numbers: Numbers = Field(default_factory=dict, description=f"{NUMBERS} Each is alone behind 'NAME:' on a line.")


class Prompt(Model):
    """What is asked: sandboxed Jinja2 templates over `text`, `fields`, `labels`, `examples` and the blocks."""

    whole: ClassVar[bool] = True
    title: str = Field("", description=TITLE, json_schema_extra=PROSE)
    notes: str = Field("", description=NOTES, json_schema_extra=PROSE)
    system: str = Field("", description="Template of the system message; blank renders none.")
    user: str = Field(min_length=1, description="Template of the user message.", examples=["Post: {{ text }}"])
    persona: str = Field("", description="Who answers; a block for the templates.")
    policy: str = Field("", description="The rules that decide; a block for the templates.")
    context: str = Field("", description="What to know about the texts; a block for the templates.")
    guidance: str = Field("", description="How to go about it; a block for the templates.")
    examples: tuple[Example, ...] = Field((), description="Texts with answers, in this order.")
    shots: Literal["turns", "text"] = Field(
        "turns", description="Examples as turns of the chat, or left to the templates (text)."
    )
    format: Annotated[JsonAnswer | LabelAnswer | LastLineAnswer | TextAnswer, Field(discriminator="kind")] = Field(
        description="How the answer is written, hence how it is read."
    )


Format = JsonAnswer | LabelAnswer | LastLineAnswer | TextAnswer


def ranges_of(format: Format) -> dict[str, tuple[float, float]]:
    """The numbers of an answer of this form, each with the least and the most that it may be."""
    numbers = format.numbers if isinstance(format, JsonAnswer | TextAnswer) else {}
    return {name: (number.minimum, number.maximum) for name, number in numbers.items()}


class Task(Model):
    """What is decided about each text."""

    target: Name = Field(description="Label of the data set that answers are held against; names the scores.")
    labels: Labels = Field(description="The answers that are allowed.")
    positive: str | None = Field(None, description="The label whose probability the areas under curves are of.")


class Answer(Model):
    """How the model's choice is taken."""

    method: Method = Field(description="Text that is generated and parsed, or the likelihood of each label (rank).")
    allows: tuple[Method, ...] = Field((), description="Other methods that a profile may choose.")
    normalise: Literal["sum", "mean"] = Field(
        "sum", description="Of a ranked label's log-likelihood: the sum over its tokens, or their mean."
    )


class Generation(Model):
    """How text is generated; without `sample` the likeliest token is taken."""

    max_tokens: Count = Field(512, description="Most new tokens.")
    sample: bool = Field(False, description="Draw tokens instead of taking the likeliest.")
    temperature: NotNegative | None = Field(None, description="Divides the logits before drawing.")
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(None, description="Draw from the likeliest share.")
    top_k: Count | None = Field(None, description="Draw from the likeliest so many.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="Texts that end the answer.")
    seed: Seed = Field(42, description="Of the draws; no budget counts it.", json_schema_extra=FREE)


class AnswerEvaluation(Model):
    """Which rows are asked about, and how their answers are scored."""

    split: Name = Field("test", description="Split that is scored.")
    subset: Name | None = Field(None, description="A subset of that split, in its place.")
    unparseable: Literal["wrong", "drop", "error"] = Field(
        "wrong", description="An answer that cannot be read: counted as wrong, left out, or a failure of the run."
    )
    background: str | None = Field(
        None, description="Group of the rows that bias areas compare with; null takes all rows outside a group."
    )
    against: RunName | None = Field(None, description="The run that `delta.` gates compare with.")
    gates: tuple[Gate, ...] = Field(
        (), description="Inequalities that decide the verdict.", examples=[["f1_macro >= 0.62", "fpr[hate] < 0.35"]]
    )


class PromptExperiment(Model):
    """A resolved run of kind `prompt`."""

    kind: Literal["prompt"] = Field(description="What the run does: it asks a causal language model.")
    dataset: Dataset = Field(description="The rows.")
    model: Annotated[PretrainedModel | Endpoint, Field(discriminator="kind")] = Field(
        description="The model that is asked."
    )
    prompt: Prompt = Field(description="What it is asked.")
    task: Task = Field(description="What is decided about each text.")
    answer: Answer = Field(description="How the model's choice is taken.")
    generation: Generation | None = Field(None, description="How text is generated; null where nothing is.")
    evaluation: AnswerEvaluation = Field(
        AnswerEvaluation.model_construct(), description="Which rows are scored, and how."
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
        return (self.evaluation.split,)

    @property
    def subset(self) -> str | None:
        """The subset that stands in for a split."""
        return self.evaluation.subset
