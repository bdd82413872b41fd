"""Whoever watches that what is begun ends: a slow disk, a stalled reader and a silent process look alike otherwise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 60.0  # seconds at one thing before it is said; then after twice as long, and so on


class Watch:
    """What a stage is doing, and since when; `say` is told (what, what the others do, seconds) where it takes long."""

    def __init__(self, say: Callable[[str, str, float], None]) -> None:
        self.say = say
        self.others: Callable[[], str] = lambda: ""
        self._over = threading.Event()
        self.doing("at work")

    def doing(self, what: str) -> None:
        """Note what is begun now, which ends what was begun before."""
        self._now = (what, time.monotonic())

    def moved(self) -> None:
        """Note that it got further with what it is at."""
        self.doing(self._now[0])

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch, in a thread, what happens inside."""
        thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        seen, due = self._now, PATIENCE
        while not self._over.wait(PATIENCE / 10):
            if self._now is not seen:
                seen, due = self._now, PATIENCE
            what, since = seen
            if (spent := time.monotonic() - since) >= due:
                due = 2 * spent
                self.say(what, self.others(), spent)
