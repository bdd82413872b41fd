"""All prompts of a file answered window by window, as a stream that a killed run continues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from hsdc_runtime.nn.cells import Cells
from hsdc_runtime.nn.prompts import Prompt, windows
from hsdc_runtime.partial import Partial


class Answerer(Protocol):
    """Answers a window of prompts in their order; `tokens` counts those that it was given."""

    cells: Cells
    tokens: int

    def answer(self, window: Sequence[Prompt]) -> list[dict[str, Any]]:
        """One row for each prompt."""


def answer_all(
    path: Path, partial: Partial, answerer: Answerer, window: int, observe: Callable[[int], object]
) -> dict[str, int]:
    """Add the answers to all prompts that are not there yet; what was counted, in earlier processes too.

    A window of prompts is a unit: what is computed for it depends on no other, so that going on behind the last one
    that was finished gives the same bits.
    """
    for prompts in windows(path, window, partial.rows):
        before = _counts(answerer)
        rows = answerer.answer(prompts)
        partial.add(rows, {name: count - before[name] for name, count in _counts(answerer).items()})
        observe(partial.rows)
    return partial.counts


def _counts(answerer: Answerer) -> dict[str, int]:
    cells = answerer.cells
    return {"batches": cells.passes, "computed_tokens": cells.tokens, "tokens": answerer.tokens}
