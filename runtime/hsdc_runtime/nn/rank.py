"""How likely a causal language model holds each label after a prompt, in one pass for several rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from hsdc_runtime.nn.cells import Cells, Span
from hsdc_runtime.nn.labels import Continued, require_labels
from hsdc_runtime.nn.prompts import Prompt, alike, require_length
from hsdc_schemas.errors import Exit, fail


class Ranker:
    """Scores labels after prompts; `cells` hold the shared prefix, whose tokens are `shared`.

    A pass takes rows in their order as long as they have `budget` tokens together, one row at least.
    `longest` is the most tokens that the model takes; `tokens` counts those of all prompts and labels.
    """

    def __init__(
        self,
        cells: Cells,
        tokenizer: PreTrainedTokenizerBase,
        labels: Sequence[str],
        shared: Sequence[int],
        *,
        budget: int,
        longest: int | None = None,
    ) -> None:
        self.cells, self.tokenizer, self.labels, self.shared = cells, tokenizer, tuple(labels), list(shared)
        self.budget, self.longest = budget, longest
        self.tokens = 0

    def answer(self, window: Sequence[Prompt]) -> list[dict[str, Any]]:
        """For each prompt, in their order, each label's log-likelihood, summed over its tokens, and their number."""
        rows = [self._continued(prompt) for prompt in window]
        found: list[dict[str, Any]] = []
        for start, end in self._passes(rows):
            scores = self._scores(rows[start:end])
            for prompt, row, values in zip(window[start:end], rows[start:end], scores, strict=True):
                found.append({"id": prompt.id, "loglikelihoods": values, "tokens": list(map(len, row.branches))})
        return found

    def _continued(self, prompt: Prompt) -> Continued:
        row = require_labels(self.tokenizer, self.labels, prompt.text)
        if not row.trunk:
            message = f"the prompt of row {prompt.id} has no token that stays as it is before every label"
            raise fail("E443", Exit.SPEC, message, None, "end the prompt with a line break")
        require_length(prompt, len(row.trunk) + max(map(len, row.branches)), self.longest)
        self.tokens += len(row.trunk) + sum(map(len, row.branches))
        return row

    def _begins(self, row: Continued) -> int:
        """How many shared cells a row begins with; its last token is its own, for what it says of the next."""
        return min(alike([row.trunk, self.shared]), len(row.trunk) - 1)

    def _passes(self, rows: Sequence[Continued]) -> Iterator[tuple[int, int]]:
        start, filled = 0, 0
        for at, row in enumerate(rows):
            own = len(row.trunk) - self._begins(row) + sum(len(tokens) - 1 for tokens in row.branches)
            if at > start and filled + own > self.budget:
                yield start, at
                start, filled = at, 0
            filled += own
        yield start, len(rows)

    def _scores(self, rows: Sequence[Continued]) -> list[list[float]]:
        """The sum over each label's tokens of their log-probabilities, for each row."""
        spans: list[Span] = []
        keep: list[int] = []  # numbers of the tokens whose logits are asked for
        wanted: list[tuple[int, int, int, int]] = []  # row, label, which of the logits, the token looked up in them
        end = 0
        for number, row in enumerate(rows):
            begins = self._begins(row)
            spans.append(Span(number, row.trunk[begins:], begins, begins))
            end += len(row.trunk) - begins
            trunk = len(keep)
            keep.append(end - 1)
            for label, tokens in enumerate(row.branches):
                spans.append(Span(number, tokens[:-1], len(row.trunk), begins, label + 1))
                places = [trunk, *range(len(keep), len(keep) + len(tokens) - 1)]
                wanted += [(number, label, place, token) for place, token in zip(places, tokens, strict=True)]
                keep += range(end, end + len(tokens) - 1)
                end += len(tokens) - 1
        self.cells.clear()
        logits = self.cells.forward(spans, keep).log_softmax(dim=-1)
        numbers, labels, places, tokens = (list(column) for column in zip(*wanted, strict=True))
        chosen = logits[places, tokens].tolist()
        scores = [[0.0] * len(self.labels) for _ in rows]
        for number, label, value in zip(numbers, labels, chosen, strict=True):
            scores[number][label] += value
        return scores
