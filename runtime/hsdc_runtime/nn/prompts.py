"""Prompts in a file, what they have in common, and their tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from hsdc_schemas.errors import Exit, fail


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked about one row."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Common:
    """How many prompts there are, the text of the first, and the text that all begin with."""

    count: int
    first: str
    text: str


def read_prompts(path: Path) -> Iterator[Prompt]:
    """The prompts of a file, one line at a time; HsdcError where one was not rendered for a local model."""
    with path.open("rb") as file:
        for line in file:
            row = json.loads(line)
            if not row["text"]:
                message = f"the prompt of row {row['id']} has no text for a local model"
                raise fail("E442", Exit.SPEC, message, None, "give the prompt some text, and the model a chat template")
            yield Prompt(row["id"], row["text"])


def windows(path: Path, size: int, done: int = 0) -> Iterator[list[Prompt]]:
    """The prompts of a file, so many at a time, without the first `done` of them."""
    rows = islice(read_prompts(path), done, None)
    while window := list(islice(rows, size)):
        yield window


def common(path: Path) -> Common:
    """What the prompts of a file have in common; holds no more than two of them."""
    count, first, text = 0, "", ""
    for prompt in read_prompts(path):
        if count == 0:
            first = text = prompt.text
        elif not prompt.text.startswith(text):
            text = text[: alike([text, prompt.text])]
        count += 1
    return Common(count, first, text)


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text as it stands: what begins and ends a prompt is in its chat template."""
    asked = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)
    found: list[list[int]] = asked["input_ids"]
    return found


def shared_tokens(tokenizer: PreTrainedTokenizerBase, found: Common) -> list[int]:
    """The first tokens of the prompts of a file, as far as the text goes that all have in common.

    The tokens at its end may be others where the text goes on: how many of them a row begins with is seen row by row.
    One prompt shares nothing.
    """
    if found.count < 2 or not found.text:
        return []
    whole, start = encode(tokenizer, [found.first, found.text])
    return whole[: alike([whole, start])]


def alike(sequences: Sequence[Sequence[int]] | Sequence[str]) -> int:
    """How many tokens, or characters, all sequences begin with."""
    shortest, longest = min(sequences), max(sequences)  # in their order, which all others lie between
    count = 0
    for one, other in zip(shortest, longest, strict=False):
        if one != other:
            break
        count += 1
    return count


def require_length(prompt: Prompt, tokens: int, longest: int | None) -> None:
    """HsdcError where a prompt with its answer is longer than the model can take."""
    if longest is not None and tokens > longest:
        message = f"row {prompt.id} takes {tokens} tokens with its answer, and the model takes {longest}"
        raise fail("E444", Exit.SPEC, message, None, "shorten the prompt or the answer, or leave out long rows")
