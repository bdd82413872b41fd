"""Writes faults.md: every fault that can be provoked by a command, provoked, and what hsdc says to it.

Each fault is had in a copy of the small project of commands.md, inside a namespace of its own, so that nothing is left
mounted. `python -m docs.faults` writes the page anew; with `--print` it shows the part that needs no tracing, which a
test compares.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from docs.provoked import FAULTS, LAID, Fault
from docs.sessions import Step, play
from docs.toy import ROOT, lay

PAGE = ROOT / "docs/faults.md"
ALONE = "HSDC_FAULTS_ALONE"
START = """\
# Faults, by example

What goes wrong on real machines, made to go wrong, and what hsdc says to it. Each session begins with a copy of the
small project of [the commands](commands.md), with `run4` locked, finished or killed in training. `strace` makes a call
of the system fail, or kills just before it; `mount` makes a disk of its own. `python -m docs.faults` provoked all this
and wrote this page; times are cut, and … stands for lines left out. Exit codes are those of [reviews and CI](ci.md).
"""
END = """\
## What is provoked by tests only

| fault | what holds | test |
| --- | --- | --- |
| the clock is set back by a year | no order of times decides anything | `test_clock_and_process_ids.py` |
| a process id is used again | a lock is held by a process, not by an id; its leftovers are in nobody's way | the same |
| a file system without locks | what a killed process left is no lock | the same |
| memory runs out | exit 4, E433, with what to lower | `test_machine.py` |
| SIGKILL at any moment | whole or absent; the next run goes on to the same bits | `make soak` |
| any bit flips in anything that is stored | it is noticed | `make flips` |
"""


def page(faults: Sequence[Fault]) -> str:
    """The page with some faults, had anew."""
    with tempfile.TemporaryDirectory() as folder, _command_on_path(Path(folder, "bin")):
        states = _states(Path(folder, "states"), {fault.begins for fault in faults})
        had = [(fault, _sections(fault, _copy(states[fault.begins], Path(folder, "project")))) for fault in faults]
    sections = ["\n".join(lines) for _, lines in had]
    return "\n".join([START, *_table(had), *sections, END])


def _table(had: Iterable[tuple[Fault, list[str]]]) -> Iterator[str]:
    yield "| fault | provoked by | exit | hsdc says |\n| --- | --- | ---: | --- |"
    for fault, lines in had:
        anchor = fault.title.lower().replace(" ", "-").replace(",", "").replace("'", "")
        step = fault.steps[fault.telling]
        answer = lines[lines.index(f"$ {step.call}") + 1 :]
        said = next(line for line in answer if fault.sign in line)
        by = step.call if step.code and not step.call.startswith("hsdc ") else fault.steps[0].call
        yield f"| [{fault.title}](#{anchor}) | `{_cell(by)}` | {step.code} | {_cell(said)} |"
    yield ""


def _cell(text: str) -> str:
    text = " ".join(text.split())
    return (text if len(text) <= 100 else f"{text[:99].rstrip()}…").replace("|", "\\|")


def _sections(fault: Fault, root: Path) -> list[str]:
    before = Path.cwd()
    os.chdir(root)
    try:
        shown = [line for step in fault.steps for line in play(step)]
    finally:
        os.chdir(before)
        for line in Path("/proc/mounts").read_text().splitlines():
            if line.split()[1].startswith(f"{root}/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=True)
        shutil.rmtree(root)
    return [f"## {fault.title}", "", *textwrap.wrap(fault.text, 116), "", "```console", *shown, "```", ""]


def _states(folder: Path, wanted: Set[str]) -> dict[str, Path]:
    """The project as faults find it: each state is a copy of another one, and one command later."""
    found = {"": folder / "nothing"}
    lay(found[""])
    for name, (source, call, code) in LAID.items():
        if name in wanted:
            found[name] = _copy(found[source], folder / name)
            os.chdir(found[name])
            list(play(Step(call, code=code)))
    os.chdir(ROOT)
    return found


def _copy(source: Path, target: Path) -> Path:
    number = 0
    while (copy := target.with_name(f"{target.name}{number or ''}")).exists():
        number += 1
    return Path(shutil.copytree(source, copy, symlinks=True))


@contextmanager
def _command_on_path(folder: Path) -> Iterator[None]:
    """`hsdc` as a command of its own, for what runs it under another program."""
    folder.mkdir()
    path = os.pathsep.join(str(ROOT / name) for name in ("", "schemas", "compiler", "runtime"))
    command = f"#!/bin/sh\nPYTHONPATH='{path}' exec '{sys.executable}' -m hsdc \"$@\"\n"
    (folder / "hsdc").write_text(command)
    (folder / "hsdc").chmod(0o755)
    before = {name: os.environ.get(name) for name in ("PATH", "COLUMNS", "OMP_NUM_THREADS")}
    os.environ |= {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100", "OMP_NUM_THREADS": "1"}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def main() -> None:
    """Write the page, or print it without what is traced; in a namespace of its own, by beginning anew in it."""
    if ALONE not in os.environ:
        os.environ[ALONE] = "1"
        again = [sys.executable, "-m", "docs.faults", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--mount", "--map-root-user", *again])
    if "--print" in sys.argv[1:]:
        sys.stdout.write(page([fault for fault in FAULTS if not fault.traced]))
    else:
        PAGE.write_text(page(FAULTS), encoding="utf-8")
        sys.stdout.write(f"written: {PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
