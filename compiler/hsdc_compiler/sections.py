"""Typed sections of experiments, each made once: runs share what they inherit, and so the work of checking it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from hsdc_compiler.node import Node
from hsdc_schemas.digests import canonical_ready
from hsdc_schemas.factors import ready_essence
from hsdc_schemas.spec import Experiment


class Section(msgspec.Struct, frozen=True, gc=False):
    """A section as it was written (kept, so that its identity stays its own), typed, and as canonical JSON.

    `ready` and `text` are its essence; `parts` is what stages read of it, by their paths.
    """

    node: Node | None
    typed: Any
    ready: Any
    text: bytes
    parts: dict[str, bytes]


class Sections:
    """The sections of one compilation, by name and identity of what was written."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], Section] = {}

    def assemble(self, tree: Node, model: type[Experiment]) -> tuple[Experiment, dict[str, Section]] | None:
        """The experiment of a tree and its sections; None where anything is wrong, which a whole check explains."""
        typed, made = {}, {}
        known, entries, kind = self._known, tree.value, model.__name__
        for name, adapter in _adapters(model).items():
            node = entries.get(name)
            key = (kind, name, id(node.value) if node is not None else 0)
            section = known.get(key) or self._section(key, model, adapter, node)
            if section is None:
                return None
            typed[name], made[name] = section.typed, section
        if not tree.value.keys() <= typed.keys():
            return None
        return model.model_construct(**typed), made

    def _section(
        self, key: tuple[str, str, int], model: type[Experiment], adapter: TypeAdapter[Any], node: Node | None
    ) -> Section | None:
        field = model.model_fields[key[1]]
        if node is None and field.is_required():
            return None
        try:
            typed = (
                field.get_default(call_default_factory=True, validated_data={})
                if node is None
                else adapter.validate_python(node.plain())
            )
        except ValidationError:
            return None
        made = ready_essence(typed)
        found = self._known[key] = Section(node, typed, made, canonical_ready(made), {})
        return found


@cache
def _adapters(model: type[Experiment]) -> dict[str, TypeAdapter[Any]]:
    found: dict[str, TypeAdapter[Any]] = {}
    for name, field in model.model_fields.items():
        is_model = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        config = None if is_model else ConfigDict(strict=True)
        annotation: Any = Annotated[field.annotation, field]
        found[name] = TypeAdapter(annotation, config=config)
    return found
