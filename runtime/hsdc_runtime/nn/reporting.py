"""What a training says of itself: progress and rates, and why it ended where it did not finish."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from hsdc_runtime.nn.loop import Interrupted as Stopped
from hsdc_runtime.nn.loop import NonFiniteLoss, Progress
from hsdc_runtime.work import Interrupted, Work
from hsdc_schemas.errors import Exit, fail


@contextmanager
def told() -> Iterator[None]:
    """A training that stopped, or whose loss is not finite, as a stage says it."""
    try:
        yield
    except Stopped as stopped:
        raise Interrupted(f"stopped after step {stopped.step}; its checkpoint is complete") from None
    except NonFiniteLoss as error:
        raise fail("E440", Exit.NO, str(error), None, "lower the learning rate, or look at these rows") from None


class Counter:
    """Passes progress on, and counts what this process itself has done: a resumed training did not begin at 0."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.began = time.monotonic()
        self.first: Progress | None = None
        self.last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        if self.first is None:
            self.first, self.began = progress, time.monotonic()
        self.last = progress
        self.work.progress(progress.step, progress.steps, asdict(progress))

    def rates(self) -> dict[str, float]:
        """Rows and real tokens per second between the first and the last step, validation included."""
        seconds = time.monotonic() - self.began
        if self.first is None or self.last is None or self.first.step == self.last.step or seconds <= 0:
            return {}
        rows, tokens = self.last.rows - self.first.rows, self.last.real_tokens - self.first.real_tokens
        return {"rows_per_second": round(rows / seconds, 2), "real_tokens_per_second": round(tokens / seconds, 1)}
