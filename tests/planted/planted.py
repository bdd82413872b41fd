"""Faults planted in a copy of this tree, one at a time: the tests must catch every one, or they are worth nothing.

    make planted                                          all of them; some minutes
    .venv/bin/python tests/planted/planted.py TEXT…       those whose name holds a text; renews what is written of them

Each fault replaces a stretch of source in a copy of what git knows of the tree, and the tests that should notice are
run. Whatever failed is run again without any fault, and counts only where it passes then. The exit code is 1 where a
fault is not caught. What came out is in `benchmarks/results/planted.json` and `planted.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from faults import FAULTS, Fault

from benchmarks.results import FOLDER, Requirement, Result, Table, show, write

ROOT = Path(__file__).resolve().parents[2]
ENOUGH = 20
SHOWN = 3
LIBRARIES = ("accelerate", "pydantic", "safetensors.torch", "scipy.optimize", "transformers.models.bert.modeling_bert")
_CAUGHT = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py(?:::[^\s\[]+)?)", re.MULTILINE)


@dataclass(frozen=True)
class Caught:
    """A fault, and the tests that caught it, without their parameters."""

    fault: Fault
    by: tuple[str, ...]


def copy(folder: Path) -> Path:
    """What git tracks, or would track, of this tree."""
    known = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    target = folder / "tree"
    for name in filter(None, known.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def planted(text: str, fault: Fault) -> str:
    """A source with the fault in it; ValueError where it is no longer what the fault was made for."""
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.file} has {text.count(fault.old)} times, not once: {fault.old!r}")
    return text.replace(fault.old, fault.new)


def failing(tree: Path, tests: Iterable[str]) -> tuple[str, ...]:
    """The tests of some files that fail in a tree; RuntimeError where they cannot be run."""
    said = tree.with_name("said")
    pid = os.fork()
    if not pid:
        code = 99
        try:
            code = _run(tree, tests, said)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, 1):
        raise RuntimeError(said.read_text())
    return tuple(dict.fromkeys(_CAUGHT.findall(said.read_text())))


def _run(tree: Path, tests: Iterable[str], said: Path) -> int:
    """Run tests of a tree in this process, which has the libraries loaded and nothing of ours."""
    handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    folders = [str(tree / name) for name in ("", "schemas", "compiler", "runtime")]
    sys.path[:0] = folders
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": os.pathsep.join(folders), "PYTHONDONTWRITEBYTECODE": "1"}
    os.chdir(tree)
    code = pytest.main(["-q", "--tb=no", "-p", "no:cacheprovider", f"--rootdir={tree}", *tests])
    sys.stdout.flush()
    return int(code)


def plant(tree: Path, fault: Fault) -> Caught:
    """The tests that catch a fault; the tree is left as it was."""
    path = tree / fault.file
    before = path.read_text("utf-8")
    path.write_text(planted(before, fault), "utf-8")
    try:
        return Caught(fault, failing(tree, fault.tests))
    finally:
        path.write_text(before, "utf-8")


def result(found: Sequence[Caught]) -> Result:
    """What was planted and caught, as tables."""
    rows = []
    for caught in found:
        names = [name.removeprefix("tests/") for name in caught.by[:SHOWN]]
        names += [f"and {len(caught.by) - SHOWN} more"] if len(caught.by) > SHOWN else []
        rows.append((caught.fault.name, caught.fault.file, str(len(caught.by)), ", ".join(names) or "**nothing**"))
    missed = [caught.fault.name for caught in found if not caught.by]
    return Result(
        "planted",
        "python tests/planted/planted.py",
        "Faults planted in a copy of this tree, one at a time, and the tests that catch them",
        (Table("Faults", ("fault", "planted in", "caught by", "which are"), tuple(rows), (0, 1, 3)),),
        (
            Requirement(f"at least {ENOUGH} faults", str(len(found)), len(found) >= ENOUGH),
            Requirement("every fault is caught", ", ".join(missed) or f"{len(found)} of {len(found)}", not missed),
        ),
        {"caught": {caught.fault.name: list(caught.by) for caught in found}},
        (
            "With each fault only the tests that should notice were run, parameters not told apart. Every one that is",
            "named here passes where no fault is planted.",
        ),
    )


def _before(anew: Sequence[Fault]) -> list[Caught]:
    """What is written of other faults than those that are planted anew."""
    path = FOLDER / "planted.json"
    known = json.loads(path.read_bytes())["figures"]["caught"] if path.exists() else {}
    return [Caught(fault, tuple(known[fault.name])) for fault in FAULTS if fault not in anew and fault.name in known]


def main() -> int:
    """Plant what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    texts = parser.parse_args().texts
    chosen = [fault for fault in FAULTS if not texts or any(text in fault.name for text in texts)]
    for name in LIBRARIES:  # once, so that no run of tests has to
        import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        tree = copy(Path(folder))
        found = []
        for fault in chosen:
            found.append(plant(tree, fault))
            print(f"{fault.name}: {', '.join(found[-1].by[:SHOWN]) or 'NOT CAUGHT'}", flush=True)
        broken = failing(tree, sorted({name for caught in found for name in caught.by}))
    if broken:
        print(f"these fail without any fault, and do not count: {', '.join(broken)}")
    found = [Caught(caught.fault, tuple(name for name in caught.by if name not in broken)) for caught in found]
    told = result([*_before(chosen), *found])
    print("\n".join(show(told)))
    write(told)
    return int(not told.required[1].met)


if __name__ == "__main__":
    sys.exit(main())
