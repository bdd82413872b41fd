"""The ways that are compared, and their tables."""

from __future__ import annotations

from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import accumulate
from typing import Any

from benchmarks.results import Requirement, Result, Table
from benchmarks.sft.way import Taken, Way
from benchmarks.workspace import ROOT

LIBRARY = ROOT / "benchmarks" / "sft" / "peers.txt"
PACKED = Way("TRL, packed", "TRL", "packed")
PADDED = Way("TRL, padded to the longest of a step", "TRL", "padded")
FILLED = Way("TRL, packed to 1,024 tokens, steps of its own", "TRL", "filled", 1024)
OURS = Way("hsdc, packed", "hsdc", "packed")
PLAIN = replace(OURS, name="hsdc, packed, torch's linear layers", own_products=False)
NOT_SLOWER, ALIKE = 0.95, 1e-3
SHOWN = (1, 2, 3, 5, 10, 12, 20, 30, 40, 50)

NOTES = (
    "Every way learns the same rows in the same steps of eight, in hsdc's order, from the same first weights of the",
    "adapter, with the spec's rank, alpha, targets, optimizer, rates and clipping, the loss on the answers' tokens",
    "alone, without gradient checkpointing. Dropout is 0 in all, because the libraries draw it otherwise. Steps are",
    "optimizer steps of one batch. hsdc's are taken by the loop that its stage `train` runs, TRL's by its SFTTrainer,",
    "of which nothing is changed; its loss is read where it is computed. TRL's model has torch's linear layers; hsdc's",
    "multiply by oneDNN, and a row shows hsdc without that.",
    "",
    "Packed: TRL's own packing (`packing=True`, best-fit decreasing) of the rows of each step, which makes one",
    "sequence of them; without FlashAttention, which needs a GPU, the library keeps rows apart by a mask made from",
    "their positions, and the losses show that it does. Packed to 1,024 tokens: TRL packs the rows of the first 12",
    "steps as it does by itself, up to its default length; its steps are others, so their losses are not compared.",
    "On a CPU TRL computes logits for every token, on a GPU for supervised ones alone; hsdc does that everywhere.",
    "",
    "CPU time is user and system time between the ends of steps, with all that a loop does there; the first step is",
    "not measured. The processes of the ways take turns, a step each, save the one whose steps are its own, which ran",
    "afterwards. Ways of fewer steps are compared with hsdc over those steps. The peak is the kernel's, of the whole",
    "process until its last step ended.",
)


def result(taken: dict[Way, Taken], facts: dict[str, Any], steps: int) -> Result:
    """The measurements as tables and requirements."""
    theirs = (PACKED, PADDED, FILLED)
    times = {way: _times(way, taken) for way in theirs}
    best = min(times, key=times.__getitem__)
    apart = {way: _apart(taken[way].losses, taken[OURS].losses) for way in (PACKED, PADDED, PLAIN)}
    least = min(_by_step(taken[way], taken[OURS])[0] for way in (PACKED, PADDED))
    peers = ", ".join(line.replace("==", " ") for line in LIBRARY.read_text().splitlines() if line.startswith("trl="))
    return Result(
        name="sft",
        command="python -m benchmarks sft",
        compared=(
            f"TRL's SFTTrainer ({peers}, peft {version('peft')}) and hsdc's loop: the first {steps} steps of "
            f"lora_validation on sample_lessons ({facts['rows']} rows of {facts['shortest']} to {facts['longest']} "
            "tokens), SmolLM2-135M-Instruct, float32, CPU, one thread"
        ),
        tables=(_time(taken), _losses(taken, steps)),
        required=(
            Requirement(
                f"the same losses over the first {steps} steps, within {ALIKE:.0e}",
                f"{max(apart[PACKED], apart[PADDED]):.1e}",
                max(apart[PACKED], apart[PADDED]) <= ALIKE,
            ),
            Requirement(
                f"at least {NOT_SLOWER} of the supervised tokens that TRL's best way learns in a CPU second",
                f"{times[best]:.2f} ({best.name}); {least:.2f} in the worst pair of steps",
                times[best] >= NOT_SLOWER,
            ),
        ),
        figures={
            "rows": facts,
            "apart": {way.name: value for way, value in apart.items()},
            "taken": [{**asdict(way), **asdict(one)} for way, one in taken.items()],
        },
        notes=NOTES,
    )


def _apart(theirs: list[float], ours: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(theirs, ours, strict=False))


def _times(way: Way, taken: dict[Way, Taken]) -> float:
    """How many times hsdc's rate is another way's, over the steps that both took."""
    both = None if way is FILLED else len(taken[way].seconds)
    ours = taken[OURS]
    return sum(ours.supervised[:both]) / sum(ours.seconds[:both]) / taken[way].rate


def _by_step(theirs: Taken, ours: Taken) -> tuple[float, float]:
    """Least and most times that hsdc's rate is another way's, of pairs of the same step."""
    ratios = [a / b for a, b in zip(theirs.seconds, ours.seconds, strict=False)]
    return min(ratios), max(ratios)


def _time(taken: dict[Way, Taken]) -> Table:
    rows = []
    for way, one in taken.items():
        spread = "–"
        if way not in (OURS, FILLED):
            spread = " to ".join(f"{value:.2f}" for value in _by_step(one, taken[OURS]))
        rows.append(
            (
                way.name,
                str(len(one.seconds)),
                f"{sum(one.supervised):,}",
                f"{sum(one.computed):,}",
                f"{sum(one.seconds) / len(one.seconds):.2f}",
                f"{one.rate:.2f}",
                f"{_times(way, taken):.2f}",
                spread,
                f"{one.peak / 1e9:.2f}",
            )
        )
    columns = ("way", "steps", "supervised tokens", "tokens computed", "CPU s/step", "supervised/CPU s")
    return Table(
        "CPU time and peak memory, measured",
        (*columns, "hsdc is so many times as fast", "of pairs of steps", "peak GB"),
        tuple(rows),
    )


def _losses(taken: dict[Way, Taken], steps: int) -> Table:
    """Some losses, and the largest difference so far from hsdc's."""
    ways = (OURS, PACKED, PADDED)
    ours = taken[OURS].losses
    apart = [list(accumulate((abs(a - b) for a, b in zip(taken[w].losses, ours, strict=False)), max)) for w in ways[1:]]
    rows = tuple(
        (
            str(at),
            *(_at(taken[way].losses, at, ".6f") for way in ways),
            *(_at(differences, at, ".1e") for differences in apart),
        )
        for at in SHOWN
        if at <= steps
    )
    columns = ("step", *(way.name for way in ways), "packed, most apart so far", "padded, most apart so far")
    return Table("The same work: losses, mean over the supervised tokens of a step", columns, rows)


def _at(values: list[float], step: int, form: str) -> str:
    return f"{values[step - 1]:{form}}" if step <= len(values) else "–"
