"""A process of its own for templates, which are code of strangers: little memory, little time, no environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from select import select
from typing import Any

LARGEST_ANSWER = 1 << 28


class Confined:
    """The process of a module whose `serve` calls `hsdc_runtime.bounds.served`, ready to be asked.

    `seconds` bounds the CPU time of each answer; `told` is what the process is told before it is asked. It inherits
    nothing of the environment that could hold a secret, and ends with the process that asks.
    """

    def __init__(self, module: str, seconds: int, told: Mapping[str, Any]) -> None:
        self._seconds, self._rest = seconds, b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {module} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # whoever stops the run at its terminal stops it between two rows
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **_libraries()},
        )
        self._send({**told, "seconds": seconds})

    def ask(self, value: Any) -> dict[str, Any] | None:
        """The answer to a JSON value; None where the process took more time or memory than it may, and has ended."""
        self._send(value)
        answer = self._receive()
        if answer is None:
            self.close()
        return answer

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _send(self, value: Any) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(value).encode() + b"\n")
            stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # it has ended; what is read next tells

    def _receive(self) -> dict[str, Any] | None:
        stdout, end = self._process.stdout, time.monotonic() + 2 * self._seconds
        assert stdout is not None
        while b"\n" not in self._rest[-(1 << 16) :]:
            if stdout.closed or not select([stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            data = os.read(stdout.fileno(), 1 << 16)
            if not data or len(self._rest) > LARGEST_ANSWER:
                return None
            self._rest += data
        line, self._rest = self._rest, b""
        found: dict[str, Any] = json.loads(line)
        return found


def _libraries() -> dict[str, str]:
    """Without these, an interpreter that lies in an unusual place does not start."""
    return {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PYTHONHOME") if name in os.environ}
