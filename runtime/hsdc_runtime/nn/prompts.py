"""Prompts in a file, what they have in common, and their tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from os.path import commonprefix
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
            text = commonprefix([text, prompt.text])
        count += 1
    return Common(count, first, text)


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], special: bool) -> list[list[int]]:
    """Token ids of each text; `special` adds what the tokenizer puts around one, which a chat template does itself."""
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=special, truncation=False, verbose=False)[
        "input_ids"
    ]
    return found


def shared_tokens(tokenizer: PreTrainedTokenizerBase, found: Common, special: bool) -> list[int]:
    """The first tokens of the prompts of a file, as far as the text goes that all have in common.

    The tokens at its end may be others where the text goes on: how many of them a row begins with is seen row by row.
    One prompt shares nothing.
    """
    if found.count < 2 or not found.text:
        return []
    whole, start = encode(tokenizer, [found.first, found.text], special)
    return whole[: alike([whole, start])]


def alike(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with."""
    shortest, longest = min(sequences), max(sequences)  # in their order, which all others lie between
    count = 0
    for one, other in zip(shortest, longest, strict=False):
        if one != other:
            break
        count += 1
    return count
