"""What counts: the essence of a resolved value (without prose) and the factors in which two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast, get_args, get_origin

from hsdc_schemas.spec import Experiment, Model, factor_mark

Path = tuple[str, ...]


def essence(value: Any) -> Any:
    """A typed value as JSON values, without the fields that are marked as prose."""
    if isinstance(value, Model):
        return value.model_dump(mode="json", exclude=_prose(type(value)))
    if isinstance(value, Mapping):
        return {key: essence(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [essence(item) for item in value]
    return value


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


def is_free(path: Path) -> bool:
    """Whether no budget counts what is at a path of the experiment: a seed."""
    model: Any = Experiment
    for position, key in enumerate(path):
        field = model.model_fields.get(key) if isinstance(model, type) and issubclass(model, Model) else None
        if field is None:
            return False
        if position == len(path) - 1:
            return factor_mark(field) == "free"
        model = field.annotation
    return False


def factors(old: Any, new: Any, path: Path = ()) -> Iterator[Path]:
    """The paths of the factors that differ, as a budget counts them.

    A model marked `whole`, a field marked `whole` and a union whose kind changed are one factor each; otherwise each
    scalar is one. Seeds (`free`) and prose do not count.
    """
    if old == new:
        return
    if isinstance(old, Model) and type(old) is type(new) and not old.whole:
        for name, field in type(old).model_fields.items():
            mark = factor_mark(field)
            if mark in ("prose", "free"):
                continue
            before, after = getattr(old, name), getattr(new, name)
            if mark == "whole":
                if essence(before) != essence(after):
                    yield (*path, name)
            else:
                yield from factors(before, after, (*path, name))
    elif type(old) is dict and type(new) is dict:
        for key in dict.fromkeys((*old, *new)):
            if key not in old or key not in new:
                yield (*path, key)
            else:
                yield from factors(old[key], new[key], (*path, key))
    elif essence(old) != essence(new):
        yield path


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
