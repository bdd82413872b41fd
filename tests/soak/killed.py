"""Work in a forked process that is killed: at a moment, or just before a numbered operation that changes a file."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hsdc.commands.compile
import hsdc_compiler.publish
import hsdc_runtime.execute
import hsdc_runtime.nn.loop
import hsdc_runtime.run
from hsdc_runtime.ledger import LEDGER, Ledger

FIRST, COMPILING, APPEND = "start and inputs", "compile: manifests and cache", "ledger append"
PHASES = (
    FIRST,
    "compile: reading",
    COMPILING,
    "stage train",
    "train's checkpoint",
    "other stages",
    "publish",
    APPEND,
    "record",
    "8 writers",
)
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR
PATIENCE = 180.0
AIMED = ("train's checkpoint", "other stages", "publish", APPEND, "record")  # short ones, rarely hit by chance


@dataclass(frozen=True)
class Moment:
    """When to kill: after some seconds, or before some operation, of all or from a phase on; with neither, never."""

    seconds: float | None = None
    operation: int | None = None
    phase: str = ""


class Noted:
    """What a child says of itself in memory that outlives it: its phase, its operations, what it was promised."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 12)

    def __getitem__(self, place: int) -> int:
        found: int = struct.unpack_from("i", self._memory, 4 * place)[0]
        return found

    def __setitem__(self, place: int, value: int) -> None:
        struct.pack_into("i", self._memory, 4 * place, value)

    @property
    def phase(self) -> str:
        """The phase it was in last."""
        return PHASES[self[0]]


@dataclass(frozen=True)
class Ending:
    """How a child ended: killed in a phase, or by itself with an exit code."""

    killed: str | None
    code: int | None
    operations: int
    seconds: float


def start(work: Callable[[], int], moment: Moment, noted: Noted, output: Path, guard: Callable[[], None] | None) -> int:
    """The id of a child that does the work and leaves with its exit code; with a guard taken away, if one is given."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.dont_write_bytecode = True
        if guard is not None:
            guard()
        _name_phases(noted)
        _count_operations(noted, moment)
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def ended(pid: int, noted: Noted, moment: Moment = Moment(), began: float | None = None) -> Ending:
    """Wait for a child, and kill it at its moment."""
    began = time.monotonic() if began is None else began
    limit = PATIENCE if moment.seconds is None else moment.seconds
    since = began if not moment.phase else None
    while (status := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if since is None and (noted.phase == moment.phase or time.monotonic() - began >= PATIENCE):
            since = time.monotonic()
        if since is not None and time.monotonic() - since >= limit:
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)
            break
        time.sleep(0.0005)
    seconds, code = time.monotonic() - began, os.waitstatus_to_exitcode(status[1])
    if code == -signal.SIGKILL and seconds < PATIENCE:
        return Ending(noted.phase, None, noted[1], seconds)
    return Ending(None, code, noted[1], seconds)


def _count_operations(noted: Noted, moment: Moment) -> None:
    """Count what changes files, and die at the moment: a write is half done then, the ledger's last line torn."""
    write, fsync, left = os.write, os.fsync, moment.operation or 0

    def operation(half: Callable[[], object] | None = None) -> None:
        nonlocal left
        noted[1] += 1
        left -= moment.phase in ("", noted.phase)
        if left == 0 and moment.operation is not None and moment.phase in ("", noted.phase):
            if half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)

    def heard(event: str, given: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(given[2], int) and given[2] & WRITING):
            operation()

    def torn_write(handle: int, data: Any) -> int:
        operation(lambda: write(handle, memoryview(data)[: len(data) // 2]))
        return write(handle, data)

    def torn_fsync(handle: int) -> None:
        operation(lambda: _tear(handle))
        fsync(handle)

    os.write, os.fsync = torn_write, torn_fsync
    sys.addaudithook(heard)


def _tear(handle: int) -> None:
    """Lose a part of the ledger's last line, as a machine that stops before it is forced to the disk may."""
    with suppress(FileNotFoundError):
        ledger = Path(LEDGER)
        if os.path.samestat(os.fstat(handle), ledger.stat()):
            data = ledger.read_bytes()
            line = len(data) - (data[:-1].rfind(b"\n") + 1)
            os.ftruncate(handle, len(data) - random.Random(len(data)).randint(1, line - 1))


def _name_phases(noted: Noted) -> None:
    """Wrap what begins a phase, so that it is known where a kill came; nothing else is changed."""
    _named(noted, hsdc.commands.compile, "execute", lambda _: "compile: reading")
    for name in ("write_atomically", "write_folder", "outlive"):
        _named(noted, hsdc_compiler.publish, name, lambda _: COMPILING)
    _named(noted, hsdc_runtime.execute, "_call", lambda name: "stage train" if name == "train" else "other stages")
    _named(noted, hsdc_runtime.nn.loop, "save_checkpoint", lambda _: "train's checkpoint")
    _named(noted, hsdc_runtime.execute, "_publish", lambda _: "publish")
    _named(noted, hsdc_runtime.run, "write_atomically", lambda _: "record")
    _named(noted, Ledger, "append", lambda _: "8 writers" if noted.phase == "8 writers" else APPEND)


def _named(noted: Noted, owner: Any, name: str, phase: Callable[[Any], str]) -> None:
    wrapped = getattr(owner, name)

    def call(*given: Any, **named: Any) -> Any:
        before, noted[0] = noted[0], PHASES.index(phase(given[0]))
        try:
            return wrapped(*given, **named)
        finally:
            noted[0] = before

    setattr(owner, name, call)
