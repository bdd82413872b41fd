"""The manifest: what exactly will run. Canonical bytes, its own digest inside, no time, host or absolute path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from hsdc_schemas.digests import canonical, digest_files, digest_json, from_json
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.fields import Model
from hsdc_schemas.model_files import tokenizer_files
from hsdc_schemas.spec import Execution, Experiment, Reproduces

SCHEMA_VERSION: Literal[1] = 1

_M = TypeVar("_M", bound=BaseModel)


class InputFile(Model):
    """One file of an input, by its path inside the input."""

    path: str
    digest: str
    bytes: int


class Input(Model):
    """A declared input: a split of the data set, or the model."""

    name: str
    source: str
    revision: str = ""
    digest: str
    files: tuple[InputFile, ...]
    rows: int | None = None
    labels: dict[str, dict[str, int]] | None = None


class StagePlan(Model):
    """A stage of this run with its key."""

    name: str
    key: str
    needs: tuple[str, ...]
    outputs: tuple[str, ...]


class Component(Model):
    """Which component a slot names, and which one the profile put there."""

    named: str
    used: str


class Matrix(Model):
    """Where a run stands in the matrix that made it: the value on each axis, and the axes that are replicates."""

    run: str
    axes: dict[str, Any]
    replicate: tuple[str, ...]


class Manifest(Model):
    """A locked run in one profile."""

    hsdc: Literal[1]
    schema_version: Literal[1]
    run: str
    profile: str
    extends: str | None
    experiment: Experiment
    experiment_digest: str
    components: dict[str, Component]
    execution: Execution
    reproduces: Reproduces | None
    matrix: Matrix | None
    inputs: tuple[Input, ...]
    packages: dict[str, str]
    stages: tuple[StagePlan, ...]
    digest: str

    @property
    def substituted(self) -> tuple[str, ...]:
        """The slots that the profile bound to another component than the spec names."""
        return tuple(slot for slot, component in self.components.items() if component.named != component.used)

    def input(self, name: str) -> Input:
        """The input of that name."""
        return next(item for item in self.inputs if item.name == name)


def input_digests(inputs: Iterable[Input]) -> dict[str, str]:
    """What stages declare as inputs: each by name, all splits, all sources, and what of a model decides token ids."""
    items = tuple(inputs)
    found = {item.name: item.digest for item in items}
    for name, kind in (("dataset", "dataset."), ("sources", "source.")):
        found[name] = digest_json({item.name: item.digest for item in items if item.name.startswith(kind)})
    files = tuple(file for item in items if item.name == "model" for file in item.files)
    names = set(tokenizer_files(file.path for file in files))
    return {**found, "tokenizer": digest_files((file.path, file.digest) for file in files if file.path in names)}


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its own digest, taken over all of it but the digest."""
    body = {key: item for key, item in value.items() if key != "digest"}
    return {**body, "digest": digest_json(body)}


def load_sealed(path: Path, shown: str, model: type[_M]) -> _M:
    """Read a manifest or record; a wrong digest, form or type is an error that says how to mend it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise fail("E501", Exit.ENVIRONMENT, f"{shown} does not exist", None, "hsdc compile") from None
    return unsealed(data, shown, model)


def unsealed(data: bytes, shown: str, model: type[_M]) -> _M:
    """A manifest or record from its bytes; errors as of `load_sealed`."""
    if data.startswith((b"<<<<<<<", b"=======", b">>>>>>>")) or b"\n<<<<<<< " in data:
        raise fail("E502", Exit.NO, f"{shown} holds conflict markers", None, "hsdc compile writes it anew")
    try:
        value = from_json(data)
        body = {key: item for key, item in value.items() if key != "digest"}
        intact = digest_json(body) == value.get("digest") and canonical(value) + b"\n" == data
        loaded = model.model_validate_json(data) if intact else None
    except (ValueError, AttributeError, ValidationError, RecursionError) as error:
        raise _damaged(shown, str(error).splitlines()[0], model) from None
    if loaded is None:
        raise _damaged(shown, "its bytes are not the ones that its digest names", model)
    return loaded


def _damaged(shown: str, reason: str, model: type[BaseModel]) -> HsdcError:
    anew = "hsdc compile writes it anew" if model is Manifest else "take it back from git, or delete it and run again"
    return fail("E503", Exit.NO, f"{shown} is not intact: {reason}", None, f"do not edit it; {anew}")
