"""The verdict on a claim: a run that was executed anew against the record of the run that it says it reproduces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from hsdc_runtime.store import Damaged, Store
from hsdc_runtime.tensor_files import first_that_differs, tensors_in
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Artifact, Difference, Environment, Record, Reproduction, StageRecord
from hsdc_schemas.scores import Confusion, figure, parse_metric
from hsdc_schemas.spec import Reproduces

Verdict = Literal["identical", "diverged", "inconclusive"]
COMPARED = ("python", "platform", "processor", "device", "packages")


def reproduce(
    claim: Reproduces,
    manifest: Manifest,
    original: Record,
    stages: tuple[StageRecord, ...],
    environment: Environment,
    scores: Mapping[str, Mapping[str, Mapping[str, object]]],
    store: Store,
) -> Reproduction:
    """Identical, diverged (with the first stage, output and tensor) or inconclusive (another environment)."""
    executed = tuple(stage.name for stage in stages if stage.executed)
    difference = first_difference(original, stages, store, store)
    elsewhere = other_fields(original.environment, environment)
    verdict = judged(difference, elsewhere)
    found = None
    if claim.metric is not None:
        confusions = {head: Confusion.from_json(counts) for head, counts in scores["raw"]["all"].items()}
        found = figure(parse_metric(claim.metric), confusions).value
    reported, reason = _reported(claim, manifest, found)
    return Reproduction.model_validate(
        {
            "run": claim.run,
            "record": original.digest,
            "executed": executed,
            "verdict": verdict,
            "difference": difference,
            "environment": elsewhere,
            "reported": reported,
            "metric": claim.metric,
            "found": found,
            "claimed": claim.reported,
            "within": claim.within,
            "reason": reason,
        }
    )


def other_fields(before: Environment, now: Environment) -> tuple[str, ...]:
    """The fields in which two environments differ that can change results."""
    return tuple(name for name in COMPARED if getattr(before, name) != getattr(now, name))


def judged(difference: Difference | None, elsewhere: tuple[str, ...]) -> Verdict:
    """Other digests only tell something where the environment is the same one."""
    return "identical" if difference is None else "inconclusive" if elsewhere else "diverged"


def _reported(claim: Reproduces, manifest: Manifest, found: float | None) -> tuple[str, str]:
    """The reported figure against ours; not comparable where the profile put other data or another model in place."""
    if claim.reported is None or claim.metric is None:
        return "not claimed", ""
    limits = [name for name, value in manifest.execution.limits.model_dump().items() if value is not None]
    reasons = [
        f"{slot} is {manifest.components[slot].used}, not {manifest.components[slot].named}"
        for slot in manifest.substituted
    ]
    reasons += [f"limits.{name} cuts the run short" for name in limits]
    if reasons:
        return "not comparable", "; ".join(reasons)
    if found is None:
        return "undefined", "the metric is undefined here"
    within = claim.within or 0.0
    return ("within" if abs(found - claim.reported) <= within else "outside"), ""


def first_difference(
    original: Record, stages: tuple[StageRecord, ...], recorded: Store, made: Store
) -> Difference | None:
    """The first output whose content is not the recorded one; `recorded` and `made` hold the objects of each side."""
    before = {stage.name: stage for stage in original.stages}
    for stage in stages:
        old = before.get(stage.name)
        for name, artifact in stage.outputs.items():
            was = old.outputs.get(name) if old else None
            if was is None or was.digest != artifact.digest:
                return Difference(
                    stage=stage.name,
                    output=name,
                    tensor=_first_tensor(name, old.outputs, stage.outputs, recorded, made) if old else None,
                    expected=was.digest if was else "",
                    found=artifact.digest,
                )
    return None


def _first_tensor(
    name: str, old: Mapping[str, Artifact], new: Mapping[str, Artifact], recorded: Store, made: Store
) -> str | None:
    """The first tensor whose digest differs; None where an output is gone or holds no tensors."""
    try:
        before, after = _tensors(name, old, recorded), _tensors(name, new, made)
    except (Damaged, KeyError, OSError, ValueError):
        return None
    return first_that_differs(before, after)


def _tensors(name: str, outputs: Mapping[str, Artifact], store: Store) -> list[dict[str, Any]]:
    """The list that training wrote, which may outlive the weights; for other outputs what the object itself holds."""
    if name == "weights":
        listed: list[dict[str, Any]] = json.loads(store.look(outputs["tensors"].object).read_bytes())
        return listed
    return tensors_in(store.look(outputs[name].object))
