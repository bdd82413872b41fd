"""Faults of the machine, made for real: system calls that fail, disks that are full or read-only, a clock set back.

Where the machine does not let a test do that, the test is skipped and says why.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from apart import PATIENCE, left, start

_CALL = re.compile(r"^(\w+)\(\d+<([^>]*)>.*?(\(INJECTED\))?$", re.MULTILINE)


@dataclass(frozen=True)
class Call:
    """A system call of a traced process: its name, the file it was about, and whether it was made to fail."""

    name: str
    path: str
    injected: bool


@dataclass(frozen=True)
class Traced:
    """What became of a traced command: exit code, what it said, and the calls that were looked at, in order."""

    code: int | None
    said: str
    calls: tuple[Call, ...]


def traced(root: Path, *arguments: str, call: str = "fsync", fault: str = "") -> Traced:
    """The command with a kind of system call logged, and failing where `fault` says so, as in `error=EIO:when=3`."""
    _needs("strace")
    log = root.parent / "calls.txt"
    inject = ["-e", f"inject={call}:{fault}"] if fault else []
    process = start(root, *arguments, traced=True)
    tracer = ["strace", "-qq", "-y", "-o", str(log), "-e", f"trace={call}", *inject, "-p", str(process.pid)]
    with subprocess.Popen(tracer, stderr=subprocess.PIPE, text=True) as strace:
        code = left(process) if strace.poll() is None else None
        try:
            _, complaint = strace.communicate(timeout=PATIENCE)
        finally:
            strace.kill()
            process.kill()
    if not log.exists() or (code is None and strace.returncode):
        pytest.skip(f"strace cannot trace here: {complaint.strip()}")
    calls = tuple(Call(name, path, bool(mark)) for name, path, mark in _CALL.findall(log.read_text()))
    return Traced(code, (root / "output.txt").read_text(), calls)


@contextmanager
def disk(folder: Path, options: str) -> Iterator[None]:
    """A disk of its own over a folder, with what was in it, as far as there is room: `size=64k`, `nr_inodes=20`."""
    before = folder.with_name(f"{folder.name}.before")
    folder.rename(before) if folder.exists() else before.mkdir()
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        with suppress(shutil.Error):
            shutil.copytree(before, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(folder: Path, options: str) -> None:
    """Change a disk of `disk`."""
    _mount("-o", f"remount,{options}", str(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that nobody can write to, not even the superuser."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    _needs("mount")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")


CLOCK = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, at);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        at->tv_sec -= SECONDS;
    return result;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


def clock_set_back(folder: Path, seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is that much behind; clocks that only go forward are not."""
    _needs("cc")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(CLOCK.replace("SECONDS", str(seconds)))
    done = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no library can be built here: {done.stderr.strip()}")
    return {**os.environ, "LD_PRELOAD": str(library)}
