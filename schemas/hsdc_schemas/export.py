"""The typed models as JSON Schema 2020-12, for editors and for programs that read manifests and records.

A spec may hold operators where values stand, so each model comes in forms: as it is (manifests, components, profiles),
as a new value (`Written`: a value may also come from `$ref`, `$replace` or `$literal`) and as a change (`Change`:
nothing is required, and what is inherited may be unset, lists may be edited).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from hsdc_schemas.fields import NOTES, TITLE, Model, Name, RunName
from hsdc_schemas.forms import CHANGE, FILLED, OPERATED, PREFIX, TEXT, WRITTEN, Schema, closed, operations
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Record
from hsdc_schemas.spec import EXPERIMENTS, SLOTS, Experiment, Profile, Reproduces

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, bytes]:
    """Paths relative to the root of a project, and the bytes of the schemas there."""
    sealed: dict[str, Any] = {"experiment": Experiment, "manifest": Manifest, "record": Record}
    found = {name: _resolved(model) for name, model in sealed.items()}
    found["spec"] = _spec()
    found["profile"] = _component("profile", Profile)
    found |= {slot: _slot(slot, models) for slot, (_, models) in SLOTS.items()}
    return {f"schemas/{name}.schema.json": _bytes(schema) for name, schema in found.items()}


def _bytes(schema: Schema) -> bytes:
    return (json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


class _Plain(GenerateJsonSchema):
    """Without titles made of field names; a mapping whose keys are names has no other keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dict_schema(self, schema: Any) -> Schema:
        found = super().dict_schema(schema)
        return {**found, "additionalProperties": False} if "patternProperties" in found else found


def _schema(model: Any, mode: JsonSchemaMode = "validation") -> Schema:
    found = {"$schema": DIALECT, **TypeAdapter(model).json_schema(mode=mode, schema_generator=_Plain)}
    models = found.get("$defs", {})
    for part in (found, *models.values()):
        for field in part.get("properties", {}).values():
            named = models.get(str(field.get("$ref", "")).removeprefix(PREFIX), {})
            if "description" in named and "description" not in field:
                field["description"] = named["description"]
    return found


def _resolved(model: Any) -> Schema:
    """A value that hsdc wrote: every field is there but prose."""
    schema = _schema(model, "serialization")
    for part in (schema, *schema.get("$defs", {}).values()):
        fields = part.get("properties", {}).items()
        if "properties" in part:
            part["required"] = [name for name, field in fields if field.get("x-factor") != "prose"]
    if "discriminator" in schema:  # so that what is wrong is said of the kind that it is
        named = schema.pop("discriminator")["mapping"].items()
        rules = [{"if": {"properties": {"kind": {"const": kind}}}, "then": {"$ref": ref}} for kind, ref in named]
        del schema["oneOf"]
        schema |= {"type": "object", "required": ["kind"], "properties": {"kind": _kinds()}, "allOf": rules}
    return schema


def _kinds() -> Schema:
    return {"enum": list(EXPERIMENTS), "description": "What the run does."}


def _component(kind: str, model: type[Model]) -> Schema:
    """A component or a profile as people write it: the model with the header of its file."""
    schema = _schema(model)
    schema["properties"] = {**_named(kind), **schema["properties"]}
    schema["required"] = ["hsdc", kind, *schema.get("required", ())]
    if "bind" in schema["properties"]:
        schema["properties"]["bind"]["propertyNames"] = {"enum": list(SLOTS)}
    return {**schema, "title": f"A {kind} of hsdc"}


def _named(kind: str) -> Schema:
    return {"hsdc": _version(), kind: {**FILLED, "description": f"Name of the {kind}: the name of its file."}}


def _slot(slot: str, models: tuple[type[Model], ...]) -> Schema:
    """A component of a slot: one of its models, or what differs from another component."""
    forms = [_component(slot, model) for model in models]
    definitions: Schema = {"Operated": OPERATED}
    for form in forms:
        definitions |= form.pop("$defs", {})
    bodies = {model.__name__: _schema(model) for model in models}
    named = {**bodies, **{name: item for name, item in definitions.items() if name != "Operated"}}
    for shape in (WRITTEN, CHANGE):
        definitions |= {f"{name}{shape.name}": shape.model(_bare(item)) for name, item in named.items()}
    definitions |= operations()
    parent = {**FILLED, "description": f"The one {slot} that this one changes."}
    changes = {"anyOf": [{"$ref": f"{PREFIX}{model.__name__}Change"} for model in models]}
    derived = closed({**_named(slot), "extends": parent, "title": {**TEXT, "description": TITLE}, "change": changes})
    plain = _by_kind(forms) if len(forms) > 1 else forms[0]
    return {
        "$schema": DIALECT,
        "title": f"A {slot} of hsdc",
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {**derived, "required": ["hsdc", slot, "extends"]},
        "else": _bare(plain),
        "$defs": definitions,
    }


def _bare(schema: Schema) -> Schema:
    return {key: item for key, item in schema.items() if key not in ("$schema", "$defs")}


def _by_kind(forms: list[Schema]) -> Schema:
    """One of several forms, by their `kind`; the first is meant where none is named."""
    chosen = _bare(forms[0])
    for form in forms[1:]:
        kind = form["properties"]["kind"]["const"]
        named = {"required": ["kind"], "properties": {"kind": {"const": kind}}}
        chosen = {"if": named, "then": _bare(form), "else": chosen}
    return chosen


def _version() -> Schema:
    return {"const": 1, "description": "Version of the language."}


def _spec() -> Schema:
    """A run as people write it: a root with its sections, or a run that extends another and holds its changes."""
    bodies = {kind: _schema(model) for kind, model in EXPERIMENTS.items()}
    models: Schema = {"Reproduces": _bare(_schema(Reproduces))}
    for body in bodies.values():
        models |= body["$defs"]
    definitions: Schema = {"Operated": OPERATED, "Reproduces": models["Reproduces"], **operations()}
    for name, schema in models.items():
        definitions |= {f"{name}{form.name}": form.model(schema) for form in (WRITTEN, CHANGE) if name != "Reproduces"}
    for slot, (_, members) in SLOTS.items():
        uses = [_use(slot, definitions[f"{model.__name__}Change"]) for model in members]
        definitions[f"{slot}Use"] = uses[0] if len(uses) == 1 else {"anyOf": uses}
    header = _header()
    roots = []
    for kind, body in bodies.items():
        sections = {name: _written_section(name, schema) for name, schema in body["properties"].items()}
        root = closed({**header, "extends": {"type": "null"}, **sections}, ["hsdc", "run", *body["required"]])
        roots.append({"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": root})
    known = {*header, "kind", "change", "restore", *(name for body in bodies.values() for name in body["properties"])}
    unnamed = {"not": {"required": ["kind"]}}
    roots.append({"if": unnamed, "then": {"propertyNames": {"enum": sorted(known)}}})
    derived = {"change": _change(_changes(bodies)), "restore": _restore()}
    return {
        "$schema": DIALECT,
        "title": "A run of hsdc",
        "type": "object",
        "if": {"required": ["extends"], "properties": {"extends": {"not": {"type": "null"}}}},
        "then": closed({**header, **derived}, ["hsdc", "run", "extends", "budget"]),
        "else": {"properties": {**header, "kind": _kinds()}, "required": ["hsdc", "run", "kind"], "allOf": roots},
        "$defs": definitions,
    }


def _changes(bodies: Mapping[str, Schema]) -> Schema:
    """Every section of every kind as a change; where kinds mean different things by a name, any of them."""
    found: dict[str, list[Schema]] = {}
    for body in bodies.values():
        for name, schema in body["properties"].items():
            section = _changed_section(name, schema)
            if name != "kind" and section not in found.setdefault(name, []):
                found[name].append(section)
    return {name: forms[0] if len(forms) == 1 else _any(forms) for name, forms in found.items()}


def _any(forms: list[Schema]) -> Schema:
    about = dict.fromkeys(form["description"] for form in forms if "description" in form)
    return {"description": " Or: ".join(about), "anyOf": forms}


def _use(slot: str, change: Schema) -> Schema:
    """A slot that names its component, with values of its own where they differ."""
    pattern = {"type": "string", "pattern": "^[^/]+$"}
    use = {**pattern, "description": f"A component: the name of a file in specs/{SLOTS[slot][0]}."}
    return {**change, "properties": {"use": use, **change["properties"]}}


def _written_section(name: str, schema: Schema) -> Schema:
    if name not in SLOTS:
        return WRITTEN.field(schema)
    about = {"description": f"{schema['description']} `use` names one of specs/{SLOTS[name][0]}."}
    named = {"if": {"required": ["use"]}, "then": {"$ref": f"{PREFIX}{name}Use"}}
    return {**about, "type": "object", **named, "else": WRITTEN.value(schema)}


def _changed_section(name: str, schema: Schema) -> Schema:
    found = CHANGE.field(schema)
    return {**found, "else": {"$ref": f"{PREFIX}{name}Use"}} if name in SLOTS else found


def _header() -> Schema:
    name, parent = TypeAdapter(Name).json_schema(), TypeAdapter(RunName).json_schema()
    return {
        "hsdc": _version(),
        "run": {**name, "description": "Name of the run: the name of its file."},
        "title": {**TEXT, "description": TITLE},
        "notes": {**TEXT, "description": NOTES},
        "extends": {**parent, "description": "The one parent, by run name."},
        "budget": {
            "type": "integer",
            "minimum": 0,
            "description": "Most factors that may differ from the parent; one more is exit 3.",
        },
        "why": {**TEXT, "description": "Why the change is made; wanted where a factor differs."},
        "reproduces": {
            "$ref": f"{PREFIX}Reproduces",
            "description": "A claim to test: the run gives what another gave.",
        },
        "matrix": _matrix(),
    }


def _change(sections: Schema) -> Schema:
    about = "What differs from the parent: mappings merge deep, scalars and lists replace."
    change = closed(sections, description=about, examples=[{"training": {"learning_rate": 2e-5}}])
    return {**change, "type": ["object", "null"]}


def _restore() -> Schema:
    about = "Values as another run has them, taken before `change` is applied."
    paths = {"type": "array", "items": FILLED, "minItems": 1, "description": "Paths of values or sections."}
    source = {**FILLED, "description": "The run that the values come from."}
    example = {"from": "run1", "paths": ["training.early_stopping"]}
    return closed({"from": source, "paths": paths}, ["from", "paths"], description=about, examples=[example])


def _matrix() -> Schema:
    axis = {"type": "array", "minItems": 1}
    axes = {"type": "object", "minProperties": 1, "additionalProperties": axis, "propertyNames": FILLED}
    names = {"type": "array", "items": FILLED}
    properties: Schema = {
        "axes": {**axes, "description": "Paths and their values; every combination is a run."},
        "zip": {"type": "array", "items": names, "description": "Axes that advance together."},
        "exclude": {"type": "array", "items": {"type": "object"}, "description": "Combinations that are left out."},
        "replicate": {**names, "description": "Axes that no budget counts and whose results belong together."},
        "max_runs": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10_000,
            "default": 64,
            "description": "Most combinations.",
        },
    }
    about = "One run for each combination of values, with names such as run4.seed-13."
    example = {"axes": {"training.seed": [13, 42]}, "replicate": ["training.seed"]}
    return closed(properties, ["axes"], description=about, examples=[example])
