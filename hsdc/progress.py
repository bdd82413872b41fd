"""A run as it goes: bars on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from hsdc.terminal import style
from hsdc_runtime.events import Event, SetAside, StageFinished, StageProgress, StageStalled, StageStarted

SECONDS_BETWEEN_LINES = 10.0
UNITS = {"loss": "steps", "cost": "replies", "rows_per_second": "rows"}  # what is counted, by a figure that tells
LINES_A_SECOND, BURST = 2.0, 20.0  # of evaluations in a log, where epochs are short


class ProgressView:
    """Shows events on stderr; a context, so that the terminal is left as it was found."""

    def __init__(self) -> None:
        self.stream = sys.stderr
        self.live = self.stream.isatty()
        self.bar: Any = None
        self.task: Any = None
        self.began = self.shown = 0.0
        self.first = 0
        self.room, self.told = BURST, time.monotonic()

    def __enter__(self) -> ProgressView:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._start(event)
        elif isinstance(event, StageProgress):
            self._advance(event)
        elif isinstance(event, SetAside):
            self._warn(event.stage, "set aside", f"{event.output}: {event.reason}")
        elif isinstance(event, StageStalled):
            others = f" ({event.others})" if event.others else ""
            self._warn(event.stage, f"for {event.seconds:.0f} s", f"{event.doing}{others}")
        else:
            self._finish(event)

    def _line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _warn(self, stage: str, what: str, text: str) -> None:
        self._line(f"  {stage:<10} {style(what, 'warning', self.stream)} {text}")

    def _start(self, event: StageStarted) -> None:
        self.began = self.shown = time.monotonic()
        self.first = -1
        if not self.live:
            self._line(f"  {event.stage:<10} started: {event.why}")
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            console=Console(file=self.stream),
            transient=True,
        )
        self.bar.start()
        self.task = self.bar.add_task(f"{event.stage:<10}", total=None, note="")

    def _advance(self, event: StageProgress) -> None:
        if self.first < 0:
            self.first, self.began = event.done, time.monotonic()  # a resumed stage does not start at 0
        note = self._note(event)
        figures = event.figures
        if figures.get("metric") is not None:
            epoch = f"epoch {figures['epoch']}/{figures['epochs']}"
            text = f"  {event.stage:<10} {epoch}  loss {figures['loss']:.4f}  validation {figures['metric']:.4f}"
            if self.bar is not None:
                self.bar.console.print(text, highlight=False, markup=False)
            elif self._may_tell():
                self._line(text)
        elif self.bar is not None:
            self.bar.update(
                self.task, completed=event.done, total=event.total, note=f"{event.done}/{event.total}  {note}"
            )
        elif figures.get("kept") or time.monotonic() - self.shown >= SECONDS_BETWEEN_LINES:
            self.shown = time.monotonic()
            self._line(f"  {event.stage:<10} {event.done}/{event.total}  {note}")

    def _may_tell(self) -> bool:
        """Whether a log takes one line more of what comes quickly: a burst, then so many a second."""
        now = time.monotonic()
        self.room = min(BURST, self.room + (now - self.told) * LINES_A_SECOND)
        self.told = now
        if self.room < 1:
            return False
        self.room -= 1
        return True

    def _note(self, event: StageProgress) -> str:
        figures, spent = event.figures, time.monotonic() - self.began
        unit = next((unit for figure, unit in UNITS.items() if figure in figures), "")
        if not unit:
            return "goes on behind what was kept" if "kept" in figures else str(figures.get("split", ""))
        rate = (event.done - self.first) / spent if spent > 0 else 0.0
        left = (event.total - event.done) / rate if rate > 0 else None
        parts = [f"loss {figures['loss']:.4f}"] if "loss" in figures else []
        parts += [f"{figures['cost']:.4f} spent"] if figures.get("cost") else []
        if rate > 0:
            parts.append(f"{rate:.2f} {unit}/s")
        parts.append(f"{_clock(left)} left" if left is not None else "")
        return "  ".join(part for part in parts if part)

    def _finish(self, event: StageFinished) -> None:
        self._close()
        if not event.executed:
            self._line(f"  {event.stage:<10} {style('reused', 'good', self.stream)}  ({event.seconds:.1f} s saved)")
            return
        more = _made(event)
        self._line(f"  {event.stage:<10} {style('done', 'good', self.stream)} in {event.seconds:.1f} s{more}")

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _made(event: StageFinished) -> str:
    """What a stage says of its work, after two blanks; nothing for most."""
    facts = event.facts
    if "padded_tokens" in facts:
        rate = facts["real_tokens"] / event.seconds if event.seconds else 0
        padding = facts["padded_tokens"] / max(1, facts["real_tokens"])
        kind = "padded" if padding >= 1 else "computed"  # packed rows have what all begin with once
        more = f"  {facts['steps']} steps, {rate:,.0f} tokens/s, {padding:.2f} {kind} per real token"
        return more + f", best epoch {facts['best_epoch']}"
    if "spent" in facts:
        more = f"  {facts['asked']} asked, {facts['kept']} known, {sum(facts['retries'].values())} tried again"
        return more + (f", {facts['spent']:.4f} spent" if facts["spent"] is not None else "")
    if "unreadable" in facts and facts["unreadable"]["rows"]:
        faults = ", ".join(f"{count} {fault.replace('_', ' ')}" for fault, count in facts["faults"].items())
        return f"  {facts['unreadable']['rows']} of {facts['rows']} answers cannot be read: {faults}"
    return ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
