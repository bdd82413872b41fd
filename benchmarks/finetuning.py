"""An adapter on the packaged causal language model: hsdc's steps and answers against the campaign's script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import spend
from benchmarks.results import Requirement, Result, Table
from benchmarks.workspace import workspace

if TYPE_CHECKING:
    from benchmarks.finetuning_ways import Spent

RUN = "lora_validation"
STEPS, ASKED = 3, 13
SCRIPT, OURS = "the script", "hsdc"
LEARNS_FASTER, JOB_FASTER, TOLERANCE = 3.0, 4.0, 1e-3
NOTES = (
    "The script is the campaign's: two batches of four rows a step, every row padded to 512 tokens, gradient",
    "checkpointing, the loss on all tokens of a row; then one call of the library's `generate` a row, greedy, ten new",
    "tokens, before and after. hsdc packs the same eight rows of a step into one sequence, computes logits where an",
    "answer's token is told, and ranks the two labels, as the demo profile does. Rank, alpha, dropout, targets,",
    "optimizer and rows of every step are the spec's in all.",
    "",
    "Supervised tokens are those of the answers: the script's loss has those of the prompts too, which say nothing of",
    "labels. A whole job is so many steps and so many rows asked before and after as stand in the proportion of the",
    "spec in the demo profile: 225 steps and 2,018 answers.",
    "",
    "CPU time is user and system time of the process; loading and converting are in none. One step of each way is",
    "taken beforehand. All are in one process and take turns. TRL's SFTTrainer is measured by the benchmark `sft`.",
)


def run(*, quick: bool, data: Path | None) -> Result:
    """Measure; with `quick`, one step and a few rows. `data` is not used."""
    steps, asked = (1, 4) if quick else (STEPS, ASKED)
    with workspace() as root:
        spend(["-m", "hsdc", "compile", RUN], root)
        rows = {
            split: json.loads((root / f"data/sample_hate/{split}.json").read_text("utf-8"))
            for split in ("few_train", "test")
        }
        from benchmarks.finetuning_ways import Ways  # heavy

        ways = Ways(root, RUN, root)
        spent = ways.measure(rows["few_train"], rows["test"], steps, asked)
        return _result(spent, ways.apart, steps, asked, quick=quick)


def _result(spent: dict[str, Spent], apart: float, steps: int, asked: int, *, quick: bool) -> Result:
    ours, script = spent[OURS], spent[SCRIPT]
    rate = ours.supervised / sum(ours.steps) / (script.supervised / sum(script.steps))
    job = script.total / ours.total
    required = (
        Requirement(f"losses of answers alike, within {TOLERANCE:.0e}", f"{apart:.1e}", apart < TOLERANCE),
        Requirement(f"{LEARNS_FASTER:.0f} times the supervised tokens", f"{rate:.1f}", rate >= LEARNS_FASTER),
        Requirement(f"{JOB_FASTER:.0f} times the whole job", f"{job:.1f}", job >= JOB_FASTER),
    )
    return Result(
        name="finetuning",
        command="python -m benchmarks finetuning",
        compared=(
            f"{steps} steps of 8 rows and {asked} rows asked before and after, of {RUN} (sample_lessons), "
            "SmolLM2-135M-Instruct, float32, CPU, one thread"
        ),
        tables=(_table(spent, script),),
        required=required,
        figures={
            name: {"steps": item.steps, "answers": item.answers, "supervised": item.supervised, "padded": item.padded}
            for name, item in spent.items()
        },
        notes=NOTES,
    )


def _table(spent: dict[str, Spent], script: Spent) -> Table:
    rows = []
    for name, item in spent.items():
        seconds = sum(item.steps)
        rows.append(
            (
                name,
                f"{seconds / len(item.steps):.2f}",
                f"{min(item.steps):.2f} to {max(item.steps):.2f}",
                f"{item.padded:,}",
                f"{item.supervised / seconds:.2f}",
                f"{sum(item.answers):.2f}",
                f"{item.total:.1f}",
                f"{script.total / item.total:.1f}",
            )
        )
    columns = (
        "way",
        "CPU s/step",
        "of single steps",
        "tokens computed",
        "supervised/CPU s",
        "answers, CPU s",
        "job",
        "times",
    )
    return Table("CPU time, measured", columns, tuple(rows))
