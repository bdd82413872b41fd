"""The other processes of a stage: started with its work, listened to, and gone when the stage is over.

A worker computes and nothing else: it holds no lock, writes no result, and whoever ends it loses nothing.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from hsdc_runtime.work import Work
from hsdc_schemas.errors import Exit, fail

KEPT = ("progress", "stop", "watch")  # of the work, by whoever leads
READY = "ready"
GRACE = 5.0  # seconds in which a process whose connection broke has ended


class Workers:
    """A context with `work.execution["processes"]` - 1 processes in it, ranks 1 and up; none where that is 1.

    `lost` is called, in a thread, as soon as one of them has died.
    """

    def __init__(self, stage: str, work: Work, lost: Callable[[], None]) -> None:
        self.stage, self.work, self.lost = stage, work, lost
        self.size: int = work.execution["processes"]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._said: dict[int, str] = {}
        self._ready: set[int] = set()
        self._news = threading.Condition()
        self._over = False

    def __enter__(self) -> Workers:
        for rank in range(1, self.size):
            process = self._processes[rank] = self._start(rank)
            threading.Thread(target=self._listen, args=(rank, process), daemon=True).start()
        if self._processes:
            self.work.watch.others = self._whereabouts
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for process in self._processes.values():
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()

    def met(self) -> None:
        """Wait until every worker has read its inputs; HsdcError where one dies over it."""
        with self._news:
            while len(self._ready) < len(self._processes):
                self.blame(patience=0.0)
                self._news.wait(1.0)

    def doing(self, what: str) -> None:
        """Note what is begun; HsdcError where somebody died, so that nothing is written which was added up without."""
        self.blame(patience=0.0)
        self.work.watch.doing(what)

    def blame(self, patience: float = GRACE) -> None:
        """HsdcError that names the worker that died first, if one dies within so many seconds.

        For whoever lost the connection to the others, and before they lose the one to it.
        """
        with self._news:
            self._news.wait_for(lambda: any(map(_died, self._processes.values())), patience)
            dead = [rank for rank, process in self._processes.items() if _died(process)]
        if dead:
            rank = min(dead, key=lambda rank: self._processes[rank].returncode)  # who was killed, before who missed it
            how = _how(self._processes[rank].returncode)
            message = f"process {rank + 1} of {self.size} died {how}{self._last_words(rank)}"
            hint = "run again: it goes on from the last checkpoint; if memory ran out, with fewer processes"
            raise fail("E437", Exit.ENVIRONMENT, message, None, hint)

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        with self._log(rank).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hsdc_runtime.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # a Ctrl-C is for the process that leads
            )
        with suppress(BrokenPipeError):  # it has died already, which is noticed elsewhere
            given = {field.name: getattr(self.work, field.name) for field in fields(Work) if field.name not in KEPT}
            process.stdin.write(pickle.dumps((self.stage, rank, given)))
            process.stdin.flush()  # and stays open: its end tells a worker that it is alone
        return process

    def _log(self, rank: int) -> Path:
        return self.work.folder / f"worker-{rank}.log"

    def _listen(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        """Hear what a worker does, until it has ended."""
        with process.stdout as lines:
            for line in lines:
                with self._news:
                    self._said[rank] = line.decode().strip()
                    if self._said[rank] == READY:
                        self._ready.add(rank)
                    self._news.notify_all()
        process.wait()
        if process.returncode and not self._over:
            self.lost()
        with self._news:
            self._news.notify_all()

    def _last_words(self, rank: int) -> str:
        with suppress(OSError):
            lines = self._log(rank).read_text("utf-8", "replace").strip().splitlines()
            if lines:
                return f": {lines[-1][:200]}"
        return f" while {self._said[rank]}" if self._said.get(rank, READY) != READY else ""

    def _whereabouts(self) -> str:
        """What each worker says that it does, or that it does nothing any more."""
        return "; ".join(
            f"process {rank + 1} {_state(process)}, at last {self._said.get(rank, 'starting')}"
            for rank, process in self._processes.items()
        )


def _died(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() not in (None, 0)


def _how(code: int) -> str:
    return f"({signal.Signals(-code).name})" if code < 0 else f"(exit code {code})"


def _state(process: subprocess.Popen[bytes]) -> str:
    """Whether a process works, as far as this machine tells."""
    if process.poll() is not None:
        return "has ended"
    with suppress(OSError, IndexError):
        letter = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return {"T": "is stopped", "t": "is stopped", "D": "waits for a disk"}.get(letter, "is alive")
    return "is alive"
