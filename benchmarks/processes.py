"""A child process and what it took: CPU seconds and peak memory, as the kernel counted them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ru_maxrss."""


@dataclass(frozen=True)
class Spent:
    """CPU seconds (user and system, children included) and peak resident bytes of a process that has ended."""

    cpu: float
    peak: int


def spend(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, *, loud: bool = False
) -> Spent:
    """Run the interpreter with some arguments in a folder; RuntimeError with what it said where it fails.

    The kernel counts this process's own memory at the fork in a child's peak: keep torch out of it.
    """
    command = [sys.executable, *arguments]
    output = None if loud else subprocess.PIPE
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if loud else subprocess.DEVNULL,
        stderr=output,
    ) as process:
        said = process.stderr.read().decode(errors="replace") if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}: {said.strip()}")
    return Spent(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * UNIT)


def output_of(arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What the interpreter writes on stdout; CalledProcessError where it fails."""
    environment = {**os.environ, **(environment or {})}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
