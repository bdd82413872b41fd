"""Typed sections of experiments, each made once: runs share what they inherit, and so the work of checking it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hsdc_compiler.node import Node
from hsdc_schemas.digests import canonical_ready
from hsdc_schemas.factors import ready_essence, ready_typed
from hsdc_schemas.spec import Experiment

_M = TypeVar("_M", bound=BaseModel)


class Section(msgspec.Struct, frozen=True, gc=False):
    """A section typed, and as canonical JSON: `ready` and `text` are its essence.

    `parts` is what stages read of it, by their paths.
    """

    typed: Any
    ready: Any
    text: bytes
    parts: dict[str, bytes]


class Sections:
    """The sections of one compilation, by name and by identity of what was written, or by what it says."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], Section] = {}
        self._said: dict[tuple[str, str, bytes], Section] = {}
        self._kept: list[Node] = []  # what was written, so that its identity stays its own

    def assemble(self, tree: Node, model: type[Experiment]) -> tuple[Experiment, dict[str, Section]] | None:
        """The experiment of a tree and its sections; None where anything is wrong, which a whole check explains."""
        typed, made = {}, {}
        known, entries = self._known, tree.value
        kind, fields, given = _fields(model)
        for name in fields:
            node = entries.get(name)
            key = (kind, name, id(node.value) if node is not None else 0)
            section = known.get(key) or self._section(key, model, node)
            if section is None:
                return None
            typed[name], made[name] = section.typed, section
        if not entries.keys() <= typed.keys():
            return None
        return _constructed(model, typed, given), made

    def _section(self, key: tuple[str, str, int], model: type[Experiment], node: Node | None) -> Section | None:
        kind, name, _ = key
        if node is None:
            field = model.model_fields[name]
            if field.is_required():
                return None
            found = _made(field.get_default(call_default_factory=True, validated_data={}))
        else:
            known = self._merged(kind, name, node) or self._whole(kind, name, model, node)
            if known is None:
                return None
            found = known
            self._kept.append(node)
        self._known[key] = found
        return found

    def _merged(self, kind: str, name: str, node: Node) -> Section | None:
        """A section of which only that is checked which it changes of the one that it was merged on."""
        under = self._known.get((kind, name, id(node.under.value))) if node.under is not None else None
        changed = _changed(under.typed, under.ready, node) if under is not None else None
        if changed is None:
            return None
        typed, ready = changed
        return Section(typed, ready, canonical_ready(ready), {})

    def _whole(self, kind: str, name: str, model: type[Experiment], node: Node) -> Section | None:
        """A section checked as a whole, unless another one says the same."""
        plain = node.plain()
        try:
            key = (kind, name, msgspec.json.encode(plain))
        except OverflowError:  # a number that it cannot write, which is rare enough to be checked each time
            key = (kind, name, repr(plain).encode())
        if key not in self._said:
            try:
                self._said[key] = _made(_adapter(model, name).validate_python(plain))
            except ValidationError:
                return None
        return self._said[key]


def _made(typed: Any) -> Section:
    ready = ready_essence(typed)
    return Section(typed, ready, canonical_ready(ready), {})


def _changed(old: Any, ready: Any, node: Node) -> tuple[Any, Any] | None:
    """A typed value, and its essence, with what a node changes of the one that it was merged on.

    No model has a rule across its fields, so fields that are as they were need no check. None where that is not all
    there is to it, a fault included.
    """
    under = node.under
    if node.op != "merge" or under is None or node.touched is None:
        return None
    is_mapping = type(old) is dict  # of what its author named; else a model, which takes a call of Python to ask
    fields, typed, essence = old if is_mapping else vars(old), {}, dict(ready)
    for name in node.touched:
        item, was = node.value.get(name), under.value.get(name)
        if item is None:  # it is taken out
            return None
        before = fields.get(name)
        found = _changed(before, ready.get(name), item) if item.under is was and before is not None else None
        if found is None and (is_mapping or name == "kind" or name not in ready):
            return None
        try:
            if found is None:
                value = _adapter(old.__class__, name).validate_python(item.plain())
                found = value, ready_typed(value)
            typed[name], essence[name] = found
        except (ValidationError, OverflowError):
            return None
    if is_mapping:
        return old | typed, essence
    given = old.model_fields_set
    return _constructed(type(old), fields | typed, given if typed.keys() <= given else given | typed.keys()), essence


def _constructed(model: type[_M], fields: dict[str, Any], given: set[str]) -> _M:
    """`model.model_construct(**fields)` where all fields are there, in a fifth of the time."""
    made, put = model.__new__(model), object.__setattr__
    put(made, "__dict__", fields)
    put(made, "__pydantic_fields_set__", given)
    put(made, "__pydantic_extra__", None)
    put(made, "__pydantic_private__", None)
    return made


@cache
def _fields(model: type[BaseModel]) -> tuple[str, tuple[str, ...], set[str]]:
    """The name of a model and those of its fields, in order and as a set."""
    return model.__name__, tuple(model.model_fields), set(model.model_fields)


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    """What checks one field of a model."""
    field = model.model_fields[name]
    is_model = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    annotation: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotation, config=None if is_model else ConfigDict(strict=True))
