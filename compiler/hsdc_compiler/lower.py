"""Pass 10: everything that is known of a run, as a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from hsdc_schemas.digests import canonical_ready, digest_bytes, ready
from hsdc_schemas.factors import essence
from hsdc_schemas.kinds import stages_of
from hsdc_schemas.manifest import (
    SCHEMA_VERSION,
    Component,
    Input,
    Manifest,
    Matrix,
    StagePlan,
    input_digests,
)
from hsdc_schemas.spec import Execution, Experiment, Reproduces
from hsdc_schemas.stages import Stage, for_keys, section, stage_key


@dataclass(frozen=True)
class Resolved:
    """A checked run in one profile; `essence` is its experiment without prose, ready for canonical JSON."""

    name: str
    parent: str | None
    experiment: Experiment
    essence: dict[str, Any]
    components: Mapping[str, Component]
    reproduces: Reproduces | None
    matrix: Matrix | None


class Lowering:
    """Lowers the runs of one compilation; what they share is made ready once."""

    def __init__(self, profile: str, execution: Execution, packages: Mapping[str, str]) -> None:
        self.profile, self.execution = profile, execution
        self.settings = ready(essence(execution))
        self.packages = packages
        self._parts: dict[tuple[tuple[str, ...], str, int], msgspec.Raw] = {}
        self._executions: dict[tuple[str, ...], dict[str, Any]] = {}
        self._inputs: dict[tuple[int, ...], tuple[tuple[Input, ...], dict[str, str], Any]] = {}

    def lower(self, run: Resolved, inputs: tuple[Input, ...]) -> tuple[Manifest, bytes]:
        """The manifest of a run and its canonical bytes: experiment, inputs, stages with keys, environment."""
        stages = stages_of(run.experiment, self.execution)
        digests, locked = self._shared(inputs)
        used = {name: self.packages.get(name, "") for stage in stages for name in stage.packages}
        values = {"experiment": run.essence, "execution": self.settings}
        keys: dict[str, str] = {}
        for stage in stages:
            keys[stage.name] = self._key(stage, values, digests, keys, used)
        typed: dict[str, Any] = {
            "hsdc": 1,
            "schema_version": SCHEMA_VERSION,
            "run": run.name,
            "profile": self.profile,
            "extends": run.parent,
            "experiment": run.experiment,
            "experiment_digest": digest_bytes(canonical_ready(run.essence)),
            "components": dict(run.components),
            "execution": self.execution,
            "reproduces": run.reproduces,
            "matrix": run.matrix,
            "inputs": inputs,
            "packages": used,
            "stages": tuple(map(_plan, stages, keys.values())),
        }
        plain: dict[str, Any] = {
            **typed,
            **values,
            "components": {slot: {"named": c.named, "used": c.used} for slot, c in run.components.items()},
            "reproduces": ready(essence(run.reproduces)),
            "matrix": ready(essence(run.matrix)),
            "inputs": locked,
            "stages": [{"name": s.name, "key": keys[s.name], "needs": s.needs, "outputs": s.outputs} for s in stages],
        }
        digest = digest_bytes(canonical_ready(plain))
        # Every part is typed already; validating them again would be most of the work.
        return Manifest.model_construct(**typed, digest=digest), canonical_ready({**plain, "digest": digest})

    def _key(
        self,
        stage: Stage,
        values: Mapping[str, Any],
        digests: Mapping[str, str],
        keys: Mapping[str, str],
        used: Mapping[str, str],
    ) -> str:
        """The key of a stage; what it reads of the experiment is written once for all runs that share it."""
        experiment = values["experiment"]
        part = {**self._settings(stage), "experiment": {n: self._part(stage, n, experiment[n]) for n in _read(stage)}}
        return stage_key(stage, part, digests, keys, used)

    def _part(self, stage: Stage, name: str, made: Any) -> msgspec.Raw:
        """What a stage reads of one section of an experiment."""
        known = (stage.sections, name, id(made))  # kinds have stages of one name
        if known not in self._parts:
            picked = section({"experiment": {name: made}}, _read(stage)[name])
            self._parts[known] = msgspec.Raw(canonical_ready(picked["experiment"][name]))
        return self._parts[known]

    def _settings(self, stage: Stage) -> dict[str, Any]:
        """What a stage reads of the execution."""
        if stage.sections not in self._executions:
            self._executions[stage.sections] = section({"execution": for_keys(self.settings)}, stage.sections)
        return self._executions[stage.sections]

    def _shared(self, inputs: tuple[Input, ...]) -> tuple[dict[str, str], Any]:
        key = tuple(map(id, inputs))
        if key not in self._inputs:
            self._inputs[key] = (inputs, input_digests(inputs), ready(essence(inputs)))
        return self._inputs[key][1:]


@cache
def _read(stage: Stage) -> dict[str, tuple[str, ...]]:
    """The sections of the experiment that a stage reads, each with the stage's paths into it."""
    found: dict[str, list[str]] = {}
    for path in stage.sections:
        top, name, *_ = path.split(".")
        if top == "experiment":
            found.setdefault(name, []).append(path)
    return {name: tuple(paths) for name, paths in found.items()}


def _plan(stage: Stage, key: str) -> StagePlan:
    return StagePlan.model_construct(name=stage.name, key=key, needs=stage.needs, outputs=stage.outputs)
