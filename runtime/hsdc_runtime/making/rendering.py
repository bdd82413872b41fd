"""What is written of a row: its columns, a conversation with its answer, or a prompt and its response."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hsdc_runtime.conversation import Conversation, rendered
from hsdc_runtime.making.kept import Columns
from hsdc_schemas.errors import Exit, HsdcError, did_you_mean, fail
from hsdc_schemas.making import ChatOutput, PairsOutput, RowsOutput
from hsdc_schemas.prompting import JsonAnswer, Prompt, Task, TextAnswer, ranges_of
from hsdc_schemas.records import shown
from hsdc_schemas.wording import worded

FAILS = "E446"
Render = Callable[[Columns], Mapping[str, Any]]


def rendering(
    output: ChatOutput | PairsOutput | RowsOutput,
    names: Sequence[str],
    columns: tuple[str, str],
    prompt: Prompt | None,
    task: Task | None,
) -> Render:
    """How rows of these columns are written; `columns` are those of id and text."""
    place = names.index(columns[0])
    match output:
        case ChatOutput():
            assert prompt is not None  # the compiler asks for both
            assert task is not None
            return _naming_rows(chat(names, columns, prompt, task), place)
        case PairsOutput(prompt=asked, response=response):
            return _naming_rows(pairs(names, asked, response), place)
        case RowsOutput():
            return lambda row: dict(zip(names, row, strict=True))


def _naming_rows(render: Render, place: int) -> Render:
    """The same, with the row in what is said where a template fails on it."""

    def named(row: Columns) -> Mapping[str, Any]:
        try:
            return render(row)
        except HsdcError as error:
            first = error.diagnostics[0]
            if first.code != FAILS:
                raise
            hint = "mend the template; what may be null is shown by {{ NAME or '' }}, or under {% if NAME %}"
            message = f"row {shown(row[place])}: {first.message}"
            raise HsdcError([replace(first, message=message, hint=hint)]) from None

    return named


def chat(names: Sequence[str], columns: tuple[str, str], prompt: Prompt, task: Task) -> Render:
    """The messages that ask about a row, as evaluation puts them, and the answer that means its label.

    Templates and answers find the other columns that hold texts as fields; a null one is no field.
    """
    conversation = Conversation(prompt, task.labels)
    place, text, target = names.index(columns[0]), names.index(columns[1]), names.index(task.target)
    others = [(at, name) for at, name in enumerate(names) if at not in (place, text)]
    form, labels = prompt.format, frozenset(task.labels)
    needed = (form.field,) if isinstance(form, TextAnswer) else ()
    further, numbers = form.fields if isinstance(form, JsonAnswer) else needed, tuple(ranges_of(form))

    def render(row: Columns) -> Mapping[str, Any]:
        label = row[target]
        if label not in labels:
            message = f"{shown(str(label))} of row {shown(row[place])} is no label of the task '{task.target}'"
            hint = did_you_mean(str(label)[:64], task.labels)
            raise fail("E606", Exit.NO, message, None, f"{hint}; or filter such rows")
        fields = {name: row[at] for at, name in others if isinstance(row[at], str)}
        for name in needed:
            if name not in fields:
                message = f"row {shown(row[place])} has no text in '{name}', which is its answer"
                raise fail("E612", Exit.NO, message, None, f"give the shapes a column '{name}', or filter such rows")
        given = {name: fields[name] for name in further if name in fields}
        given |= {name: str(value) for at, name in others if name in numbers and (value := row[at]) is not None}
        try:
            answer = worded(form, label, given)
        except ValueError as error:
            raise fail("E614", Exit.NO, f"row {shown(row[place])}: {error}", None, "mend or filter the row") from None
        return {"messages": [*conversation.about(row[text], fields), {"role": "assistant", "content": answer}]}

    return render


def pairs(names: Sequence[str], prompt: str, response: str) -> Render:
    """A prompt and a response, by templates over the columns."""

    def render(row: Columns) -> Mapping[str, Any]:
        values = dict(zip(names, row, strict=True))
        return {"prompt": rendered("prompt", prompt, values), "response": rendered("response", response, values)}

    return render
