"""The ways that are compared, and their tables."""

from __future__ import annotations

from dataclasses import asdict, replace
from statistics import median
from typing import Any

from benchmarks.results import Requirement, Result, Table
from benchmarks.trainer.way import Taken, Way

LIMIT = Way("Trainer, padded to 224", "Trainer", "limit")
LONGEST = Way("Trainer, padded to the longest of a batch", "Trainer", "longest")
OURS = Way("hsdc", "hsdc", "length")
OURS_PLAIN = replace(OURS, name="hsdc, torch's linear layers", own_products=False)
LONGEST_WHOLE = replace(LONGEST, name="Trainer, padded to the longest, activations kept", checkpointing=False)
OURS_WHOLE = replace(OURS, name="hsdc, activations kept", checkpointing=False)
WAYS = (LIMIT, LONGEST, OURS, OURS_PLAIN, LONGEST_WHOLE, OURS_WHOLE)
LESS_TIME, TOLERANCE, CHECKED, ALTERNATED = 1.3, 1e-5, 3, 12
Series = dict[Way, list[Taken]]

NOTES = (
    "Model, heads, pooling, losses, optimizer, rates, clipping and order of rows are the same in all ways: those of",
    "run4 in its first epoch, without R-Drop. Texts are tokenized before. Trainer's batches are 16 rows in the",
    "sampler's order, 3 to a step; hsdc sorts the 48 rows of a step by length and cuts them. Gradient checkpointing",
    "is on, save where activations are kept. Trainer's linear layers are torch's; hsdc's multiply by oneDNN, and how",
    "much of the difference that is, the way with torch's linear layers shows.",
    "",
    "CPU time is user and system time between the ends of steps, with all that a loop does there. Every round runs",
    "every way once, in a process of its own, for the same steps; the first step is not measured. Padding to 224 is",
    "measured in the first round only, and compared with the others there. An epoch has equally many steps in all",
    "ways; its time is that of a measured step times their number. Validation and checkpoints are in no time and no",
    "peak.",
    "",
    "The peak is the kernel's, of the whole process until its last step ended: libraries, data, model, optimizer and",
    "activations. hsdc puts up to `tokens_per_micro_batch` tokens into one pass, whatever number of rows that is.",
    "",
    "What torch's deterministic algorithms cost is measured in one run of hsdc's loop, which may take any algorithm",
    "in every second step. On a GPU, that would cost otherwise. Gradients are summed in the order of the micro-",
    "batches by the backward passes, one after the other, in every way: in one process that order costs nothing, and",
    "there is no other to compare it with.",
)


def result(
    steps: int, counts: dict[str, Any], series: Series, turns: Taken, losses: dict[Way, list[float]], two_task: bool
) -> Result:
    """The measurements as tables and requirements."""
    apart = max(_apart(losses[way], losses[OURS]) for way in losses)
    less, spread = _times(series, LONGEST, OURS)
    same = f"the same losses without dropout, within {TOLERANCE:.0e}"
    faster = f"{LESS_TIME} times less CPU time than padded to the longest of a batch, both with checkpointing"
    return Result(
        name="trainer.two_task" if two_task else "trainer",
        command=f"python -m benchmarks trainer{' --data DIR' if two_task else ''}",
        compared=(
            f"transformers' Trainer and hsdc's loop on {'two_task' if two_task else 'the sample data'}: the same "
            f"{steps} optimizer steps of 48 rows after a first one, all-MiniLM-L6-v2, CPU, one thread"
        ),
        tables=(_tokens(counts), _time(steps, counts["steps"], series), _determinism(turns), _losses(losses)),
        required=(
            Requirement(same, f"{apart:.1e}", apart <= TOLERANCE),
            Requirement(faster, f"{less:.2f} ({spread})", less >= LESS_TIME),
        ),
        figures={
            "counts": counts,
            "taken": [{**asdict(way), "rounds": [asdict(one) for one in rounds]} for way, rounds in series.items()],
            "alternating": asdict(turns),
            "losses_without_dropout": {way.name: values for way, values in losses.items()},
        },
        notes=NOTES,
    )


def _apart(theirs: list[float], ours: list[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(theirs, ours, strict=True))


def _times(series: Series, slow: Way, fast: Way) -> tuple[float, str]:
    """How many times the CPU time of a way is another's over the rounds that both have, and the range of rounds."""
    pairs = [(a.cpu, b.cpu) for a, b in zip(series[slow], series[fast], strict=False)]
    ratios = [a / b for a, b in pairs]
    return sum(a for a, _ in pairs) / sum(b for _, b in pairs), f"{min(ratios):.2f} to {max(ratios):.2f}"


def _tokens(counts: dict[str, Any]) -> Table:
    named = {"limit": "padded to 224", "longest": "padded to the longest of a batch", "length": "hsdc, cut by length"}
    rows = []
    for padded, name in named.items():
        work = counts[padded]
        cells = [f"{work[key]:,}" for key in ("rows", "real_tokens", "padded_tokens", "passes")]
        more = work["padded_tokens"] / counts["length"]["padded_tokens"]
        rows.append((name, *cells, f"{work['padded_tokens'] / work['real_tokens']:.3f}", f"{more:.2f}"))
    columns = ("batches", "rows", "real tokens", "padded tokens", "forward passes", "padded per real", "times hsdc's")
    return Table(f"Tokens of an epoch ({counts['steps']} steps), counted exactly", columns, tuple(rows))


def _time(steps: int, epoch: int, series: Series) -> Table:
    rows = []
    for way, rounds in series.items():
        times, spread = _times(series, way, OURS if way.checkpointing else OURS_WHOLE)
        per_step = sum(one.cpu for one in rounds) / (steps * len(rounds))
        compared = ("", "") if way in (OURS, OURS_WHOLE) else (f"{times:.2f}", spread)
        peak = max(one.peak for one in rounds) / 1e9
        padded = f"{sum(rounds[0].padded_tokens):,}"
        rows.append(
            (way.name, str(len(rounds)), f"{per_step:.3f}", f"{per_step * epoch:.1f}", *compared, padded, f"{peak:.3f}")
        )
    columns = (
        "way",
        "rounds",
        "CPU s/step",
        "CPU s/epoch",
        "times hsdc's",
        "of rounds",
        "padded tokens in them",
        "peak GB",
    )
    return Table("CPU time and peak memory, measured", columns, tuple(rows))


def _determinism(turns: Taken) -> Table:
    """CPU time for each padded token in steps with any algorithm and in those with deterministic ones, in pairs."""
    per = [1e6 * sum(cpu) / tokens for cpu, tokens in zip(turns.seconds, turns.padded_tokens, strict=True)]
    free, bound = per[::2], per[1::2]
    ratios = [b / a for a, b in zip(free, bound, strict=True)]
    typical = (median(free), median(bound), 100 * (median(ratios) - 1))
    span = f"{min(ratios):.2f} to {max(ratios):.2f}"
    row = ("deterministic algorithms", *(f"{value:.0f}" for value in typical[:2]), f"{typical[2]:+.1f} %", span)
    columns = ("what", "off, CPU µs/token", "on, CPU µs/token", "costs", f"ratios of {len(ratios)} pairs of steps")
    return Table("What determinism costs (medians)", columns, (row,))


def _losses(losses: dict[Way, list[float]]) -> Table:
    rows = tuple(
        (str(at), *(f"{value:.7f}" for value in values))
        for at, values in enumerate(zip(*losses.values(), strict=True), start=1)
    )
    return Table("The same work: losses without dropout", ("step", *(way.name for way in losses)), rows)
