"""Where two executions of a run differ first, and how far apart they are in tensors and in figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from hsdc_runtime.store import Damaged, Store
from hsdc_runtime.tensor_files import first_that_differs, tensors_in
from hsdc_schemas.record import Artifact, Difference, Record, StageRecord
from hsdc_schemas.scores import Confusion, figure, known_metrics, parse_metric

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]


def first_difference(
    original: Record, stages: tuple[StageRecord, ...], recorded: Store, made: Store
) -> Difference | None:
    """The first output whose content is not the recorded one; `recorded` and `made` hold the objects of each side."""
    for stage, name, was, artifact in _differing(original, stages):
        tensor = field = None
        if was is not None:
            old = next(item for item in original.stages if item.name == stage.name)
            tensor = _first_tensor(name, old.outputs, stage.outputs, recorded, made)
            field = _first_field(was, artifact, recorded, made) if tensor is None else None
        expected = was.digest if was else ""
        return Difference(
            stage=stage.name, output=name, tensor=tensor, field=field, expected=expected, found=artifact.digest
        )
    return None


def _differing(
    original: Record, stages: tuple[StageRecord, ...]
) -> Iterator[tuple[StageRecord, str, Artifact | None, Artifact]]:
    before = {stage.name: stage.outputs for stage in original.stages}
    for stage in stages:
        for name, artifact in stage.outputs.items():
            was = before.get(stage.name, {}).get(name)
            if was is None or was.digest != artifact.digest:
                yield stage, name, was, artifact


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


def _first_field(was: Artifact, now: Artifact, recorded: Store, made: Store) -> str | None:
    """The first place in a JSON output, or in the lines of one, that differs; None where that cannot be known."""
    try:
        before, after = (_json(store.look(item.object).read_bytes()) for store, item in ((recorded, was), (made, now)))
    except (Damaged, OSError, ValueError, RecursionError):
        return None
    return _place(before, after)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except json.JSONDecodeError:
        return [json.loads(line) for line in data.splitlines()]


def _place(before: Any, after: Any) -> str | None:
    """Keys and positions (from 0) down to the first value that differs, with dots between; None for equal ones."""
    if isinstance(before, list) and isinstance(after, list):
        before, after = dict(enumerate(before)), dict(enumerate(after))
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return None if before == after and type(before) is type(after) else ""
    for key in sorted({*before, *after}):
        if key not in before or key not in after:
            return str(key)
        if (below := _place(before[key], after[key])) is not None:
            return f"{key}.{below}".rstrip(".")
    return None


def largest_in(
    difference: Difference, original: Record, stages: tuple[StageRecord, ...], recorded: Store, made: Store
) -> float | None:
    """The largest difference of an element of the tensor that a difference names; None where it cannot be known."""
    for stage, name, was, artifact in _differing(original, stages):
        if (stage.name, name) == (difference.stage, difference.output) and was is not None and difference.tensor:
            return _largest(was, artifact, difference.tensor, recorded, made)
    return None


def largest_of_all(original: Record, stages: tuple[StageRecord, ...], recorded: Store, made: Store) -> float | None:
    """The largest difference of an element of any tensor; None where a tensor is not there to be compared."""
    largest = 0.0
    for _, _, was, artifact in _differing(original, stages):
        try:
            names = () if was is None else _all_that_differ(recorded.look(was.object), made.look(artifact.object))
        except (Damaged, OSError):
            return None
        found = [None if was is None else 0.0, *(_largest(was, artifact, name, recorded, made) for name in names)]
        if None in found:
            return None
        largest = max(largest, *found)
    return largest


def _all_that_differ(before: Path, after: Path) -> list[str]:
    """The tensors that are not the same in two files; none where these hold no tensors: their figures are compared."""
    try:
        old, new = tensors_in(before), tensors_in(after)
    except ValueError:
        return []
    return sorted({tensor["name"] for tensor in (*old, *new) if tensor not in old or tensor not in new})


def _largest(was: Artifact, now: Artifact, name: str, recorded: Store, made: Store) -> float | None:
    apart = import_module("hsdc_runtime.nn.difference")
    try:
        found: float | None = apart.largest_difference(recorded.look(was.object), made.look(now.object), name)
    except Damaged:
        return None
    return found


def largest_figure(before: Scores, after: Scores) -> float | None:
    """The largest difference of a metric in any variant and slice; None where one is undefined on one side alone."""
    largest = 0.0
    old, new = _figures(before), _figures(after)
    if old.keys() != new.keys():
        return None
    for name, value in old.items():
        other = new[name]
        if (value is None) != (other is None):
            return None
        if value is not None and other is not None:
            largest = max(largest, abs(value - other))
    return largest


def _figures(scores: Scores) -> dict[tuple[str, str, str], float | None]:
    found = {}
    for variant, slices in scores.items():
        for part, heads in slices.items():
            counts = {head: Confusion.from_json(item) for head, item in heads.items()}
            for name in known_metrics({head: confusion.labels for head, confusion in counts.items()}):
                found[variant, part, name] = figure(parse_metric(name), counts).value
    return found
