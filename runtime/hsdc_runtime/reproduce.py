"""The verdict on a claim: a run that was executed anew against the record of the run that it says it reproduces."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from hsdc_runtime.differences import first_difference, largest_figure, largest_of_all
from hsdc_runtime.levels import Apart, judged, other_fields
from hsdc_runtime.store import Store
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Environment, Record, Reproduction, StageRecord
from hsdc_schemas.scores import Confusion, figure, parse_metric
from hsdc_schemas.spec import Reproduces


def reproduce(
    claim: Reproduces,
    manifest: Manifest,
    original: Record,
    stages: tuple[StageRecord, ...],
    environment: Environment,
    scores: Mapping[str, Mapping[str, Mapping[str, object]]],
    store: Store,
) -> Reproduction:
    """Identical, within tolerance, diverged or inconclusive (another environment), with the first difference."""
    executed = tuple(stage.name for stage in stages if stage.executed)
    difference = first_difference(original, stages, store, store)
    apart = Apart(0.0, 0.0)
    if difference is not None:
        apart = Apart(largest_of_all(original, stages, store, store), largest_figure(original.scores, scores))
    judgement = judged(difference, original.environment, environment, apart, manifest.execution.tolerance)
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
            "verdict": judgement.verdict,
            "level": judgement.level,
            "limits": judgement.limits,
            "difference": difference,
            "largest_tensor": _finite(apart.tensors),
            "largest_figure": apart.figures,
            "environment": other_fields(original.environment, environment),
            "reported": reported,
            "metric": claim.metric,
            "found": found,
            "claimed": claim.reported,
            "within": claim.within,
            "reason": reason,
        }
    )


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


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
