"""What counts: the essence of a resolved value (without prose) and the factors in which two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, cast, get_args, get_origin

from hsdc_schemas.digests import AS_IT_IS, LARGEST, ready
from hsdc_schemas.fields import Model, factor_mark
from hsdc_schemas.spec import EXPERIMENTS, SLOTS

Path = tuple[str, ...]
_SCALARS = frozenset((str, bool, int, float))
_MODELS = type(Model)  # what all models are of; isinstance takes a call of Python to ask the same


def essence(value: Any) -> Any:
    """A typed value as JSON values, without the fields that are marked as prose."""
    if type(type(value)) is _MODELS:
        model: Any = type(value)
        return value.model_dump(mode="json", exclude=_prose(model))
    if isinstance(value, dict):
        return {key: essence(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [essence(item) for item in value]
    return value


def ready_essence(value: Any) -> Any:
    """`ready(essence(value))` of a typed value, in one go."""
    try:
        return ready_typed(value)
    except OverflowError:  # a seed that JSON has no number for; the models know how it is written
        return ready(essence(value))


def ready_typed(value: Any) -> Any:
    """As `ready_essence`; OverflowError where the essence is not told by the values alone."""
    kind = type(value)
    if kind in AS_IT_IS:
        return value
    if type(kind) is _MODELS:
        fields = vars(value)
        return {n: v if type(v := fields[n]) in AS_IT_IS else ready_typed(v) for n in _essential(kind)}
    if kind is dict:
        return {key: item if type(item) in AS_IT_IS else ready_typed(item) for key, item in value.items()}
    if kind is tuple:
        return [ready_typed(item) for item in value]
    if kind is int and abs(value) > LARGEST:
        raise OverflowError
    return ready(value)


@cache
def _essential(model: Any) -> tuple[str, ...]:
    return tuple(name for name, field in model.model_fields.items() if factor_mark(field) != "prose")


@cache
def _prose(model: Any) -> dict[str, Any] | None:
    """What of a model, or of the models inside it, is prose, as pydantic's `exclude`; None where nothing is."""
    if get_origin(model) is dict:
        below = _prose(get_args(model)[1])
        return {"__all__": below} if below else None
    if get_args(model):
        return next((found for item in get_args(model) if (found := _prose(item))), None)
    if not (isinstance(model, type) and issubclass(model, Model)):
        return None
    fields = {
        name: True if factor_mark(field) == "prose" else _prose(cast("Any", field.annotation))
        for name, field in model.model_fields.items()
    }
    return {name: below for name, below in fields.items() if below} or None


@lru_cache(maxsize=4096)
def has_variants(path: Path) -> bool:
    """Whether what is at a path, of an experiment or of a component, is one of several kinds.

    False where the keys are their author's: a label may be called `kind`.
    """
    roots = (*EXPERIMENTS.values(), *(model for _, models in SLOTS.values() for model in models))
    return any("kind" in model.model_fields for root in roots for model in _ends(root, path))


def _ends(annotation: Any, path: Path) -> Iterator[Any]:
    """The models below an annotation that a path leads to."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        if not path:
            yield annotation
        elif path[0] in annotation.model_fields:
            yield from _ends(annotation.model_fields[path[0]].annotation, path[1:])
    elif get_origin(annotation) is dict:
        yield from _ends(get_args(annotation)[1], path[1:]) if path else ()
    elif get_origin(annotation) is not tuple:
        for item in get_args(annotation):
            yield from _ends(item, path)


def is_free(path: Path) -> bool:
    """Whether no budget counts what is at a path of an experiment: a seed."""
    return any(_mark_at(experiment, path) == "free" for experiment in EXPERIMENTS.values())


def _mark_at(model: Any, path: Path) -> str:
    for key in path[:-1]:
        field = next((m.model_fields[key] for m in _models(model) if key in m.model_fields), None)
        model = field.annotation if field is not None else None
    found = next((m.model_fields[path[-1]] for m in _models(model) if path[-1] in m.model_fields), None)
    return factor_mark(found) if found is not None else ""


def _models(annotation: Any) -> Iterator[type[Model]]:
    """The models that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for item in get_args(annotation):
        yield from _models(item)


def factors(old: Any, new: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of the factors that differ, as a budget counts them.

    A model marked `whole`, a field marked `whole` and a union whose kind changed are one factor each; otherwise each
    scalar is one. Seeds (`free`) and prose do not count.
    """
    if type(type(old)) is _MODELS and type(old) is type(new) and not old.whole:
        model: Any = type(old)
        one, other = vars(old), vars(new)
        for name, whole in _counted(model):
            before, after = one[name], other[name]
            if before is after:
                continue
            if type(before) in _SCALARS and type(before) is type(after):
                if before != after:
                    yield (*path, name)
            elif not whole:
                yield from factors(before, after, (*path, name))
            elif essence(before) != essence(after):
                yield (*path, name)
    elif type(old) is dict and type(new) is dict:
        for key in dict.fromkeys((*old, *new)):
            if key not in old or key not in new:
                yield (*path, key)
            elif old[key] is not new[key]:
                yield from factors(old[key], new[key], (*path, key))
    elif old != new and essence(old) != essence(new):
        yield path


@cache
def _counted(model: type[Model]) -> tuple[tuple[str, bool], ...]:
    """The fields of a model that a budget counts, and whether each is one factor."""
    marks = {name: factor_mark(field) for name, field in model.model_fields.items()}
    return tuple((name, mark == "whole") for name, mark in marks.items() if mark not in ("prose", "free"))


def changed_leaves(old: Any, new: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Every leaf of two JSON values that differs, with both values; `ABSENT` where a side has none."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from changed_leaves(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
    elif old != new or type(old) is not type(new):
        yield path, old, new


class _Absent:
    """Stands for a leaf that one side does not have."""

    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()
