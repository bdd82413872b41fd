"""An epoch of the encoder campaign: hsdc's batches by length against batches padded to the longest length allowed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.counts import Both, count, count_validation, steps
from benchmarks.interleaved import WARM_UP, Measured, interleave, losses_without_dropout
from benchmarks.processes import spend
from benchmarks.results import Requirement, Result, Table
from benchmarks.workspace import workspace
from hsdc.api import load_manifest
from hsdc_runtime.nn.encoder_learner import r_drop_alpha

RUN, AT_ONCE = "run4", "run4_r_drop_at_once"
PHASES = {"without R-Drop": RUN, "with R-Drop": AT_ONCE}
NOTES = (
    "The padded way: batches of 16 rows in the sampler's order, every text padded to max_length, two forward passes",
    "for R-Drop, gradients accumulated over 3 batches. Model, heads, pooling, losses, optimizer, order of rows and",
    "gradient checkpointing are hsdc's own in both ways; texts are tokenized once, before either.",
    "",
    "hsdc's steps are those of its stage `train` in a real run, with all that its loop does around them. After each,",
    "the padded way takes the same step; then the run is stopped. The first step of both ways is not counted.",
    "",
    "CPU time is user and system time of the process. An epoch has equally many steps in both ways; no whole epoch",
    "was timed, and validation and checkpoints are in neither time. That time falls by more than tokens was not taken",
    "apart; attention, which grows with the square of the padded length, is a likely part of it.",
    "",
    "Tokens count every copy of a row; hsdc puts both copies of R-Drop into one forward pass. `epoch` is the first.",
    "",
    "Without dropout the two passes of R-Drop are the same, so that its divergence is 0 in both ways. The first of the",
    "steps compared is at learning rate 0, the second at the full one: the third loss is after an update.",
)
SPEC = f"""\
hsdc: 1
run: {AT_ONCE}
title: R-Drop from the first epoch on
extends: {RUN}
budget: 1
why: An epoch with R-Drop can be measured without two epochs before it.
change:
  training:
    r_drop: {{warmup_epochs: 0}}
"""
FEWER_TOKENS, LESS_TIME, TOLERANCE = 3.0, 2.0, 1e-4
CHECKED = 3


def run(*, quick: bool, data: Path | None) -> Result:
    """Measure on the sample data, or on the data set two_task in the folder `data`."""
    profile, wanted = "two_task" if data else "demo", 1 if quick else 6
    with workspace({"two_task": data} if data else None) as root:
        (root / "specs" / f"{AT_ONCE}.yaml").write_text(SPEC, "utf-8")
        spend(["-m", "hsdc", "compile", "--profile", profile, *PHASES.values()], root)
        measured = {
            phase: interleave(root, load_manifest(name, root, profile), wanted) for phase, name in PHASES.items()
        }
        pairs = losses_without_dropout(measured["with R-Drop"].prepared, root / "checkpoints", CHECKED)
    return _result("two_task" if data else "sample", measured, _counts(measured), pairs)


def _counts(measured: dict[str, Measured]) -> dict[str, Both]:
    """Exact counts: an epoch of each kind, all epochs of the spec together, and one validation."""
    prepared = measured["without R-Drop"].prepared
    data, experiment = prepared.train, prepared.manifest.experiment
    first = steps(data, experiment, 0)
    found = {f"epoch {phase}": count(data, first, experiment, copies) for copies, phase in enumerate(PHASES, start=1)}
    whole = []
    for epoch in range(experiment.training.epochs):
        copies = 1 if r_drop_alpha(experiment.training, epoch) is None else 2
        whole.append(count(data, steps(data, experiment, epoch), experiment, copies))
    found[f"all {len(whole)} epochs of {RUN}"] = sum(whole[1:], start=whole[0])
    found["one validation"] = count_validation(prepared.validation, experiment)
    for copies, one in enumerate(measured.values(), start=1):
        planned = count(data, first[WARM_UP : WARM_UP + len(one.ours)], experiment, copies)
        seen = (one.work.ours.padded_tokens, one.work.padded.padded_tokens, one.work.padded.passes)
        if seen != (planned.ours.padded_tokens, planned.padded.padded_tokens, planned.padded.passes):
            raise RuntimeError(f"the plan of the steps is not what was done: {planned}, {one.work}")
    return found


def _result(
    name: str, measured: dict[str, Measured], counts: dict[str, Both], pairs: list[tuple[float, float]]
) -> Result:
    prepared = measured["without R-Drop"].prepared
    training, rows = prepared.manifest.experiment.training, len(prepared.train)
    per_epoch = len(steps(prepared.train, prepared.manifest.experiment, 0))
    apart = max(abs(theirs - ours) / abs(ours) for theirs, ours in pairs)
    flag = " --data DIR" if name == "two_task" else ""
    compared = (
        f"{RUN} on {name} ({rows:,} rows, {per_epoch} optimizer steps of {training.rows_per_step} rows an epoch), "
        f"all-MiniLM-L6-v2, CPU, one thread: batches by length against batches of 16 padded to "
        f"{prepared.manifest.experiment.encoder.max_length} tokens"
    )
    return Result(
        name=f"encoder_epoch.{name}",
        command=f"python -m benchmarks encoder_epoch{flag}",
        compared=compared,
        tables=(_token_table(counts), _time_table(measured), _loss_table(pairs)),
        required=_required(name, measured, counts, apart),
        figures=_figures(measured, counts, pairs),
        notes=NOTES,
    )


def _token_table(counts: dict[str, Both]) -> Table:
    rows = []
    for phase, both in counts.items():
        for way, work in (("padded", both.padded), ("hsdc", both.ours)):
            cells = [f"{n:,}" for n in (work.rows, work.real_tokens, work.padded_tokens, work.passes)]
            per_real = f"{work.padded_tokens / work.real_tokens:.2f}"
            rows.append((phase, way, *cells, per_real, f"{both.fewer:.2f}" if way == "hsdc" else ""))
    columns = (
        "what",
        "way",
        "rows",
        "real tokens",
        "padded tokens",
        "forward passes",
        "padded per real",
        "times fewer",
    )
    return Table("Tokens, counted exactly", columns, tuple(rows))


def _time_table(measured: dict[str, Measured]) -> Table:
    rows = []
    for phase, one in measured.items():
        ratios = [theirs.total / ours.total for theirs, ours in zip(one.padded, one.ours, strict=True)]
        seconds = (f"{sum(cpu.total for cpu in way) / len(way):.2f}" for way in (one.padded, one.ours))
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        less = (f"{one.times_less():.2f}", span, f"{one.times_less(user_alone=True):.2f}")
        rows.append((phase, str(len(ratios)), *seconds, *less, f"{one.work.fewer:.2f}"))
    columns = ("steps", "measured", "padded, CPU s/step", "hsdc, CPU s/step", "times less", "of single steps")
    return Table("CPU time, measured", (*columns, "user time alone", "times fewer tokens in them"), tuple(rows))


def _loss_table(pairs: list[tuple[float, float]]) -> Table:
    rows = tuple(
        (str(at), f"{theirs:.7f}", f"{ours:.7f}", f"{abs(theirs - ours) / abs(ours):.1e}")
        for at, (theirs, ours) in enumerate(pairs, start=1)
    )
    return Table("The same work: losses without dropout", ("step", "padded", "hsdc", "relative difference"), rows)


def _required(
    name: str, measured: dict[str, Measured], counts: dict[str, Both], apart: float
) -> tuple[Requirement, ...]:
    same = f"the same losses without dropout, within {TOLERANCE:.0e}"
    found = [Requirement(same, f"{apart:.1e}", apart <= TOLERANCE)]
    if name == "two_task":
        for phase, one in measured.items():
            fewer, less = counts[f"epoch {phase}"].fewer, one.times_less()
            tokens, seconds = f"{FEWER_TOKENS:.0f} times fewer padded tokens", f"{LESS_TIME:.0f} times less CPU time"
            found.append(Requirement(f"{phase}: {tokens} an epoch", f"{fewer:.2f}", fewer >= FEWER_TOKENS))
            found.append(Requirement(f"{phase}: {seconds} over the same steps", f"{less:.2f}", less >= LESS_TIME))
    return tuple(found)


def _figures(
    measured: dict[str, Measured], counts: dict[str, Both], pairs: list[tuple[float, float]]
) -> dict[str, Any]:
    return {
        "counts": {what: asdict(both) for what, both in counts.items()},
        "measured": {
            phase: {
                "padded": [asdict(cpu) for cpu in one.padded],
                "ours": [asdict(cpu) for cpu in one.ours],
                "work": asdict(one.work),
            }
            for phase, one in measured.items()
        },
        "losses_without_dropout": [{"padded": theirs, "ours": ours} for theirs, ours in pairs],
    }
