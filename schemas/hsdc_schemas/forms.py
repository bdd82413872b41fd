"""The forms in which a value may be written: as a new one, or as a change of what is inherited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

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


def closed(properties: Schema, required: list[str] | tuple[str, ...] = (), **more: Any) -> Schema:
    schema = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    return {**schema, "required": list(required)} if required else schema


@dataclass(frozen=True)
class Form:
    """Turns the schema of a model into that of what may be written in its place."""

    name: str
    operators: tuple[str, ...]
    whole: bool

    def model(self, schema: Schema) -> Schema:
        """A model of which each value may come from an operator; as a change, nothing of it is required."""
        properties = {name: self.field(item) for name, item in schema.get("properties", {}).items()}
        kept = {key: item for key, item in schema.items() if key not in ("properties", "required")}
        required = schema.get("required", ()) if self.whole else ()
        return {**kept, **closed(properties, required)}

    def field(self, schema: Schema) -> Schema:
        """A value, or an operator; what is said of the field is said of both."""
        about = {key: schema[key] for key in ABOUT if key in schema}
        bare = {key: item for key, item in schema.items() if key not in ABOUT}
        if "examples" not in about and (choices := _choices(bare)):
            about["examples"] = choices  # editors offer these; they do not look for values below a condition
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
        if "items" in schema:  # a list is written whole, so its entries are new values
            return {**schema, "items": WRITTEN.value(schema["items"])}
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
        held: Schema = {"$replace": WRITTEN.value(schema)}
        if listed and not self.whole:
            rules = f"List{rules}"
            entries = {"type": "array", "items": WRITTEN.value(schema.get("items", {}))}
            held |= {name: entries for name in LISTS}  # noqa: C420
        return {"allOf": [{"$ref": f"{PREFIX}{rules}"}], "properties": held}


def _choices(schema: Schema) -> list[Any]:
    """All values that a field may have, where these are few."""
    if schema.get("type") == "boolean":
        return [True, False]
    found = [item for below in schema.get("anyOf", ()) for item in _choices(below)]
    return [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ()), *found]


def _operators(names: Iterable[str]) -> Schema:
    """A mapping of operators; but for those on lists, each stands alone."""
    operands: Schema = {"$ref": {**FILLED, "examples": ["training.epochs"]}, "$unset": {"const": True}}
    known = {name: {**operands.get(name, {}), "description": MEANINGS[name]} for name in names}
    alone = {"anyOf": [{"required": [name]} for name in known if name not in LISTS]}
    return {**closed(known), "if": alone, "then": {"maxProperties": 1}}


WRITTEN = Form("Written", VALUES, whole=True)
CHANGE = Form("Change", OPERATORS, whole=False)


def operations() -> Schema:
    definitions = {"WrittenOperators": _operators(VALUES), "ChangeOperators": _operators((*VALUES, "$unset"))}
    return {**definitions, "ListChangeOperators": _operators(OPERATORS)}
