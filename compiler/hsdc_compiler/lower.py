"""Pass 10: everything that is known of a run, as a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hsdc_schemas.digests import canonical_ready, digest_bytes, ready
from hsdc_schemas.factors import essence
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
from hsdc_schemas.stages import KINDS, stage_key


@dataclass(frozen=True)
class Resolved:
    """A checked run in one profile, ready to lower."""

    name: str
    parent: str | None
    experiment: Experiment
    components: Mapping[str, Component]
    reproduces: Reproduces | None
    matrix: Matrix | None

    @cached_property
    def essence(self) -> Any:
        """The experiment without prose, ready for canonical JSON."""
        return ready(essence(self.experiment))


class Lowering:
    """Lowers the runs of one compilation; what they share is made ready once."""

    def __init__(self, profile: str, execution: Execution, packages: Mapping[str, str]) -> None:
        self.profile, self.execution = profile, execution
        self.settings = ready(essence(execution))
        self.packages = packages
        self._inputs: dict[tuple[int, ...], tuple[tuple[Input, ...], dict[str, str], Any]] = {}

    def lower(self, run: Resolved, inputs: tuple[Input, ...]) -> tuple[Manifest, bytes]:
        """The manifest of a run and its canonical bytes: experiment, inputs, stages with keys, environment."""
        stages = KINDS[run.experiment.kind]
        digests, locked = self._shared(inputs)
        used = {name: self.packages.get(name, "") for stage in stages for name in stage.packages}
        values = {"experiment": run.essence, "execution": self.settings}
        keys: dict[str, str] = {}
        for stage in stages:
            keys[stage.name] = stage_key(stage, values, digests, keys, used)
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
            "stages": tuple(StagePlan(name=s.name, key=keys[s.name], needs=s.needs, outputs=s.outputs) for s in stages),
        }
        plain: dict[str, Any] = {
            **typed,
            **values,
            "components": essence(run.components),
            "reproduces": ready(essence(run.reproduces)),
            "matrix": ready(essence(run.matrix)),
            "inputs": locked,
            "stages": [{"name": s.name, "key": keys[s.name], "needs": s.needs, "outputs": s.outputs} for s in stages],
        }
        digest = digest_bytes(canonical_ready(plain))
        # Every part is typed already; validating them again would be most of the work.
        return Manifest.model_construct(**typed, digest=digest), canonical_ready({**plain, "digest": digest})

    def _shared(self, inputs: tuple[Input, ...]) -> tuple[dict[str, str], Any]:
        key = tuple(map(id, inputs))
        if key not in self._inputs:
            self._inputs[key] = (inputs, input_digests(inputs), ready(essence(inputs)))
        return self._inputs[key][1:]
