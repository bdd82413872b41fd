"""One call as a case: what it runs, what comes before it untimed, and what it must have said; rounds of cases."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.processes import UNIT

SLOW = 30.0
"""CPU seconds: what takes longer is measured once."""


@dataclass(frozen=True)
class Spent:
    """CPU seconds of a process and its children, how many of them the system took, peak resident bytes, bytes read."""

    cpu: float
    system: float
    peak: int
    read: int


def aside(path: Path, folder: Path) -> None:
    """Move what is there into a folder that goes with the benchmark, instead of deleting it.

    On ext4, creating thousands of files right after deleting as many was seen to take seconds of system time more:
    they are not those of the program that creates them.
    """
    if path.exists():
        folder.mkdir(exist_ok=True)
        path.rename(Path(tempfile.mkdtemp(dir=folder)) / path.name)


def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Case:
    """A command in a folder; `says` must be in its stdout, and its exit code among `accepts`."""

    name: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    prepare: Callable[[], object] = nothing
    says: str = ""
    accepts: tuple[int, ...] = (0,)
    rounds: int = 99

    def spend(self) -> Spent:
        """Prepare, untimed, then run; RuntimeError where it failed or did something else than it should."""
        self.prepare()
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            with subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            ) as process:
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
                read = _read_by(process.pid)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            errors.seek(0)
            said, wrong = output.read().decode(errors="replace"), errors.read().decode(errors="replace")
        if process.returncode not in self.accepts or self.says not in said:
            tail = "\n".join([*said.splitlines()[-5:], *wrong.splitlines()[-5:]])
            raise RuntimeError(f"{self.name}: ended with {process.returncode}; expected {self.says!r}: {tail}")
        return Spent(usage.ru_utime + usage.ru_stime, usage.ru_stime, usage.ru_maxrss * UNIT, read)


def _read_by(process: int) -> int:
    """Bytes that a process which has ended read, from disk or memory; 0 where the kernel does not tell."""
    try:
        return int(Path(f"/proc/{process}/io").read_text().split()[1])
    except (OSError, IndexError):
        return 0


@dataclass
class Series:
    """What the runs of one case took, in the order of the rounds."""

    spent: list[Spent] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return median(item.cpu for item in self.spent)

    @property
    def peak(self) -> int:
        """Largest peak of resident bytes."""
        return max(item.peak for item in self.spent)

    @property
    def system(self) -> float:
        """Median of the CPU seconds that the system took, which is mostly for files."""
        return median(item.system for item in self.spent)

    @property
    def read(self) -> int:
        """Most bytes read."""
        return max(item.read for item in self.spent)

    @property
    def span(self) -> tuple[float, float]:
        """Least and most CPU seconds."""
        found = [item.cpu for item in self.spent]
        return min(found), max(found)


def interleaved(cases: Sequence[Case], rounds: int) -> dict[str, Series]:
    """Every case once in every round; one that is slow, or that asks for fewer rounds, not in the later ones."""
    found = {case.name: Series() for case in cases}
    for index in range(rounds):
        for case in cases:
            series = found[case.name]
            if index < case.rounds and not (series.spent and series.spent[0].cpu > SLOW):
                series.spent.append(case.spend())
                print(f"  round {index + 1}  {series.spent[-1].cpu:8.3f} s  {case.name}", flush=True)
    return found
