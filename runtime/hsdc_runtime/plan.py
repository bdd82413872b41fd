"""From a manifest to the stages of its run; the table of stages must be the one that it was compiled with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hsdc_schemas.digests import ready
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.factors import essence
from hsdc_schemas.kinds import stages_of
from hsdc_schemas.manifest import Manifest, input_digests
from hsdc_schemas.stages import Stage, for_keys, section, stage_key


@dataclass(frozen=True)
class Step:
    """A stage with its key and the section of the manifest that it may see."""

    stage: Stage
    key: str
    section: dict[str, Any]


def on_processes(manifest: Manifest, processes: int | None) -> Manifest:
    """The manifest on another number of processes, which has to give the same bits; None leaves it as it is."""
    execution = manifest.execution
    if processes in (None, execution.processes):
        return manifest
    if not execution.elastic:
        number = f"the number of its processes, {execution.processes}, is part of what it gives"
        hint = f"set elastic: true in the execution of profile {manifest.profile}, and compile"
        raise fail("E438", Exit.SPEC, f"'{manifest.run}' is not elastic: {number}", None, hint)
    changed = execution.model_copy(update={"processes": processes})
    return manifest.model_copy(update={"execution": changed})


def plan(manifest: Manifest) -> tuple[Step, ...]:
    """The steps in their order; keys that are not the manifest's own mean that it was compiled by another hsdc."""
    values = {"experiment": essence(manifest.experiment), "execution": essence(manifest.execution)}
    prepared = ready({**values, "execution": for_keys(values["execution"])})
    inputs = input_digests(manifest.inputs)
    keys: dict[str, str] = {}
    steps = []
    for stage in stages_of(manifest.experiment, manifest.execution):
        keys[stage.name] = stage_key(stage, section(prepared, stage.sections), inputs, keys, manifest.packages)
        steps.append(Step(stage, keys[stage.name], section(values, (*stage.sections, *stage.beside))))
    if keys != {planned.name: planned.key for planned in manifest.stages}:
        raise fail("E504", Exit.NO, f"'{manifest.run}' was compiled by another version of hsdc", None, "hsdc compile")
    return tuple(steps)
