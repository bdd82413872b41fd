"""The command in a process of its own, with its libraries loaded already: to be stopped, killed or interfered with."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from tiny_project import command_of_its_own

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["hsdc_runtime.stages.prepare", "hsdc_runtime.stages.train", "hsdc_runtime.stages.score"]
)
PATIENCE = 60.0
ANYBODY_MAY_TRACE = (0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, PR_SET_PTRACER_ANY


def start(root: Path, *arguments: str, output: str = "output.txt", traced: bool = False) -> BaseProcess:
    """Begin the command, its output in a file of the project; with `traced`, once somebody traces the process."""
    given = (str(root), list(arguments), str(root / output))
    process = CONTEXT.Process(target=_once_traced if traced else command_of_its_own, args=given)
    process.start()
    return process


def _once_traced(root: str, arguments: list[str], output: str) -> None:
    ctypes.CDLL(None).prctl(*ANYBODY_MAY_TRACE)
    wait_for(lambda: "TracerPid:\t0\n" not in Path("/proc/self/status").read_text())
    time.sleep(0.05)  # the tracer has seized this process, and stops it within that time
    command_of_its_own(root, arguments, output)


def wait_for(condition: Callable[[], object], process: BaseProcess | None = None) -> None:
    """Until it is so, which it must be before the process ends and before patience does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        assert process is None or process.is_alive() or condition(), "the process ended before it happened"
        time.sleep(0.001)


def left(process: BaseProcess) -> int | None:
    """The exit code of a process, or the signal that killed it as a negative number."""
    process.join(PATIENCE)
    return process.exitcode
