"""One of a stage's other processes: its work comes on stdin, what it does goes to stdout, it ends with its leader."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from importlib import import_module

from hsdc_runtime.watch import Watch
from hsdc_runtime.work import Work
from hsdc_runtime.workers import READY


def main() -> None:
    """Do the work that is read from stdin; what is said elsewhere on stdout goes where errors go."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # whoever leads decides when to stop
    says = os.dup(1)
    os.dup2(2, 1)
    with open(0, "rb", buffering=0, closefd=False) as given:
        stage, rank, work = pickle.load(given)
    threading.Thread(target=_end_with_the_leader, daemon=True).start()

    def say(what: str) -> None:
        os.write(says, f"{what}\n".encode())

    own = Work(**work, progress=lambda *_: None, stop=lambda: False, watch=_Told(say))
    import_module(f"hsdc_runtime.stages.{stage}").join(own, rank, lambda: say(READY))


class _Told(Watch):
    """Tells the leader what is done here, and leaves the watching to it."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.doing = tell


def _end_with_the_leader() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
