"""What bounds a process that renders templates, and how it is asked: `hsdc_runtime.confined` is the other side."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import Any

LONGEST = 1 << 20
"""Most characters of one text."""
MEMORY = 1 << 29
"""Most bytes of address space."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def served(begin: Callable[[dict[str, Any]], Answer]) -> None:
    """Answer each line of the input with a line; `begin` takes what the first line tells."""
    _bound()
    with open(0, "rb") as asked, open(1, "wb") as answers:
        told = json.loads(asked.readline())
        answer = begin(told)
        for line in asked:
            _grant(told["seconds"])
            answers.write(json.dumps(answer(json.loads(line))).encode() + b"\n")
            answers.flush()


def _bound() -> None:
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with suppress(ValueError, OSError):  # a system that does not know this bound
            resource.setrlimit(what, (most, most))


def _grant(seconds: int) -> None:
    """So many more seconds of CPU time; the kernel ends a process that takes more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (ceil(used.ru_utime + used.ru_stime) + seconds, hard))
