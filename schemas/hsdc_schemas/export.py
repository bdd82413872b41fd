"""The typed models as JSON Schema 2020-12, for editors and for programs that read manifests and records."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Record
from hsdc_schemas.spec import SLOTS, Experiment, Profile, Reproduces

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, bytes]:
    """Paths relative to the root of a project, and the bytes of the schemas there."""
    models: dict[str, type[BaseModel]] = {"experiment": Experiment, "manifest": Manifest, "record": Record}
    found = {f"schemas/{name}.schema.json": _bytes(_schema(model)) for name, model in models.items()}
    found["schemas/spec.schema.json"] = _bytes(_spec_schema())
    return found


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **model.model_json_schema()}


def _bytes(schema: dict[str, Any]) -> bytes:
    return (json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _spec_schema() -> dict[str, Any]:
    """A run as people write it: a root with its sections, or a run that extends another and holds its changes."""
    body = Experiment.model_json_schema(ref_template="#/$defs/{model}")
    definitions = body.pop("$defs")
    for model in (Profile, Reproduces):
        extra = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= extra.pop("$defs", {})
        definitions[model.__name__] = extra
    header = _header()
    sections = {name: _slot(name, schema) for name, schema in body["properties"].items()}
    partial = _relaxed(definitions)
    root = {"properties": {**header, **sections}, "required": ["hsdc", "run", "kind"], "additionalProperties": False}
    derived = {
        "properties": {**header, "change": {"type": "object", "properties": _point_at_partial(body["properties"])}},
        "required": ["hsdc", "run", "extends", "budget"],
        "additionalProperties": False,
    }
    return {
        "$schema": DIALECT,
        "title": "A run of hsdc",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": derived,
        "else": root,
        "$defs": {**definitions, **partial},
    }


def _header() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "hsdc": {"const": 1, "description": "Version of the language."},
        "run": {"type": "string", "description": "Name of the run: the name of its file."},
        "title": {**text, "description": "One line for people."},
        "notes": {**text, "description": "Anything for people."},
        "extends": {**text, "description": "The one parent, by run name."},
        "budget": {"type": "integer", "minimum": 0, "description": "Most factors that may differ from the parent."},
        "why": {**text, "description": "Why the change is made."},
        "reproduces": {"$ref": "#/$defs/Reproduces", "description": "A claim to test."},
    }


def _slot(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    if name not in SLOTS:
        return schema
    use = {"type": "object", "properties": {"use": {"type": "string"}}, "required": ["use"]}
    return {"anyOf": [use, schema], "description": f"A component of specs/{SLOTS[name][0]}, or its values."}


def _relaxed(definitions: dict[str, Any]) -> dict[str, Any]:
    """Every definition once more with nothing required and operators allowed: what a change may hold."""
    relaxed = {}
    for name, schema in definitions.items():
        copy = {key: value for key, value in schema.items() if key not in ("required", "additionalProperties")}
        if "properties" in copy:
            copy["properties"] = _point_at_partial(copy["properties"])
            copy["patternProperties"] = {r"^\$(replace|unset|append|prepend|remove|literal|ref)$": {}}
            copy["additionalProperties"] = False
        relaxed[f"{name}Change"] = copy
    return relaxed


def _point_at_partial(value: Any) -> Any:
    """References turned to the relaxed definitions; constraints that an operator would break are dropped."""
    if isinstance(value, dict):
        if "discriminator" in value:
            return {"anyOf": [_point_at_partial(item) for item in value["oneOf"]]}
        if "$ref" in value:
            name = value["$ref"].rsplit("/", 1)[1]
            kept = {key: item for key, item in value.items() if key not in ("$ref", "default")}
            return {**kept, "$ref": f"#/$defs/{name}Change"}
        return {key: _point_at_partial(item) for key, item in value.items() if key != "minProperties"}
    if isinstance(value, list):
        return [_point_at_partial(item) for item in value]
    return value
