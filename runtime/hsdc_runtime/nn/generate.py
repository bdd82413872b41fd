"""Answers of a causal language model: several rows in every pass, each until it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hsdc_runtime.nn.cells import Cells, Span
from hsdc_runtime.nn.draw import Draws, draw
from hsdc_runtime.nn.prompts import Prompt, alike, encode, require_length

HELD = 8
"""Own tokens of all rows that are present, in what a pass computes for rows that enter."""
AHEAD = 32
"""Tokens of its answer that a row which enters is given room for; what it needs beyond is found when it comes."""


@dataclass(frozen=True)
class Answering:
    """How long an answer gets, what ends it (a stop text is cut off), and how its tokens are chosen: None is greedy."""

    max_tokens: int
    end_tokens: frozenset[int]
    stop: tuple[str, ...] = ()
    draws: Draws | None = None


@dataclass
class _Row:
    """A row that is being answered; `held` of its own tokens have a cell."""

    number: int
    prompt: Prompt
    asked: list[int]
    begins: int
    held: int = 0
    answer: list[int] = field(default_factory=list)
    text: str = ""
    finish: str = ""

    @property
    def own(self) -> int:
        """Tokens so far that are not the shared prefix's."""
        return len(self.asked) - self.begins + len(self.answer)

    def span(self) -> Span:
        """What has no cell yet: the prompt's own tokens at first, then the last one of the answer."""
        position = self.begins + self.held
        return Span(self.number, (self.asked + self.answer)[position:], position, self.begins)

    def reply(self) -> dict[str, Any]:
        return {
            "id": self.prompt.id,
            "text": self.text,
            "finish": self.finish,
            "prompt_tokens": len(self.asked),
            "completion_tokens": len(self.answer),
        }


class Generator:
    """Answers prompts; `cells` hold the shared prefix, whose tokens are `shared`.

    Rows enter in their order, of at most `budget` tokens together in one pass, while the own tokens of all that are
    present stay within `HELD` times as many; one row may exceed both. They leave when they are finished. Where answers
    grow beyond twice that room, the last rows step back, and enter again later. `longest` is the most tokens that the
    model takes; `tokens` counts those of all prompts.
    """

    def __init__(
        self,
        cells: Cells,
        tokenizer: PreTrainedTokenizerBase,
        answering: Answering,
        shared: Sequence[int],
        *,
        budget: int,
        longest: int | None = None,
    ) -> None:
        self.cells, self.tokenizer, self.answering, self.shared = cells, tokenizer, answering, list(shared)
        self.budget, self.longest = budget, longest
        self.tokens = 0

    def answer(self, window: Sequence[Prompt]) -> list[dict[str, Any]]:
        """For each prompt, in their order: the answer, why it ended, its tokens (an end token too) and the prompt's."""
        encoded = encode(self.tokenizer, [prompt.text for prompt in window])
        waiting = deque(self._row(*item) for item in zip(range(len(window)), window, encoded, strict=True))
        found: dict[int, dict[str, Any]] = {}
        present: list[_Row] = []
        gone: set[int] = set()
        self.cells.clear()
        while waiting or present:
            present += self._entering(waiting, present)
            self._step(present)
            done = {row.number: row.reply() for row in present if row.finish}
            found |= done
            present = [row for row in present if not row.finish]
            gone = self._make_room(gone | set(done), present, waiting)
        return [found[number] for number in range(len(window))]

    def _row(self, number: int, prompt: Prompt, tokens: list[int]) -> _Row:
        require_length(prompt, len(tokens) + self.answering.max_tokens, self.longest)
        self.tokens += len(tokens)
        return _Row(number, prompt, tokens, min(alike([tokens, self.shared]), len(tokens) - 1))

    def _entering(self, waiting: deque[_Row], present: Sequence[_Row]) -> list[_Row]:
        room, computed = HELD * self.budget - sum(map(self._needs, present)), 0
        entering: list[_Row] = []
        while waiting:
            room -= self._needs(waiting[0])
            computed += waiting[0].own
            if (present or entering) and (room < 0 or (entering and computed > self.budget)):
                break
            entering.append(waiting.popleft())
        return entering

    def _needs(self, row: _Row) -> int:
        return row.own + min(AHEAD, self.answering.max_tokens - len(row.answer))

    def _step(self, rows: Sequence[_Row]) -> None:
        """One pass: the next token of every row, and whether it ends the row's answer."""
        spans = [row.span() for row in rows]
        ends, end = [], -1
        for span in spans:
            end += len(span.tokens)
            ends.append(end)
        logits = self.cells.forward(spans, ends)
        for row, token in zip(rows, self._choose(logits, rows), strict=True):
            row.held = row.own
            self._take(row, token)

    def _choose(self, logits: Tensor, rows: Sequence[_Row]) -> list[int]:
        draws = self.answering.draws
        if draws is None:
            return [int(token) for token in logits.argmax(dim=-1).tolist()]
        values = logits.cpu().numpy()
        return [draw(values[at], draws, row.prompt.id, len(row.answer)) for at, row in enumerate(rows)]

    def _take(self, row: _Row, token: int) -> None:
        row.answer.append(token)
        ended, full = token in self.answering.end_tokens, len(row.answer) == self.answering.max_tokens
        if ended or full or self.answering.stop:
            row.text = self._text(row.answer[:-1] if ended else row.answer)
        places = [place for stop in self.answering.stop if (place := row.text.find(stop)) >= 0]
        if places:
            row.text = row.text[: min(places)]
        row.finish = "stop" if ended or places else "length" if full else ""

    def _text(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _make_room(self, gone: set[int], present: list[_Row], waiting: deque[_Row]) -> set[int]:
        """Forget finished rows once they hold a quarter of all cells, and let rows step back; what is still to go."""
        back = False
        while len(present) > 1 and sum(row.own for row in present) > 2 * HELD * self.budget:
            row = present.pop()
            row.held, back = 0, True
            gone = gone | {row.number}
            waiting.appendleft(row)
        idle = len(self.cells) - self.cells.prefix - sum(row.held for row in present)
        if not gone or not (back or 4 * idle >= len(self.cells)):
            return gone
        self.cells.drop(gone)
        return set()
