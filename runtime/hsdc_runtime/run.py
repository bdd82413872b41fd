"""A run from manifest to record, as a story: verify the inputs, execute the stages, write down what happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hsdc_runtime.environment import observe as observe_environment
from hsdc_runtime.environment import peak_memory, require
from hsdc_runtime.events import Observe
from hsdc_runtime.execute import Bench, Done, execute
from hsdc_runtime.inputs import only_locked, verify_inputs
from hsdc_runtime.ledger import Ledger
from hsdc_runtime.locks import working
from hsdc_runtime.plan import plan
from hsdc_runtime.reproduce import reproduce
from hsdc_runtime.store import STORE, Store
from hsdc_runtime.verdicts import verdicts
from hsdc_schemas.digests import canonical, write_atomically
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.factors import essence
from hsdc_schemas.manifest import SCHEMA_VERSION, Manifest, load_sealed, sealed
from hsdc_schemas.places import record_path, set_record_aside
from hsdc_schemas.record import Environment, GateVerdict, Record, Reproduction, RowCounts, StageRecord
from hsdc_schemas.secrets import require_no_secrets


@dataclass(frozen=True)
class Outcome:
    """A finished run: its record, where it is, and what was new about it."""

    record: Record
    path: str
    written: bool
    remade: tuple[str, ...]


def finished_record(root: Path, manifest: Manifest) -> Record | None:
    """The record of exactly this manifest, if there is one."""
    path = record_path(manifest.profile, manifest.run)
    if not (root / path).exists():
        return None
    record = load_sealed(root / path, path, Record)
    return record if record.manifest == manifest.digest else None


def run(
    root: Path,
    manifest: Manifest,
    *,
    observe: Observe,
    stop: Callable[[], bool],
    allow_environment: bool = False,
    frozen: bool = False,
) -> Outcome:
    """Execute a manifest; a finished one is checked against the store, and made good where the store lost something.

    With `frozen`, a damaged object of the store is an error instead.
    A run that says it reproduces another is executed from `train` on, whatever the store holds.
    Raises HsdcError, Interrupted or Busy: one process at a time, so that a record is written once.
    """
    busy = f"another process is working on {manifest.run}"
    with working(root, f"run.{manifest.profile}.{manifest.run}", busy):
        return _run(root, manifest, observe, stop, allow_environment, frozen)


def _run(
    root: Path,
    manifest: Manifest,
    observe: Observe,
    stop: Callable[[], bool],
    allow_environment: bool,
    frozen: bool,
) -> Outcome:
    steps = plan(manifest)
    before = finished_record(root, manifest)
    original = _original(root, manifest)
    inputs = verify_inputs(manifest, root)
    environment = observe_environment(manifest.packages, manifest.execution)
    require(environment, allowed=allow_environment)
    inputs = only_locked(inputs, manifest, root / STORE / "models")
    bench = Bench(manifest.run, Store(root), Ledger(root), inputs, observe, stop, frozen)
    bench.ledger.append("run started", run=manifest.run, profile=manifest.profile, manifest=manifest.digest)
    started, clock = datetime.now(UTC), time.monotonic()
    done: dict[str, Done] = {}
    anew = False
    for step in steps:
        anew = anew or (original is not None and before is None and step.stage.anew)
        done[step.stage.name] = execute(bench, step, done, anew=anew)
    stages = tuple(item.record for item in done.values())
    if before is not None:
        return _made_good(bench, before, stages, manifest)
    last = done[steps[-1].stage.name]
    scores = last.record.facts.get("scores", {})
    gates = verdicts(root, manifest, last.outputs["answers"].path) if "answers" in last.outputs else ()
    claim = manifest.reproduces
    verdict = None
    if claim is not None and original is not None:
        verdict = reproduce(claim, manifest, original, stages, environment, scores, bench.store)
    times = (started, datetime.now(UTC), time.monotonic() - clock)
    record = _record(manifest, stages, environment, (scores, gates, verdict), times)
    path = record_path(manifest.profile, manifest.run)
    data = canonical(essence(record)) + b"\n"
    require_no_secrets(path, data)
    _keep_former(root, manifest)
    write_atomically(root / path, data)
    bench.ledger.append("run finished", run=manifest.run, profile=manifest.profile, record=record.digest)
    return Outcome(record, path, True, tuple(stage.name for stage in stages if stage.executed))


def _keep_former(root: Path, manifest: Manifest) -> None:
    """Set the record of another manifest of this run aside."""
    path = record_path(manifest.profile, manifest.run)
    if (root / path).exists():
        set_record_aside(root, load_sealed(root / path, path, Record))


def _original(root: Path, manifest: Manifest) -> Record | None:
    """The record that a claim is held against; it must be there, finished, in this profile."""
    claim = manifest.reproduces
    if claim is None:
        return None
    path = record_path(manifest.profile, claim.run)
    try:
        return load_sealed(root / path, path, Record)
    except HsdcError as error:
        if error.exit is not Exit.ENVIRONMENT:
            raise
    message = f"'{manifest.run}' is compared with '{claim.run}', which has no record in profile {manifest.profile}"
    raise fail("E510", Exit.ENVIRONMENT, message, None, f"hsdc run {claim.run}") from None


def _made_good(bench: Bench, before: Record, stages: tuple[StageRecord, ...], manifest: Manifest) -> Outcome:
    """A finished run again: whatever had to be made anew must be what the record says."""
    recorded = {stage.name: stage.outputs for stage in before.stages}
    # What a run that diverged had made is not what the store keeps under the key: that stays the first one's.
    diverged = before.reproduction is not None and before.reproduction.verdict != "identical"
    for stage in stages:
        for name, artifact in stage.outputs.items():
            was = recorded[stage.name][name]
            if was.digest != artifact.digest and (stage.executed or not diverged):
                message = f"{stage.name} of '{before.run}' was made anew and differs from its record: {name}"
                hint = "the record stands; run again elsewhere, or supersede it: hsdc compile --supersede"
                raise fail("E511", Exit.NO, message, None, hint)
    remade = tuple(stage.name for stage in stages if stage.executed)
    bench.ledger.append(
        "run checked", run=before.run, profile=before.profile, record=before.digest, remade=list(remade)
    )
    return Outcome(before, record_path(manifest.profile, manifest.run), False, remade)


def _record(
    manifest: Manifest,
    stages: tuple[StageRecord, ...],
    environment: Environment,
    results: tuple[dict[str, Any], tuple[GateVerdict, ...], Reproduction | None],
    times: tuple[datetime, datetime, float],
) -> Record:
    scores, gates, verdict = results
    rows = next(stage.facts["splits"] for stage in stages if "splits" in stage.facts)
    counts = {
        split: RowCounts(read=f["read"], kept=f["kept"], filtered=f["filtered"], rejected=f["rejected"])
        for split, f in rows.items()
    }
    body = {
        "hsdc": 1,
        "schema_version": SCHEMA_VERSION,
        "run": manifest.run,
        "profile": manifest.profile,
        "manifest": manifest.digest,
        "experiment_digest": manifest.experiment_digest,
        "started": times[0].isoformat(timespec="seconds"),
        "finished": times[1].isoformat(timespec="seconds"),
        "seconds": round(times[2], 3),
        "peak_memory_bytes": peak_memory(),
        "environment": essence(environment),
        "rows": essence(counts),
        "stages": essence(stages),
        "scores": scores,
        "gates": essence(gates),
        "reproduction": essence(verdict),
    }
    return Record.model_validate_json(canonical(sealed(body)))
