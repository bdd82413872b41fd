"""Prompts to the packaged causal language model: hsdc's stages against loops around the library's `generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import Spent, spend
from benchmarks.results import Requirement, Result, Table
from benchmarks.workspace import ROOT, workspace

if TYPE_CHECKING:
    from benchmarks.prompting_ways import Measured

RUN = "prompt_v2.prompt-policy_focused"
ROWS, PER_ROUND = 48, 16
FEW, MANY = 200, 20_000
LOOP, BATCHES, GENERATE, RANK = (
    "one row at a time, padded to 512",
    "the library's batches of 16",
    "hsdc, generate",
    "hsdc, rank",
)
GENERATE_FASTER, RANK_FASTER, NO_SLOWER, TOLERANCE, GROWTH = 4.0, 12.0, 1.0, 1e-4, 200 * 10**6
NOTES = (
    "The first way is the campaign's: every prompt padded to 512 tokens, one call of the library's `generate` a row,",
    "greedy, ten new tokens. Without the padding it is the second way. The third gives the same call 16 rows at once,",
    "padded to the longest of them. All take turns over the same rows, 16 a round, on float32 weights that were",
    "converted from the packaged GGUF file once. hsdc's ways are its stages' own functions with the bounds that",
    "they set on a CPU; the time in which the shared prefix is computed, once for all rows, is in their totals.",
    "`rank` scores the labels instead of writing an answer. On a CPU hsdc multiplies by oneDNN, the library by what",
    "torch takes.",
    "",
    "CPU time is user and system time of the process. Tokenizing is in all ways; loading and converting are in none.",
    "Answers are compared as texts; a difference would be a tie that another order of additions decides otherwise.",
    "",
    "Memory is that of whole processes, as the kernel counts it, which run a stage over prompts for a tiny random",
    "model, 200 and 20,000 of them: what grows with the rows would show, what the model takes is not in question.",
)


def run(*, quick: bool, data: Path | None) -> Result:
    """Measure; with `quick`, one round and a tenth of the many rows. `data` is not used."""
    few, many = FEW, MANY // 10 if quick else MANY
    # First, while this process is small: the kernel counts its memory in that of its children.
    peaks = {(stage, rows): _peak(stage, rows) for stage in ("rank", "generate") for rows in (few, many)}
    with workspace() as root:
        spend(["-m", "hsdc", "compile", RUN.partition(".")[0]], root)
        texts = [row["text"] for row in json.loads((root / "data/sample_hate/test.json").read_text("utf-8"))]
        from benchmarks.prompting_ways import Ways  # heavy

        measured = Ways(root, RUN, root).measure(texts[: PER_ROUND if quick else ROWS], PER_ROUND)
    return _result(measured, peaks, few, many)


def _peak(stage: str, rows: int) -> Spent:
    return spend(["-m", "benchmarks.prompting_rows", stage, str(rows)], ROOT)


def _result(measured: Measured, peaks: dict[tuple[str, int], Spent], few: int, many: int) -> Result:
    same = sum(one == two for one, two in zip(measured.ways[LOOP].texts, measured.ways[GENERATE].texts, strict=True))
    generate, rank = (_total(measured, LOOP) / _total(measured, name) for name in (GENERATE, RANK))
    batches = _total(measured, BATCHES) / _total(measured, GENERATE)
    grown = {stage: peaks[stage, many].peak - peaks[stage, few].peak for stage in ("rank", "generate")}
    required = (
        Requirement("the same answers as one row at a time", f"{same} of {measured.rows}", same == measured.rows),
        Requirement(f"likelihoods within {TOLERANCE:.0e}", f"{measured.apart:.1e}", measured.apart < TOLERANCE),
        Requirement(f"generate: {GENERATE_FASTER:.0f} times the rows", f"{generate:.1f}", generate >= GENERATE_FASTER),
        Requirement(f"rank: {RANK_FASTER:.0f} times the rows", f"{rank:.1f}", rank >= RANK_FASTER),
        Requirement("generate: no slower than the library's batches", f"{batches:.2f} times", batches >= NO_SLOWER),
        *(
            Requirement(f"{stage}: {GROWTH / 1e6:.0f} MB more at most for {many:,} rows than for {few}",
                        f"{more / 1e6:.0f} MB", more < GROWTH)
            for stage, more in grown.items()
        ),
    )  # fmt: skip
    return Result(
        name="prompting",
        command="python -m benchmarks prompting",
        compared=(
            f"{measured.rows} prompts of {RUN} (sample_hate), SmolLM2-135M-Instruct, CPU, one thread; "
            f"{measured.tokens / measured.rows:.0f} tokens a prompt, the first {measured.shared} the same in all"
        ),
        tables=(_time_table(measured), _memory_table(peaks)),
        required=required,
        figures={
            "seconds": {name: asked.seconds for name, asked in measured.ways.items()},
            "prefix_seconds": measured.prefix_seconds,
            "shared_prefix_tokens": measured.shared,
            "tokens": measured.tokens,
            "largest_difference": measured.apart,
            "peak_bytes": {f"{stage} {rows}": spent.peak for (stage, rows), spent in peaks.items()},
        },
        notes=NOTES,
    )


def _total(measured: Measured, name: str) -> float:
    return measured.ways[name].total + (measured.prefix_seconds if name.startswith("hsdc") else 0)


def _time_table(measured: Measured) -> Table:
    rows = []
    for name, asked in measured.ways.items():
        total = _total(measured, name)
        ratios = [slow / one for slow, one in zip(measured.ways[LOOP].seconds, asked.seconds, strict=True)]
        rows.append(
            (
                name,
                f"{total / measured.rows:.3f}",
                f"{measured.rows / total:.2f}",
                f"{_total(measured, LOOP) / total:.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            )
        )
    columns = ("way", "CPU s/row", "rows per CPU s", "times the rows", "of single rounds, without the prefix")
    return Table("CPU time, measured", columns, tuple(rows))


def _memory_table(peaks: dict[tuple[str, int], Spent]) -> Table:
    rows = [
        (stage, f"{count:,}", f"{spent.peak / 1e6:.0f}", f"{spent.cpu:.1f}") for (stage, count), spent in peaks.items()
    ]
    return Table("Memory of a stage", ("stage", "rows", "peak MB", "CPU s"), tuple(rows))
