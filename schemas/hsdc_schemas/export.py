"""The typed models as JSON Schema 2020-12, for editors and for programs that read manifests and records.

A spec may hold operators where values stand, so each model comes in forms: as it is (manifests, components, profiles),
as a new value (`Written`: a value may also come from `$ref`, `$replace` or `$literal`) and as a change (`Change`:
nothing is required, and what is inherited may be unset, lists may be edited).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Record
from hsdc_schemas.spec import NOTES, SLOTS, TITLE, Experiment, Model, Name, Profile, Reproduces, RunName

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PREFIX = "#/$defs/"
ABOUT = ("description", "default", "examples", "x-factor")
TEXT: Schema = {"type": "string"}
FILLED: Schema = {"type": "string", "minLength": 1}
VALUES = ("$ref", "$replace", "$literal")  # operators that give a value, whatever is inherited
LISTS = ("$append", "$prepend", "$remove")
OPERATORS = (*VALUES, "$unset", *LISTS)
OPERATED: Schema = {"type": "object", "anyOf": [{"required": [name]} for name in OPERATORS]}
MEANINGS = {
    "$ref": "The value at this path of the same run, taken after everything is merged.",
    "$replace": "This value in place of all that is inherited here.",
    "$literal": "This value as it stands, its keys never read as operators.",
    "$unset": "Takes out what is inherited here.",
    "$append": "Puts these entries after the inherited ones.",
    "$prepend": "Puts these entries before the inherited ones.",
    "$remove": "Takes these entries out of the inherited ones.",
}


def schemas() -> dict[str, bytes]:
    """Paths relative to the root of a project, and the bytes of the schemas there."""
    sealed: dict[str, type[BaseModel]] = {"experiment": Experiment, "manifest": Manifest, "record": Record}
    found = {name: _resolved(model) for name, model in sealed.items()}
    found["spec"] = _spec()
    found["profile"] = _component("profile", Profile)
    found |= {slot: _component(slot, model) for slot, (_, model) in SLOTS.items()}
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


def _schema(model: type[BaseModel], mode: JsonSchemaMode = "validation") -> Schema:
    return {"$schema": DIALECT, **model.model_json_schema(mode=mode, schema_generator=_Plain)}


def _resolved(model: type[BaseModel]) -> Schema:
    """A value that hsdc wrote: every field is there but prose."""
    schema = _schema(model, "serialization")
    for part in (schema, *schema.get("$defs", {}).values()):
        fields = part.get("properties", {}).items()
        part["required"] = [name for name, field in fields if field.get("x-factor") != "prose"]
    return schema


def _component(kind: str, model: type[Model]) -> Schema:
    """A component or a profile as people write it: the model with the header of its file."""
    schema = _schema(model)
    named = {**FILLED, "description": f"Name of the {kind}: the name of its file."}
    schema["properties"] = {"hsdc": _version(), kind: named, **schema["properties"]}
    schema["required"] = ["hsdc", kind, *schema.get("required", ())]
    if "bind" in schema["properties"]:
        schema["properties"]["bind"]["propertyNames"] = {"enum": list(SLOTS)}
    return {**schema, "title": f"A {kind} of hsdc"}


def _version() -> Schema:
    return {"const": 1, "description": "Version of the language."}


def _spec() -> Schema:
    """A run as people write it: a root with its sections, or a run that extends another and holds its changes."""
    body = _schema(Experiment)
    claim = _schema(Reproduces)
    models = {**body["$defs"], "Reproduces": {key: item for key, item in claim.items() if key != "$schema"}}
    written, change = _Form("Written", VALUES, whole=True), _Form("Change", OPERATORS, whole=False)
    definitions: Schema = {"Operated": OPERATED, "Reproduces": models["Reproduces"]}
    definitions |= {"WrittenOperators": _operators(VALUES), "ChangeOperators": _operators((*VALUES, "$unset"))}
    definitions["ListChangeOperators"] = _operators(OPERATORS)
    for name, schema in models.items():
        definitions |= {f"{name}{form.name}": form.model(schema) for form in (written, change) if name != "Reproduces"}
    for slot, (_, model) in SLOTS.items():
        definitions[f"{slot}Use"] = _use(slot, definitions[f"{model.__name__}Change"])
    header = _header()
    sections = {name: _written_section(name, schema, written) for name, schema in body["properties"].items()}
    changes = {name: _changed_section(name, schema, change) for name, schema in body["properties"].items()}
    derived = {"change": _change(changes), "restore": _restore()}
    return {
        "$schema": DIALECT,
        "title": "A run of hsdc",
        "type": "object",
        "if": {"required": ["extends"], "properties": {"extends": {"not": {"type": "null"}}}},
        "then": _closed({**header, **derived}, ["hsdc", "run", "extends", "budget"]),
        "else": _closed({**header, "extends": {"type": "null"}, **sections}, ["hsdc", "run", *body["required"]]),
        "$defs": definitions,
    }


def _closed(properties: Schema, required: list[str] | tuple[str, ...] = (), **more: Any) -> Schema:
    schema = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    return {**schema, "required": list(required)} if required else schema


@dataclass(frozen=True)
class _Form:
    """Turns the schema of a model into that of what may be written in its place."""

    name: str
    operators: tuple[str, ...]
    whole: bool

    def model(self, schema: Schema) -> Schema:
        """A model of which each value may come from an operator; as a change, nothing of it is required."""
        properties = {name: self.field(item) for name, item in schema.get("properties", {}).items()}
        kept = {key: item for key, item in schema.items() if key not in ("properties", "required")}
        required = schema.get("required", ()) if self.whole else ()
        return {**kept, **_closed(properties, required)}

    def field(self, schema: Schema) -> Schema:
        """A value, or an operator; what is said of the field is said of both."""
        about = {key: schema[key] for key in ABOUT if key in schema}
        bare = {key: item for key, item in schema.items() if key not in ABOUT}
        operated = {"$ref": f"{PREFIX}Operated"}
        return {**about, "if": operated, "then": self.operation(bare), "else": self.value(bare)}

    def value(self, schema: Schema) -> Schema:
        """The value itself, its parts in this form."""
        if "discriminator" in schema:
            return self.variants(schema["discriminator"]["mapping"])
        if "$ref" in schema:
            return {"$ref": f"{schema['$ref']}{self.name}"}
        if "anyOf" in schema:
            return {"anyOf": [self.value(item) for item in schema["anyOf"]]}
        if schema.get("type") == "object":
            return self.mapping(schema)
        return schema

    def mapping(self, schema: Schema) -> Schema:
        """A mapping of keys that the author chooses; as a change it may be empty."""
        found = {key: item for key, item in schema.items() if self.whole or key != "minProperties"}
        if isinstance(entry := schema.get("additionalProperties"), dict):
            found["additionalProperties"] = self.field(entry)
        for pattern, entry in schema.get("patternProperties", {}).items():
            found["patternProperties"] = {pattern: self.field(entry)}
        return found

    def variants(self, mapping: Mapping[str, str]) -> Schema:
        """A union by `kind`: all keys of all variants, and where a kind is named its own alone."""
        rules = [
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"{reference}{self.name}"},
            }
            for kind, reference in mapping.items()
        ]
        kinds = self.field({"enum": list(mapping), "description": "Which variant."})
        union: Schema = {"type": "object", "properties": {"kind": kinds}, "allOf": rules}
        if self.whole:
            return {**union, "required": ["kind"]}
        unnamed = [{"$ref": f"{reference}{self.name}"} for reference in mapping.values()]
        return {**union, "anyOf": [{"required": ["kind"]}, *unnamed]}

    def operation(self, schema: Schema) -> Schema:
        """The operators that fit a value, with what they may hold here."""
        rules, listed = f"{self.name}Operators", schema.get("type") == "array"
        held: Schema = {"$replace": _WRITTEN.value(schema)}
        if listed and not self.whole:
            rules = f"List{rules}"
            entries = {"type": "array", "items": schema.get("items", {})}
            held |= {name: entries for name in LISTS}  # noqa: C420
        return {"allOf": [{"$ref": f"{PREFIX}{rules}"}], "properties": held}


def _operators(names: Iterable[str]) -> Schema:
    """A mapping of operators; but for those on lists, each stands alone."""
    operands: Schema = {"$ref": {**FILLED, "examples": ["training.epochs"]}, "$unset": {"const": True}}
    known = {name: {**operands.get(name, {}), "description": MEANINGS[name]} for name in names}
    alone = {"anyOf": [{"required": [name]} for name in known if name not in LISTS]}
    return {**_closed(known), "if": alone, "then": {"maxProperties": 1}}


_WRITTEN = _Form("Written", VALUES, whole=True)


def _use(slot: str, change: Schema) -> Schema:
    """A slot that names its component, with values of its own where they differ."""
    pattern = {"type": "string", "pattern": "^[^/]+$"}
    use = {**pattern, "description": f"A component: the name of a file in specs/{SLOTS[slot][0]}."}
    return {**change, "properties": {"use": use, **change["properties"]}}


def _written_section(name: str, schema: Schema, form: _Form) -> Schema:
    if name not in SLOTS:
        return form.field(schema)
    about = {"description": f"{schema['description']} `use` names one of specs/{SLOTS[name][0]}."}
    named = {"if": {"required": ["use"]}, "then": {"$ref": f"{PREFIX}{name}Use"}}
    return {**about, "type": "object", **named, "else": {"$ref": f"{schema['$ref']}{form.name}"}}


def _changed_section(name: str, schema: Schema, form: _Form) -> Schema:
    found = form.field(schema)
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
    change = _closed(sections, description=about, examples=[{"training": {"learning_rate": 2e-5}}])
    return {**change, "type": ["object", "null"]}


def _restore() -> Schema:
    about = "Values as another run has them, taken before `change` is applied."
    paths = {"type": "array", "items": FILLED, "minItems": 1, "description": "Paths of values or sections."}
    source = {**FILLED, "description": "The run that the values come from."}
    example = {"from": "run1", "paths": ["training.early_stopping"]}
    return _closed({"from": source, "paths": paths}, ["from", "paths"], description=about, examples=[example])


def _matrix() -> Schema:
    axis = {"type": "array", "minItems": 1}
    axes = {"type": "object", "minProperties": 1, "additionalProperties": axis, "propertyNames": FILLED}
    names = {"type": "array", "items": FILLED}
    properties: Schema = {
        "axes": {**axes, "description": "Paths and their values; every combination is a run."},
        "zip": {"type": "array", "items": {"anyOf": [names, FILLED]}, "description": "Axes that advance together."},
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
    return _closed(properties, ["axes"], description=about, examples=[example])
