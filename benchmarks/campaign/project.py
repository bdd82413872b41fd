"""A generated campaign as a project of hsdc, and the calls of hsdc on it as cases."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path

from benchmarks.campaign.measure import Case, aside
from benchmarks.campaign.values import Spec, campaign
from benchmarks.campaign.written import spec_text, write_hsdc
from benchmarks.workspace import ROOT

PACKAGES = ("schemas/hsdc_schemas", "compiler/hsdc_compiler", "runtime/hsdc_runtime", "hsdc")
TICK = 0.05
"""Seconds in which the file system's clock surely moves on; hsdc trusts no file as young as its own stamp."""


def snapshot(folder: Path) -> dict[str, str]:
    """Copy hsdc as it is now, so that all rounds measure the same; the variables that make Python use the copy."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / Path(package).name, ignore=shutil.ignore_patterns("__pycache__"))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(folder)}


@dataclass
class Campaign:
    """A project of `size` specs in chains of `depth`; `environment` is that of a snapshot.

    It keeps the specs of two chains only: the memory of this process counts in a child's peak.
    """

    folder: Path
    size: int
    depth: int
    environment: dict[str, str]
    specs: list[Spec] = field(init=False)
    _edits: count[int] = field(default_factory=lambda: count(1_000_000), init=False)

    def __post_init__(self) -> None:
        write_hsdc(self.folder, campaign(self.size, self.depth))
        self.specs = list(islice(campaign(self.size, self.depth), 2 * self.depth))

    def case(
        self, what: str, *arguments: str, prepare: Callable[[], object], says: str, accepts: tuple[int, ...] = (0,)
    ) -> Case:
        """A call of hsdc on this project."""
        command = (sys.executable, "-m", "hsdc", *arguments)
        return Case(f"hsdc, {self.size:,}: {what}", command, self.folder, self.environment, prepare, says, accepts)

    def compiling(self) -> list[Case]:
        """From scratch, writing and not; and with nothing changed."""
        same, whole = f"{self.size} runs compiled for profile demo: nothing has changed", f"{self.size} written, 0 unch"
        stale = f"0 fresh, {self.size} stale"
        return [
            self.case("from scratch", "compile", prepare=self.clear, says=whole),
            self.case("nothing changed", "compile", prepare=self.settle, says=same),
            self.case(
                "from scratch, writing nothing (--check)",
                "compile",
                "--check",
                prepare=self.clear,
                says=stale,
                accepts=(1,),
            ),
        ]

    def editing(self) -> list[Case]:
        """One spec edited: the last of a chain, and the root of a whole chain."""
        leaf, root = self.specs[self.depth - 1], self.specs[self.depth]
        written = "{} written, {} unchanged"
        return [
            self.case(
                "one leaf spec edited",
                "compile",
                prepare=lambda: self.edit(leaf),
                says=written.format(1, self.size - 1),
            ),
            self.case(
                f"one root spec edited ({self.depth} runs)",
                "compile",
                prepare=lambda: self.edit(root),
                says=written.format(self.depth, self.size - self.depth),
            ),
        ]

    def clear(self) -> None:
        """Take away all that hsdc has written."""
        for part in ("generated", ".hsdc"):
            aside(self.folder / part, self.folder.parent / "aside")

    def settle(self) -> None:
        """Compile twice: the second stamp is younger than all that the first compilation wrote."""
        for _ in range(2):
            self.call(sys.executable, "-m", "hsdc", "compile")
            time.sleep(TICK)

    def edit(self, spec: Spec, *, settled: bool = False) -> None:
        """Give a spec of a compiled project another seed, which its children inherit."""
        if not settled:
            self.settle()
        seed = {"training": {**spec.said.get("training", {}), "seed": next(self._edits)}}
        text = spec_text(replace(spec, said={**spec.said, **seed}))
        (self.folder / "specs" / f"{spec.name}.yaml").write_text(text)

    def restore(self) -> None:
        """Take the edits back and compile."""
        for spec in self.specs:
            (self.folder / "specs" / f"{spec.name}.yaml").write_text(spec_text(spec))
        self.settle()

    def call(self, *command: str) -> None:
        """Run something untimed; RuntimeError with what it said where it fails."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")

    def commits(self) -> Case:
        """Commit the campaign, then one leaf edited and compiled; `hsdc diff` of the two."""
        git = ("git", "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "gc.auto=0")
        leaf = self.specs[self.depth - 1]
        (self.folder / ".gitignore").write_text(".hsdc/\n")
        self.call("git", "init", "--quiet")
        for message in ("campaign", "one change"):
            if message == "one change":
                self.edit(leaf, settled=True)
            self.settle()
            self.call(*git, "add", "--all")
            self.call(*git, "commit", "--quiet", "--message", message)
        what = "diff HEAD~1, one leaf spec changed"
        return self.case(what, "diff", "HEAD~1", prepare=lambda: None, says=leaf.name)
