"""Labels as continuations of a prompt: which tokens are scored, and that none hides another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from hsdc_runtime.nn.prompts import alike, encode
from hsdc_schemas.errors import Exit, fail


@dataclass(frozen=True, slots=True)
class Continued:
    """A prompt with each of its labels: the tokens that all begin with, and those of each label that follow."""

    trunk: list[int]
    branches: list[list[int]]


def continued(tokenizer: PreTrainedTokenizerBase, prompt: str, labels: Sequence[str]) -> Continued:
    """The tokens of a prompt joined with each label.

    Text at the seam may be cut into tokens otherwise than in the prompt alone. What all joined texts and the prompt
    begin with is the trunk; each label is scored on all that follows it, so that all are scored after the same tokens.
    """
    prompted, *joined = encode(tokenizer, [prompt, *(prompt + label for label in labels)])
    start = alike([prompted, *joined])
    return Continued(joined[0][:start], [tokens[start:] for tokens in joined])


def require_labels(tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], prompt: str) -> Continued:
    """The labels after a prompt, or after its end alone; needs no model.

    HsdcError where a label has no tokens of its own, two have the same, or one begins with all of another's: the
    longer one could never be likelier, whatever the text says.
    """
    found = continued(tokenizer, prompt, labels)
    named = list(zip(labels, found.branches, strict=True))
    for label, tokens in named:
        if not tokens:
            raise _refused(f"the label {label!r} has no tokens of its own after the prompt")
    for at, (label, tokens) in enumerate(named):
        for other, longer in named[at + 1 :]:
            if tokens == longer:
                raise _refused(f"the labels {label!r} and {other!r} are the same tokens")
    for label, tokens in named:
        for other, longer in named:
            if other != label and longer[: len(tokens)] == tokens:
                raise _refused(f"the tokens of the label {other!r} begin with those of {label!r}")
    return found


def _refused(message: str) -> Exception:
    hint = "word the labels so that no one begins with another, or end each with a line break"
    return fail("E443", Exit.SPEC, message, None, hint)
