"""A way to train an adapter, as a value that a process of its own is given, and what that process measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.processes import spend
from benchmarks.workspace import ROOT

TAKEN = "taken"
"""What a process that takes turns says at the end of a step."""


@dataclass(frozen=True)
class Way:
    """Who trains, how rows become sequences, and whose linear layers multiply.

    `packed`: the rows of a step in one sequence; `filled`: as many rows in one as `most` tokens allow, which is a
    step; `padded`: each row in a line of its own, as long as the longest of a batch, or as `most` where it is given.
    """

    name: str
    by: Literal["script", "TRL", "hsdc"]
    rows: Literal["packed", "filled", "padded"]
    most: int | None = None
    own_products: bool = True


@dataclass(frozen=True)
class Taken:
    """Losses of all steps; of those after the first, seconds, tokens of answers and all tokens computed, of each.

    `peak` are the process's most resident bytes until its last step ended, or the device's most allocated ones.
    """

    losses: list[float]
    seconds: list[float]
    supervised: list[int]
    computed: list[int]
    peak: int

    @property
    def rate(self) -> float:
        """Supervised tokens learnt in a second."""
        return sum(self.supervised) / sum(self.seconds)


def ask(root: Path, asked: dict[str, Any], library: Path | None = None) -> Any:
    """What a process of its own answers; `library` are the folders of packages that only the peers need."""
    arguments, answer = _arguments(root, asked, "answer")
    spend(arguments, ROOT, _environment(library))
    return json.loads(answer.read_bytes())


def take(root: Path, way: Way, steps: int, library: Path | None, **more: Any) -> Taken:
    """Train the first steps in a process of its own."""
    return Taken(**ask(root, {"way": asdict(way), "steps": steps, **more}, library))


def take_in_turns(root: Path, steps: Mapping[Way, int], library: Path | None, **more: Any) -> dict[Way, Taken]:
    """Train so many first steps in a process for each way, of which one works at a time: a step each, in turns."""
    answers, children = {}, {}
    with ExitStack() as stack:
        for number, (way, wanted) in enumerate(steps.items()):
            asked = {"way": asdict(way), "steps": wanted, "turns": True, **more}
            arguments, answers[way] = _arguments(root, asked, f"answer-{number}")
            children[way] = stack.enter_context(_child(arguments, library))
            stack.callback(children[way].kill)
            _until_taken(children[way])
        for number in range(1, max(steps.values())):
            for way in (way for way, wanted in steps.items() if number < wanted):
                stdin = children[way].stdin
                assert stdin is not None
                stdin.write("\n")
                stdin.flush()
                _until_taken(children[way])
    return {way: Taken(**json.loads(answer.read_bytes())) for way, answer in answers.items()}


def _child(arguments: list[str], library: Path | None) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {**os.environ, **_environment(library)}
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, text=True, **pipes)


def _until_taken(child: subprocess.Popen[str]) -> None:
    """Wait until a child has taken its step, or has ended after its last one; RuntimeError where it failed."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == TAKEN:
            return
    if code := child.wait():
        raise RuntimeError(f"{' '.join(map(str, child.args[1:]))} ended with {code}")


def _arguments(root: Path, asked: dict[str, Any], answer: str) -> tuple[list[str], Path]:
    file = root / f"{answer}.json"
    return ["-m", "benchmarks.sft.child", str(root), json.dumps(asked), str(file)], file


def _environment(library: Path | None) -> dict[str, str]:
    """Packages of the peers come behind those of this environment, whatever else Python was told."""
    own = [path for path in sys.path if path]
    quiet = {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
    return {**quiet, "PYTHONPATH": os.pathsep.join([*own, str(library)])} if library else quiet
