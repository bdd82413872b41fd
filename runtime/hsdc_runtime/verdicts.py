"""What a run's gates come to, from the answers that it gave and, for differences, those that it is held against."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hsdc_runtime.store import Damaged, Store
from hsdc_schemas.answers import Answers, load_answers
from hsdc_schemas.encoder import Evaluation
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.gates import Gate, Verdict, evaluate, parse_gate
from hsdc_schemas.judged import Judged
from hsdc_schemas.making import DataExperiment
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import record_path
from hsdc_schemas.record import GateVerdict, Record

BASE = "base"  # the variant of a fine-tune that is the model without its adapter


def verdicts(root: Path, manifest: Manifest, answers: Path) -> tuple[GateVerdict, ...]:
    """The verdict of every gate; HsdcError where the run that a difference is taken against was not executed here."""
    experiment = manifest.experiment
    if isinstance(experiment, DataExperiment) or not experiment.evaluation.gates:
        return ()
    heads = {name: labels for name, (_, labels) in experiment.tasks.items()}
    gates = [parse_gate(text, heads, experiment.numbers) for text in experiment.evaluation.gates]
    given = load_answers(answers, f"the answers of '{manifest.run}'")
    background = getattr(experiment.evaluation, "background", None)
    own = Judged.of(given, background=background)
    before: Judged | str | None = None
    if any(gate.delta for gate in gates):
        before = _before(root, manifest, given, experiment.evaluation.against, background)
    return tuple(_verdict(gate, own, before) for gate in gates)


def held_against(manifest: Manifest) -> str | None:
    """The run that a run's differences are taken against, if it names one."""
    experiment = manifest.experiment
    return None if experiment.kind == "data" else experiment.evaluation.against


def require_same_rows(due: Iterable[Manifest], every: Iterable[Manifest]) -> None:
    """HsdcError (E820) where it is plain before anything is run that gates would be held against other rows."""
    named = {manifest.run: manifest for manifest in every}
    pairs = ((manifest, named[against]) for manifest in due if (against := held_against(manifest)) in named)
    for manifest, other in pairs:
        here, there = _scored(manifest), _scored(other)
        if here is not None and there is not None and here != there:
            message = f"'{manifest.run}' is scored on {here:,} rows, and '{other.run}', which its gates are held"
            message += f" against, on {there:,}"
            raise fail("E820", Exit.POLICY, message, None, "score both on the same rows, or take 'against' out")


def _scored(manifest: Manifest) -> int | None:
    """How many rows are scored, as far as the manifest tells."""
    experiment = manifest.experiment
    if isinstance(experiment, DataExperiment):
        return None
    evaluation = experiment.evaluation
    split = evaluation.score_split if isinstance(evaluation, Evaluation) else evaluation.split
    named = f"subset.{experiment.subset}" if experiment.subset else f"dataset.{split}"
    rows = next((item.rows for item in manifest.inputs if item.name == named), None)
    limit = manifest.execution.limits.rows
    return rows if rows is None or limit is None else min(rows, limit)


def _before(
    root: Path, manifest: Manifest, given: Answers, against: str | None, background: str | None
) -> Judged | str:
    """The answers that differences are taken against, in the same order; or why there are none."""
    if against is None:
        return Judged.of(given, BASE, background=background)
    held = _answers_of(root, manifest.profile, against)
    if held.header.measurement != given.header.measurement:
        return f"'{against}' was measured by {held.header.measurement}, this run by {given.header.measurement}"
    if held.header.digest != given.header.digest:
        return f"'{against}' was scored on other rows"
    return Judged.of(held, ids=[row.id for row in given.rows], background=background)


def _answers_of(root: Path, profile: str, name: str) -> Answers:
    path = record_path(profile, name)
    message = f"gates are held against '{name}', whose answers are not here"
    try:
        record = load_sealed(root / path, path, Record)
        stage = next(stage for stage in record.stages if stage.name == "score")
        return load_answers(Store(root).take(stage.outputs["answers"].object), f"the answers of '{name}'")
    except (Damaged, StopIteration, KeyError):
        pass
    except HsdcError as error:
        if error.exit is not Exit.ENVIRONMENT:
            raise
    raise fail("E514", Exit.ENVIRONMENT, message, None, f"hsdc run {name}") from None


def _verdict(gate: Gate, own: Judged, before: Judged | str | None) -> GateVerdict:
    if gate.delta and isinstance(before, str):
        body = {"outcome": "undecided", "value": None, "low": None, "high": None, "resolved": False, "note": before}
    else:
        found: Verdict = evaluate(gate, own, None if isinstance(before, str) else before)
        bounds = {"low": found.interval.low, "high": found.interval.high}
        body = {
            "outcome": found.outcome,
            "value": found.value,
            "resolved": found.resolved,
            "note": found.note,
            **bounds,
        }
    return GateVerdict.model_validate({"gate": str(gate), **body})
