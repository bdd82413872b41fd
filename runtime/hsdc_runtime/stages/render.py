"""Stage `render`: every row as the messages that ask about it, and as the text that a local model is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from hsdc_runtime.conversation import Conversation, Message
from hsdc_runtime.lines import json_lines
from hsdc_runtime.nn.chat import ChatTemplate
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.work import Interrupted, Made, Work
from hsdc_schemas.digests import canonical
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.prompting import Prompt, Task
from hsdc_schemas.stages import typed
from hsdc_schemas.wording import lead

GROUP = 1024  # rows that are held at once


def render(work: Work) -> Made:
    """One line per row, in the order of the rows: id, messages, and the text under the model's chat template.

    Where labels are ranked, the text ends with the lead of the answer, so that the label comes next.
    """
    prompt, task = (typed(model, work.experiment[name]) for name, model in (("prompt", Prompt), ("task", Task)))
    ranked = (work.execution.get("answer") or work.experiment["answer"]["method"]) == "rank"
    conversation, begun = Conversation(prompt, task.labels), lead(prompt.format) if ranked else ""
    path, count, characters = work.folder / "prompts.jsonl", 0, 0
    with _chat(work) as chat, path.open("wb") as file:
        for group in _groups(work, conversation):
            if work.stop():
                raise Interrupted("stopped while rendering prompts")
            names, messages = [name for name, _ in group], [asked for _, asked in group]
            texts = chat.render(messages, names) if chat is not None else []
            for number, (name, asked) in enumerate(group):
                text = texts[number] + begun if texts else None
                file.write(canonical({"id": name, "messages": asked, "text": text}) + b"\n")
                characters += sum(len(message["content"]) for message in asked)
            count += len(group)
        facts = {"prompts": count, "characters": characters, "chat_template": chat.digest if chat else None}
    return Made({"prompts": path}, facts)


def _groups(work: Work, conversation: Conversation) -> Iterator[list[tuple[str, list[Message]]]]:
    group: list[tuple[str, list[Message]]] = []
    for row in json_lines(work.needs["prepare"]["rows"].path):
        group.append((row["id"], conversation.about(row["text"], row["fields"])))
        if len(group) == GROUP:
            yield group
            group = []
    if group:
        yield group


def _chat(work: Work) -> Any:
    """The chat template of a local model; nothing where an endpoint applies its own."""
    model = work.experiment["model"]
    if model["kind"] != "pretrained":
        return nullcontext()
    tokenizer = pretrained_tokenizer(work.inputs.model, model["gguf"])
    if not isinstance(tokenizer.chat_template, str):
        message = "the model's tokenizer has no chat template"
        raise fail("E447", Exit.SPEC, message, None, "bind a model that is tuned to follow instructions")
    return ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens_map)
