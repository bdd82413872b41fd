"""Run one stage, or reuse what it made before: the only way from a key to outputs."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hsdc_runtime.environment import before_the_framework
from hsdc_runtime.events import Observe, SetAside, StageFinished, StageProgress, StageStalled, StageStarted
from hsdc_runtime.inputs import Located, still_locked
from hsdc_runtime.ledger import Ledger
from hsdc_runtime.plan import Step
from hsdc_runtime.store import Action, Damaged, Store
from hsdc_runtime.watch import Watch
from hsdc_runtime.work import Busy, Interrupted, Made, Output, Work
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.machine import machine_fault
from hsdc_schemas.record import Artifact, StageRecord

UNKNOWN = "nothing is stored under its key"
DAMAGED = "*.damaged-*"  # how a stage names a checkpoint that it passed over
EXTRA = "pip install 'hsdc[runtime]'"


@dataclass(frozen=True)
class Bench:
    """What all stages of a run share."""

    run: str
    store: Store
    ledger: Ledger
    inputs: Located
    observe: Observe
    stop: Callable[[], bool]
    frozen: bool = False


@dataclass(frozen=True)
class Done:
    """A stage that is done: its record, and its outputs for the stages that need them."""

    record: StageRecord
    outputs: Mapping[str, Output]


def execute(bench: Bench, step: Step, done: Mapping[str, Done], *, anew: bool) -> Done:
    """The outputs of a step: reused if its key is known and every object is intact, made otherwise or if `anew`."""
    if bench.stop():
        raise Interrupted(f"stopped before {step.stage.name}")
    why = "it is executed anew to be compared" if anew else _reuse(bench, step)
    if isinstance(why, Done):
        return why
    lock = FileLock(str(_folder(bench.store.folder / "locks") / f"{step.key[7:39]}.lock"))
    try:
        with lock.acquire(blocking=False):
            found = _reuse(bench, step) if why == UNKNOWN else why  # another process may have made it by now
            return found if isinstance(found, Done) else _make(bench, step, done, found, anew=anew)
    except Timeout:
        raise Busy(f"another process is working on {step.stage.name} of {bench.run}") from None


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _reuse(bench: Bench, step: Step) -> Done | str:
    """What the store has for a key, every object hashed again; or why it has to be made."""
    action = bench.store.action(step.key)
    if action is None:
        return UNKNOWN
    why, outputs = "", {}
    for name, artifact in action.outputs.items():
        try:
            outputs[name] = Output(bench.store.take(artifact.object), artifact.digest)
        except Damaged as damaged:
            why = f"{name}: {damaged}"
            bench.observe(SetAside(bench.run, step.stage.name, name, str(damaged)))
            bench.ledger.append("set aside", stage=step.stage.name, key=step.key, output=name, reason=str(damaged))
    if why and bench.frozen:
        message = f"{step.stage.name} of '{bench.run}' is stored, but damaged: {why}"
        raise fail("E436", Exit.ENVIRONMENT, message, None, "run without --frozen to make it anew")
    if why:
        return why
    record = _record(step, action, executed=False)
    bench.observe(StageFinished(bench.run, step.stage.name, False, action.seconds, action.facts))
    return Done(record, outputs)


def _make(bench: Bench, step: Step, done: Mapping[str, Done], why: str, *, anew: bool) -> Done:
    name = step.stage.name
    bench.observe(StageStarted(bench.run, name, why))
    bench.ledger.append("stage started", run=bench.run, stage=name, key=step.key, why=why)
    watch = Watch(lambda *long: bench.observe(StageStalled(bench.run, name, *long)))

    def progress(at: int, total: int, figures: dict[str, Any]) -> None:
        watch.moved()
        bench.observe(StageProgress(bench.run, name, at, total, figures))

    folder = bench.store.work_folder(step.key)
    # Work that is done anew begins with its own checkpoints at most, never with those of the run it is compared with.
    checkpoints = bench.store.checkpoints(step.key, bench.run if anew else "")
    work = Work(
        section=step.section,
        inputs=bench.inputs,
        needs={need: done[need].outputs for need in step.stage.needs},
        keys={**{need: done[need].record.key for need in step.stage.needs}, name: step.key},
        folder=folder,
        checkpoints=checkpoints,
        responses=checkpoints / "responses" if anew else bench.store.responses,
        progress=progress,
        stop=bench.stop,
        watch=watch,
    )
    wall, cpu = time.monotonic(), _cpu_seconds()
    _note_damaged(bench, step, checkpoints)  # by a process that was killed before it could
    try:
        with watch.watching():
            made = _call(step.stage.module or name, work)
    finally:
        _note_damaged(bench, step, checkpoints)
        _require_unchanged(bench, checkpoints)
    seconds, cpu_seconds = time.monotonic() - wall, _cpu_seconds() - cpu
    action = _publish(bench.store, step, made, (seconds, cpu_seconds), checkpoints)
    shutil.rmtree(folder, ignore_errors=True)
    outputs = {key: item.model_dump() for key, item in action.outputs.items()}
    bench.ledger.append("stage finished", run=bench.run, stage=name, key=step.key, outputs=outputs)
    bench.observe(StageFinished(bench.run, name, True, seconds, action.facts))
    taken = {key: Output(bench.store.take(item.object), item.digest) for key, item in action.outputs.items()}
    return Done(_record(step, action, executed=True), taken)


def _cpu_seconds() -> float:
    """Of this process, and of its processes that have ended."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def _note_damaged(bench: Bench, step: Step, checkpoints: Path) -> None:
    """Record the checkpoints that the stage found damaged and passed over, and move them to the quarantine."""
    reason, name = "its bytes have changed", step.stage.name
    for path in sorted(checkpoints.glob(DAMAGED)):
        output = f"checkpoint {path.name.partition('.')[0]}"
        bench.ledger.append("set aside", stage=name, key=step.key, output=output, reason=reason)
        bench.observe(SetAside(bench.run, name, output, reason))
        bench.store.set_aside(path, f"{step.key[7:39]}.{path.name}")


def _require_unchanged(bench: Bench, checkpoints: Path) -> None:
    """What was made, in part or whole, from inputs that changed below it is not kept, to be resumed neither."""
    try:
        still_locked(bench.inputs)
    except HsdcError:
        shutil.rmtree(checkpoints, ignore_errors=True)
        raise


def _call(name: str, work: Work) -> Made:
    before_the_framework()
    try:
        stage: Callable[[Work], Made] = getattr(importlib.import_module(f"hsdc_runtime.stages.{name}"), name)
    except ImportError as error:
        if (error.name or "").startswith("hsdc_"):
            raise
        message = f"running needs the extra 'runtime', and '{error.name}' is not installed"
        raise fail("E431", Exit.ENVIRONMENT, message, None, EXTRA) from None
    try:
        return stage(work)
    except Exception as error:
        found = None if isinstance(error, HsdcError) else machine_fault(error, name)
        if found is None:
            raise
        raise found from None


def _publish(store: Store, step: Step, made: Made, times: tuple[float, float], checkpoints: Path) -> Action:
    outputs = {}
    for name in step.stage.outputs:
        digest, size = store.put(made.files[name])
        outputs[name] = Artifact(digest=made.digests.get(name, digest), object=digest, bytes=size)
    # Before the key is known: who is killed here resumes at the end, and no later execution finds them.
    shutil.rmtree(checkpoints, ignore_errors=True)
    facts: dict[str, Any] = dict(made.facts)
    action = Action(step.stage.name, step.key, outputs, facts, *times)
    before = store.action(step.key)
    if before is None or before.outputs == outputs:
        store.record_action(action)
    return action


def _record(step: Step, action: Action, *, executed: bool) -> StageRecord:
    return StageRecord(
        name=step.stage.name,
        key=step.key,
        executed=executed,
        outputs=dict(action.outputs),
        seconds=round(action.seconds, 3),
        cpu_seconds=round(action.cpu_seconds, 3),
        facts=action.facts,
    )
