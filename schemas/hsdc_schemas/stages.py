"""A stage: what it reads, so that its key can be known before anything runs.

A stage sees the sections named here and nothing else of the experiment; what it does not see cannot make it stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hsdc_schemas.digests import canonical, canonical_ready, digest_bytes
from hsdc_schemas.fields import Model

_M = TypeVar("_M", bound=Model)

SETTINGS = {"checkpoint_seconds", "requests"}  # of an execution; no result depends on them


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: `sections` are paths into {experiment, execution}, `*` standing for every key."""

    name: str
    revision: int
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    needs: tuple[str, ...]
    outputs: tuple[str, ...]
    packages: tuple[str, ...]
    module: str = ""  # of the runtime, where it is not called as the stage is
    beside: tuple[str, ...] = ()  # sections that it sees and that change nothing of what it makes
    anew: bool = False  # a reproduction executes this stage and all after it


def for_keys(execution: Mapping[str, Any]) -> dict[str, Any]:
    """An execution without what cannot change a result, of which is the number of processes where it is elastic."""
    settings = {*SETTINGS, "processes"} if execution.get("elastic") else SETTINGS
    return {name: value for name, value in execution.items() if name not in settings}


def section(values: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The part of nested mappings that some paths name; a path that does not exist contributes nothing."""
    picked: dict[str, Any] = {}
    for path in paths:
        pick(values, path.split("."), picked)
    return picked


def pick(values: Mapping[str, Any], path: Sequence[str], into: dict[str, Any]) -> None:
    """Put what a path names into another mapping, under the same keys."""
    head, rest = path[0], path[1:]
    for key in tuple(values) if head == "*" else (head,):
        if key not in values:
            continue
        if not rest:
            into[key] = values[key]
        elif isinstance(values[key], dict):
            pick(values[key], rest, into.setdefault(key, {}))


def typed(model: type[_M], value: Any) -> _M:
    """A part of a section as the typed value that it was lowered from."""
    return model.model_validate_json(canonical(value))


def stage_key(
    stage: Stage, part: Any, inputs: Mapping[str, str], keys: Mapping[str, str], packages: Mapping[str, str]
) -> str:
    """The key of a stage: its name and revision, what it reads, the keys of the stages it needs, its environment.

    `part` is its section of experiment and execution, as `digests.ready` returns it.
    """
    return digest_bytes(canonical_ready(keyed(stage, part, inputs, keys, packages)))


def keyed(
    stage: Stage, part: Any, inputs: Mapping[str, Any], keys: Mapping[str, Any], packages: Mapping[str, Any]
) -> dict[str, Any]:
    """What the key of a stage is the digest of."""
    return {
        "stage": stage.name,
        "revision": stage.revision,
        "section": part,
        "inputs": {name: inputs[name] for name in stage.inputs},
        "needs": {name: keys[name] for name in stage.needs},
        "packages": {name: packages.get(name, "") for name in stage.packages},
    }
