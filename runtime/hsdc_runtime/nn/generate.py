"""Answers of a causal language model: several rows in every pass, each until it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from hsdc_runtime.nn.cells import Cells, Span
from hsdc_runtime.nn.draw import Draws, draw
from hsdc_runtime.nn.prompts import Prompt, alike, encode
from hsdc_runtime.nn.rank import require_length


@dataclass(frozen=True)
class Answering:
    """How long an answer gets, what ends it (it is cut before a stop text), and how its tokens are chosen."""

    max_new_tokens: int
    end_tokens: frozenset[int]
    stop: tuple[str, ...] = ()
    draws: Draws = Draws()


@dataclass
class _Row:
    """A row that is being answered."""

    number: int
    prompt: Prompt
    tokens: list[int]
    begins: int
    answer: list[int] = field(default_factory=list)
    text: str = ""
    finish: str = ""

    @property
    def fresh(self) -> list[int]:
        """The tokens that are to be computed next: the prompt's own, then the last one of the answer."""
        return self.answer[-1:] or self.tokens[self.begins :]

    def span(self) -> Span:
        position = len(self.tokens) + len(self.answer) - 1 if self.answer else self.begins
        return Span(self.number, self.fresh, position, self.begins)


class Generator:
    """Answers prompts; `cells` hold the shared prefix, whose tokens are `shared`.

    Rows enter in their order as soon as there is room: the tokens that all present rows have of their own, with the
    longest answers they may get, stay within `budget`, and a pass computes at most a quarter of it for rows that
    enter; one row may exceed both. A row that is finished leaves. `tokens` counts those of all prompts.
    """

    def __init__(
        self,
        cells: Cells,
        tokenizer: PreTrainedTokenizerBase,
        answering: Answering,
        shared: Sequence[int],
        *,
        budget: int,
        special: bool = False,
        longest: int | None = None,
    ) -> None:
        self.cells, self.tokenizer, self.answering, self.shared = cells, tokenizer, answering, list(shared)
        self.budget, self.special, self.longest = budget, special, longest
        self.tokens = 0

    def answer(self, window: Sequence[Prompt]) -> list[dict[str, Any]]:
        """For each prompt, in their order, the answer's text, why it ended, and its tokens and the prompt's."""
        encoded = encode(self.tokenizer, [prompt.text for prompt in window], self.special)
        waiting = deque(self._row(*item) for item in zip(range(len(window)), window, encoded, strict=True))
        found: dict[int, dict[str, Any]] = {}
        present: list[_Row] = []
        gone: set[int] = set()
        self.cells.clear()
        while waiting or present:
            present += self._entering(waiting, present)
            self._step(present)
            done = {row.number: _reply(row) for row in present if row.finish}
            found |= done
            gone |= set(done)
            present = [row for row in present if not row.finish]
            gone = self._leave(gone, present)
        return [found[number] for number in range(len(window))]

    def _row(self, number: int, prompt: Prompt, tokens: list[int]) -> _Row:
        require_length(prompt, len(tokens) + self.answering.max_new_tokens, self.longest)
        self.tokens += len(tokens)
        return _Row(number, prompt, tokens, min(alike([tokens, self.shared]), len(tokens) - 1))

    def _entering(self, waiting: deque[_Row], present: Sequence[_Row]) -> list[_Row]:
        room = self.budget - sum(self._needs(row) for row in present)
        entering: list[_Row] = []
        computed = 0
        while waiting:
            row = waiting[0]
            computed += len(row.fresh)
            room -= self._needs(row)
            if (present or entering) and (room < 0 or (entering and computed > self.budget // 4)):
                break
            entering.append(waiting.popleft())
        return entering

    def _needs(self, row: _Row) -> int:
        return len(row.tokens) - row.begins + self.answering.max_new_tokens

    def _step(self, rows: Sequence[_Row]) -> None:
        """One pass: the next token of every row, and whether it ends the row's answer."""
        spans = [row.span() for row in rows]
        keep, end = [], 0
        for span in spans:
            end += len(span.tokens)
            keep.append(end - 1)
        logits = self.cells.forward(spans, keep)
        for row, token in zip(rows, self._choose(logits, rows), strict=True):
            self._take(row, token)

    def _choose(self, logits: torch.Tensor, rows: Sequence[_Row]) -> list[int]:
        draws = self.answering.draws
        if draws.greedy:
            return [int(token) for token in logits.argmax(dim=-1).tolist()]
        values = logits.cpu().numpy()
        return [draw(values[at], draws, row.prompt.id, len(row.answer)) for at, row in enumerate(rows)]

    def _take(self, row: _Row, token: int) -> None:
        row.answer.append(token)
        ended = token in self.answering.end_tokens
        row.text = ""
        if ended or len(row.answer) == self.answering.max_new_tokens or self.answering.stop:
            row.text = self._text(row.answer[:-1] if ended else row.answer)
        places = [place for stop in self.answering.stop if (place := row.text.find(stop)) >= 0]
        if places:
            row.text = row.text[: min(places)]
        if ended or places:
            row.finish = "stop"
        elif len(row.answer) == self.answering.max_new_tokens:
            row.finish = "length"

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _leave(self, gone: set[int], present: Sequence[_Row]) -> set[int]:
        """Forget the rows that are finished, once they hold a quarter of all cells; those that are still to go."""
        held = sum(len(row.tokens) - row.begins + len(row.answer) - 1 for row in present)
        if 4 * (len(self.cells) - self.cells.prefix - held) < len(self.cells):
            return gone
        self.cells.drop(gone)
        return set()


def _reply(row: _Row) -> dict[str, Any]:
    return {
        "id": row.prompt.id,
        "text": row.text,
        "finish": row.finish,
        "prompt_tokens": len(row.tokens),
        "completion_tokens": len(row.answer),
    }
