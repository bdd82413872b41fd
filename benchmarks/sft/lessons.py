"""What is learnt: the rows of a fine-tune and of its first steps, from a project or made at random."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

from benchmarks.sft.way import TAKEN
from hsdc_runtime.environment import peak_memory
from hsdc_runtime.nn.course import step_counts
from hsdc_runtime.nn.examples import Examples
from hsdc_runtime.nn.sampling import epoch_order, steps_of
from hsdc_schemas.finetuning import AdapterTraining, Lora
from hsdc_schemas.spec import Execution


@dataclass(frozen=True, eq=False)
class Lessons:
    """Rows to learn from, and how hsdc learns from them."""

    data: Examples
    validation: Examples
    pad_id: int
    lora: Lora
    training: AdapterTraining
    execution: Execution

    @property
    def steps(self) -> list[np.ndarray]:
        """The rows of each step of the first epoch."""
        return steps_of(epoch_order(len(self.data), None, self.training.seed, 0), self.training.rows_per_step)

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return step_counts(len(self.data), self.training, self.execution)[1]


@dataclass
class Steps:
    """What is seen at the end of each of so many steps; the time of a step is that since the one before.

    It is the process's CPU time, or with `on_cuda` time on the clock until the device has done all it was given. With
    `turns`, each step but the first waits for a line on stdin, and the end of one before is told in a line on stdout.
    """

    wanted: int
    turns: bool = False
    on_cuda: bool = False
    losses: list[float] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)
    supervised: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    peak: int = 0

    def end(self, loss: float, supervised: int, computed: int) -> None:
        """Note a step that has ended: its loss, its tokens of answers, and all its tokens."""
        self.marks.append(self._now())
        self.peak = torch.cuda.max_memory_allocated() if self.on_cuda else peak_memory()
        self.losses.append(loss)
        self.supervised.append(supervised)
        self.computed.append(computed)
        if self.turns and not self.enough():
            print(TAKEN, flush=True)
            sys.stdin.readline()

    def _now(self) -> float:
        if not self.on_cuda:
            return process_time()
        torch.cuda.synchronize()
        return perf_counter()

    def enough(self) -> bool:
        """Whether every wanted step is taken."""
        return len(self.losses) >= self.wanted

    def answer(self) -> dict[str, Any]:
        """As `Taken` reads it."""
        return {
            "losses": self.losses,
            "seconds": [after - before for before, after in pairwise(self.marks)],
            "supervised": self.supervised[1:],
            "computed": self.computed[1:],
            "peak": self.peak,
        }
