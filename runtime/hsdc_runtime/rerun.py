"""A finished run executed again, all of it, beside the store; and what its record says to that."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hsdc_runtime.differences import first_difference, largest_figure, largest_in, largest_of_all
from hsdc_runtime.environment import observe as observe_environment
from hsdc_runtime.environment import require
from hsdc_runtime.events import Event, Observe, StageStarted
from hsdc_runtime.execute import Bench, Done, execute
from hsdc_runtime.inputs import only_locked, verify_inputs
from hsdc_runtime.ledger import Ledger
from hsdc_runtime.levels import Apart, judged, other_fields
from hsdc_runtime.locks import working
from hsdc_runtime.plan import plan
from hsdc_runtime.store import STORE, Store
from hsdc_runtime.work import Interrupted
from hsdc_schemas.factors import essence
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Difference, Environment, Level, Record, StageRecord, Verdict

AREA = ".hsdc/verify"
WHY = "it is executed again to be compared"


@dataclass(frozen=True)
class Rerun:
    """The verdict and the level; where it is not `identical`, the first difference, and how large it is in that tensor.

    `largest` is None where it cannot be known, `apart` is over all tensors and figures; `environment` tells of each
    field that differs from the record's.
    """

    verdict: Verdict
    level: Level
    limits: tuple[str, ...]
    executed: tuple[str, ...]
    difference: Difference | None
    largest: float | None
    apart: Apart
    environment: Mapping[str, str]


def rerun(root: Path, manifest: Manifest, record: Record, *, observe: Observe, stop: Callable[[], bool]) -> Rerun:
    """Execute every stage in an area of its own, compare with the record, drop the area; the ledger notes the verdict.

    One that is stopped leaves its area, and the next one goes on there. Raises HsdcError, Interrupted or Busy.
    """
    area = root / AREA / f"{manifest.profile}.{manifest.run}"
    busy = f"another process is verifying {manifest.run}"
    with working(root, f"verify.{manifest.profile}.{manifest.run}", busy):
        steps = plan(manifest)
        inputs = verify_inputs(manifest, root)
        environment = observe_environment(manifest.packages, manifest.execution)
        require(environment, allowed=True)  # where it differs, the verdict says so
        named = {"run": manifest.run, "profile": manifest.profile, "record": record.digest}
        Ledger(root).append("verification started", **named)
        try:
            inputs = only_locked(inputs, manifest, area / STORE / "models")
            bench = Bench(manifest.run, Store(area), Ledger(area), inputs, _saying_why(observe), stop)
            done: dict[str, Done] = {}
            for step in steps:
                done[step.stage.name] = execute(bench, step, done, anew=False)
            stages = tuple(item.record for item in done.values())
            found = _compared(manifest, record, stages, environment, Store(root), bench.store)
        except (Interrupted, KeyboardInterrupt):
            raise
        except BaseException:
            shutil.rmtree(area, ignore_errors=True)
            raise
        shutil.rmtree(area, ignore_errors=True)
        difference = essence(found.difference)
        told = {"verdict": found.verdict, "level": found.level, "difference": difference}
        Ledger(root).append("verification finished", **named, **told)
        return found


def _saying_why(observe: Observe) -> Observe:
    def said(event: Event) -> None:
        observe(replace(event, why=WHY) if isinstance(event, StageStarted) else event)

    return said


def _compared(
    manifest: Manifest, record: Record, stages: tuple[StageRecord, ...], environment: Environment, *stores: Store
) -> Rerun:
    difference = first_difference(record, stages, *stores)
    apart, largest = Apart(0.0, 0.0), None
    if difference is not None:
        scores = next(stage.facts["scores"] for stage in stages if stage.name == "score")
        apart = Apart(largest_of_all(record, stages, *stores), largest_figure(record.scores, scores))
        largest = largest_in(difference, record, stages, *stores)
    judgement = judged(difference, record.environment, environment, apart, manifest.execution.tolerance)
    fields = other_fields(record.environment, environment)
    return Rerun(
        verdict=judgement.verdict,
        level=judgement.level,
        limits=judgement.limits,
        executed=tuple(stage.name for stage in stages),
        difference=difference,
        largest=largest,
        apart=apart,
        environment={name: _change(getattr(record.environment, name), getattr(environment, name)) for name in fields},
    )


def _change(before: object, now: object) -> str:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        return ", ".join(f"{name} {before.get(name, 'none')} → {now.get(name, 'none')}" for name in names)
    return f"{before} → {now}"
