"""An adapter on a random model of 8 billion weights, on a GPU: hsdc's steps, TRL's and the campaign's script's."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.installed import installed
from benchmarks.processes import output_of
from benchmarks.results import Requirement, Result, Table
from benchmarks.sft import LIBRARY, NOT_SLOWER, packages
from benchmarks.sft.way import Taken, Way, ask, take
from benchmarks.workspace import ROOT

SCRIPT = Way("the script, padded to 512", "script", "padded", 512)
PACKED = Way("TRL, packed", "TRL", "packed")
OURS = Way("hsdc, packed", "hsdc", "packed")
STEPS, FASTER = 16, 3.0
NOTES = (
    "Rows are random tokens, 128 to 256 of them, of which 2 to 6 are an answer's; 8 are a step in every way. The model",
    "has the shape of a Llama of 8 billion weights, in bfloat16. Rank 32 on the four projections of attention, no",
    "dropout. The script pads to 512 tokens in batches of 4, learns from all tokens and checkpoints; the others pack",
    "the rows of a step into one sequence, learn from answers and keep activations. Every way is in a process of its",
    "own, one after the other; the first step is not measured.",
    "",
    "The floor are the operations that learning these rows takes, divided by how many the device does in a product of",
    "large square matrices; nothing is recomputed in it, and nothing waits for memory.",
)


def run(*, quick: bool, data: Path | None) -> Result | None:
    """Measure where a CUDA device is; with `quick`, a tiny model on the CPU shows that it works. `data` is not used."""
    there = output_of(["-c", "import torch; print(torch.cuda.is_available())"], ROOT).strip() == "True"
    if not (there or quick):
        print("finetuning_gpu is left out: no CUDA device is available here")
        return None
    shape, steps = ("tiny", 3) if quick else ("8B", STEPS)
    taken, without = {}, ""
    with tempfile.TemporaryDirectory(prefix="hsdc-benchmark-") as name:
        root = Path(name)
        taken[SCRIPT] = take(root, SCRIPT, steps, None, shape=shape)
        try:
            taken[PACKED] = take(root, PACKED, steps, packages(installed(LIBRARY)), shape=shape)
        except (OSError, subprocess.SubprocessError) as error:
            without = f"TRL could not be installed, so it is not measured: {type(error).__name__}."
        taken[OURS] = take(root, OURS, steps, None, shape=shape)
        floor = ask(root, {"shape": shape, "floor": steps})
    return _result(taken, floor, shape, steps, without)


def _result(taken: dict[Way, Taken], floor: dict[str, float], shape: str, steps: int, without: str) -> Result:
    ours, script = taken[OURS].rate, taken[SCRIPT].rate
    required = [Requirement(f"{FASTER:.0f} times the script's tokens", f"{ours / script:.2f}", ours >= FASTER * script)]
    if PACKED in taken:
        beside = ours / taken[PACKED].rate
        required.append(Requirement(f"at least {NOT_SLOWER} of TRL's tokens", f"{beside:.2f}", beside >= NOT_SLOWER))
    return Result(
        name="finetuning_gpu",
        command="python -m benchmarks finetuning_gpu",
        compared=f"{steps - 1} steps of 8 random rows after a first one, a random Llama of the shape {shape}",
        tables=(_table(taken, floor),),
        required=tuple(required),
        figures={"floor": floor, **{way.name: vars(one) for way, one in taken.items()}},
        notes=(*NOTES, *(("", without) if without else ())),
    )


def _table(taken: dict[Way, Taken], floor: dict[str, float]) -> Table:
    most = floor["tokens"] * floor["per_second"] / floor["operations"]
    rows: list[tuple[Any, ...]] = [("the floor", f"{most:.0f}", "100 %", "", "", "")]
    for way, one in taken.items():
        rate = floor["tokens"] / sum(one.seconds)
        share, times = f"{100 * rate / most:.0f} %", f"{one.rate / taken[SCRIPT].rate:.2f}"
        rows.append((way.name, f"{rate:.0f}", share, f"{one.rate:.1f}", times, f"{one.peak / 1e9:.2f}"))
    columns = ("way", "tokens/s", "of the floor", "supervised/s", "times the script's", "peak GB")
    return Table("Time and most allocated memory of the device, measured", columns, tuple(rows))
