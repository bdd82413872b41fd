"""Pass 9: everything that is known of a run, as a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hsdc_schemas.digests import canonical, digest_json
from hsdc_schemas.factors import essence
from hsdc_schemas.manifest import SCHEMA_VERSION, Component, Input, Manifest, StagePlan, input_digests, sealed
from hsdc_schemas.spec import Execution, Experiment, Reproduces
from hsdc_schemas.stages import KINDS, stage_key


@dataclass(frozen=True)
class Resolved:
    """A checked run in one profile, ready to lower."""

    name: str
    parent: str | None
    experiment: Experiment
    components: Mapping[str, Component]
    reproduces: Reproduces | None


def lower(
    run: Resolved, profile: str, execution: Execution, inputs: tuple[Input, ...], packages: Mapping[str, str]
) -> Manifest:
    """The manifest of a run: experiment, inputs, stages with their keys, environment, and its own digest."""
    experiment = essence(run.experiment)
    values = {"experiment": experiment, "execution": essence(execution)}
    stages = KINDS[run.experiment.kind]
    digests = input_digests(inputs)
    used = {name: packages.get(name, "") for stage in stages for name in stage.packages}
    keys: dict[str, str] = {}
    for stage in stages:
        keys[stage.name] = stage_key(stage, values, digests, keys, used)
    plans = [StagePlan(name=s.name, key=keys[s.name], needs=s.needs, outputs=s.outputs) for s in stages]
    body = {
        "hsdc": 1,
        "schema_version": SCHEMA_VERSION,
        "run": run.name,
        "profile": profile,
        "extends": run.parent,
        "experiment": experiment,
        "experiment_digest": digest_json(experiment),
        "components": essence(run.components),
        "execution": values["execution"],
        "reproduces": essence(run.reproduces),
        "inputs": essence(inputs),
        "packages": dict(sorted(used.items())),
        "stages": essence(tuple(plans)),
    }
    return Manifest.model_validate_json(canonical(sealed(body)))
