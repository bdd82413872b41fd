"""Stage examples: conversations with their answers as tokens, those of the answers known to the token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from hsdc_runtime.conversation import Conversation, Message
from hsdc_runtime.nn.chat import GROUP, ChatTemplate
from hsdc_runtime.nn.examples import Examples, save_examples
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.nn.prompts import encode
from hsdc_runtime.work import Interrupted, Made, Work
from hsdc_schemas.components import Dataset
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.prompting import Prompt, Task
from hsdc_schemas.rows import Row, RowsRead, read_rows
from hsdc_schemas.stages import typed
from hsdc_schemas.wording import worded

Marked = tuple[str, list[int], int]  # id, tokens, how many come before the answer


def examples(work: Work) -> Made:
    """Write the tokens of every conversation that is learnt, or that chooses the epoch, with where its answer begins.

    The conversation is the one that the model is asked with, and the answer ends as the chat template ends it.
    """
    experiment = work.experiment
    model, evaluation = experiment["model"], experiment["evaluation"]
    tokenizer = pretrained_tokenizer(work.inputs.model, model["gguf"])
    if not isinstance(tokenizer.chat_template, str):
        message = "the model's tokenizer has no chat template"
        raise fail("E447", Exit.SPEC, message, None, "bind a model that is tuned to follow instructions")
    splits, facts = {}, {}
    with ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens_map) as chat:
        for split in (evaluation["train_split"], evaluation["fit_split"]):
            work.watch.doing(f"reading split {split}")
            read = _read(work, split)
            splits[split], facts[split] = _examples(work, read, _Asking(work, tokenizer, chat), split)
        facts = {"splits": facts, "chat_template": chat.digest}
    path = work.folder / "examples.safetensors"
    save_examples(path, splits, _pad(tokenizer))
    return Made({"examples": path}, facts)


def _read(work: Work, split: str) -> RowsRead:
    task = typed(Task, work.experiment["task"])
    dataset = typed(Dataset, {**work.experiment["dataset"], "splits": {split: "file:read"}})
    tasks = {task.target: (task.target, task.labels)}
    read = read_rows(work.inputs.splits[split], split, dataset, tasks, work.execution["limits"]["rows"])
    if read.digest != work.inputs.digests[split]:
        message = f"the file of split '{split}' changed while it was being read"
        raise fail("E415", Exit.ENVIRONMENT, message, None, "leave it alone and run again")
    if read.rejected:
        raise HsdcError(read.rejected)
    return read


def _pad(tokenizer: PreTrainedTokenizerBase) -> int:
    """Any token can stand where the mask says that there is none."""
    found = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return int(next(number for number in found if number is not None))


class _Asking:
    """Rows as conversations with answers, and these as marked tokens."""

    def __init__(self, work: Work, tokenizer: PreTrainedTokenizerBase, chat: ChatTemplate) -> None:
        prompt, self.task = (typed(kind, work.experiment[name]) for name, kind in (("prompt", Prompt), ("task", Task)))
        self.conversation, self.format = Conversation(prompt, self.task.labels), prompt.format
        self.tokenizer, self.chat = tokenizer, chat

    def marked(self, rows: Sequence[Row]) -> Iterator[Marked]:
        """Tokens of each conversation, and how many of them come before its answer.

        HsdcError where the tokens of prompt and answer are not those of the whole conversation.
        """
        ids = [row.id for row in rows]
        asked = [self.conversation.about(row.text, row.fields) for row in rows]
        answers = [self._answer(row) for row in rows]
        said: list[list[Message]] = [
            [*messages, {"role": "assistant", "content": answer}]
            for messages, answer in zip(asked, answers, strict=True)
        ]
        prompts, whole = self.chat.render(asked, ids), self.chat.render(said, ids, ended=True)
        for name, prompt, text, answer in zip(ids, prompts, whole, answers, strict=True):
            yield name, *self._mark(name, prompt, text, answer)

    def _answer(self, row: Row) -> str:
        try:
            return worded(self.format, str(row.labels[self.task.target]), row.fields)
        except ValueError as error:
            raise fail("E614", Exit.NO, f"row {row.id}: {error}", None, "mend the row") from None

    def _mark(self, name: str, prompt: str, whole: str, answer: str) -> tuple[list[int], int]:
        if not answer.strip():
            message = f"row {name} has a blank answer, so there is nothing to learn"
            raise fail("E449", Exit.SPEC, message, None, "leave it out, or give it one")
        rest = whole.removeprefix(prompt)
        if rest == whole or not rest.startswith(answer.strip()):
            raise _unmarked(name, "does not go on with the answer where the prompt ends")
        before, after, tokens = encode(self.tokenizer, [prompt, rest, whole])
        if before + after != tokens:
            raise _unmarked(name, "cuts prompt and answer into other tokens than the whole conversation")
        return tokens, len(before)


def _unmarked(name: str, what: str) -> HsdcError:
    message = f"the answer of row {name} cannot be marked: the model's chat template {what}"
    return fail("E448", Exit.SPEC, message, None, "bind a model whose template ends prompts where answers begin")


def _examples(work: Work, read: RowsRead, asking: _Asking, split: str) -> tuple[Examples, dict[str, Any]]:
    filtered, found, cut = Counter(read.filtered), list[Marked](), 0
    rows = [row for row in read.rows if row.labels[asking.task.target] is not None]
    if len(rows) < len(read.rows):
        filtered["no label"] += len(read.rows) - len(rows)
    training = work.experiment["training"]
    for start in range(0, len(rows), GROUP):
        if work.stop():
            raise Interrupted("stopped while tokenising examples")
        work.progress(start, len(rows), {"split": split})
        for marked in asking.marked(rows[start : start + GROUP]):
            fitting = _fitted(marked, training["max_tokens"], training["over_length"])
            cut += fitting is not None and fitting is not marked
            if fitting is None:
                filtered["over length"] += 1
            else:
                found.append(fitting)
    if not found:
        raise fail("E449", Exit.SPEC, f"split '{split}' has no row to learn", None, "look at what was filtered")
    made = _joined(found)
    lengths = {name: int(np.quantile(made.lengths, share, method="lower")) for name, share in SHARES.items()}
    facts = {
        "read": read.read,
        "kept": len(made),
        "filtered": dict(sorted(filtered.items())),
        "rejected": dict(read.rejected_by_reason),
        "truncated": cut,
        "tokens": len(made.tokens),
        "supervised_tokens": int(made.supervised.sum()),
        "lengths": lengths,
    }
    return made, facts


SHARES = {"shortest": 0.0, "median": 0.5, "p95": 0.95, "longest": 1.0}


def _fitted(marked: Marked, most: int, policy: str) -> Marked | None:
    """A row within the most tokens: as it is, without the start of its prompt, or None where it is left out."""
    name, tokens, start = marked
    over = len(tokens) - most
    if over <= 0:
        return marked
    if policy == "drop":
        return None
    if policy == "truncate" and over < start:
        return name, tokens[over:], start - over
    message = f"row {name} has {len(tokens)} tokens with its answer, and training.max_tokens is {most}"
    raise fail("E444", Exit.SPEC, message, None, "allow more, or say in training.over_length what becomes of such rows")


def _joined(found: Sequence[Marked]) -> Examples:
    lengths = [len(tokens) for _, tokens, _ in found]
    return Examples(
        tuple(name for name, _, _ in found),
        np.concatenate([np.array(tokens, dtype=np.int32) for _, tokens, _ in found]),
        np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        np.array([start for _, _, start in found], dtype=np.int64),
    )
