"""Pass 5: the tree against the typed language; every fault at the key or value that the author wrote."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hsdc_compiler.merge import FAULT
from hsdc_compiler.node import REF, Node, dotted
from hsdc_schemas.components import Endpoint, PretrainedModel
from hsdc_schemas.errors import Diagnostic, Exit, Place, did_you_mean
from hsdc_schemas.fields import Metric, Model, Name
from hsdc_schemas.spec import SLOTS

_M = TypeVar("_M", bound=Model)

MAX_FAULTS = 100
_REPLACES = "it replaces this value"
_REFERS = "it refers to this value"
_WRITTEN = {"int_type": "whole numbers are written 12", "float_type": "numbers are written 12, 0.5 or 2.5e-5"}
_SWITCHES = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}


def _pattern_of(model: type[Model], field: str) -> str:
    return str(next(item.pattern for item in model.model_fields[field].metadata if hasattr(item, "pattern")))


_PATTERNS = {  # in words, by the pattern of the type
    str(get_args(Name)[1].metadata[0].pattern): "names match [a-z][a-z0-9_]*",
    str(get_args(Metric)[1].metadata[0].pattern): "a metric is HEAD.NAME, as in overall.f1_macro or tone.f1[warm]",
    _pattern_of(PretrainedModel, "gguf"): "write the name of a .gguf file that lies in the model's folder itself",
    _pattern_of(Endpoint, "url"): "write https://HOST/v1 without a user, a query or a fragment, or local:NAME",
    _pattern_of(
        Endpoint, "key"
    ): "write the name of an environment variable, as in MODEL_KEY, and never the key itself",
}

_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "int_from_float": "a whole number",
    "none_required": "null",
}


def check(node: Node, model: type[_M], extra: tuple[str, ...] = ()) -> tuple[_M | None, list[Diagnostic]]:
    """The typed value, or None with all its faults. `extra` are keys known at the top that the model does not hold."""
    try:
        return model.model_validate(node.plain()), []
    except ValidationError as error:
        details = error.errors(include_url=False)[:MAX_FAULTS]
        found = [_translate(node, model, detail, extra) for detail in details]
        return None, [fault for fault in found if fault is not None]


def _translate(node: Node, model: type[Model], detail: ErrorDetails, extra: tuple[str, ...]) -> Diagnostic | None:
    kind, context = detail["type"], detail.get("ctx", {})
    path, where, known = _walk(node, model, detail["loc"])
    name = dotted(path).replace(".[", "[")
    if where.op == FAULT or (kind == "too_short" and len(where.value) >= context["min_length"]):
        return None  # said already; pydantic counts valid entries only
    place = (where.key if where.op == REF else where.mark).place()
    inherited = _inherited(where)
    if kind == "extra_forbidden":
        key, above = path[-1], extra if len(path) == 1 else ()
        hint = did_you_mean(key, (*known, *above))
        if key in above:
            hint = f"'{key}' is said at the top of the file, in its first column"
        return Diagnostic("E201", Exit.SPEC, f"unknown key '{key}'", where.key.place(), hint)
    if kind == "missing":
        return Diagnostic(
            "E202", Exit.SPEC, f"'{name}' is missing", _lacking(where, path[-1]), f"add '{path[-1]}' here"
        )
    if kind in _TYPES:
        message = f"'{name}' is {_shown(where)}; it must be {_TYPES[kind]}"
        hint = _type_hint(kind, where)
        if name in SLOTS and not where.is_sequence:
            hint = f"write {{use: {where.value if isinstance(where.value, str) else 'NAME'}}}"
        return Diagnostic("E203", Exit.SPEC, message, place, hint, inherited)
    if kind in ("literal_error", "union_tag_invalid", "union_tag_not_found"):
        return _choice(name, where, kind, context)
    if path and detail["loc"][-1] == "[key]":
        return Diagnostic(
            "E204", Exit.SPEC, f"'{path[-1]}' is not a name", where.key.place(), "names match [a-z][a-z0-9_]*"
        )
    message = f"'{name}' is {_shown(where)}; {_constraint(kind, context, detail['msg'])}"
    return Diagnostic("E204", Exit.SPEC, message, place, "", inherited)


def _lacking(node: Node, key: str) -> Place:
    """The section that should hold a key, in the oldest layer without it, so that heirs say the same once."""
    while node.op == "merge" and node.under is not None and node.under.at((key,)) is None:
        node = node.under
    return (node.mark if node.op == "use" else node.key).place()


def _choice(name: str, where: Node, kind: str, context: Mapping[str, Any]) -> Diagnostic:
    expected = str(context.get("expected_tags" if kind == "union_tag_invalid" else "expected", ""))
    choices = [word.strip("' ") for word in expected.replace(" or ", ",").split(",") if word.strip("' ")]
    if kind == "union_tag_not_found":
        hint = "add 'kind' to choose the variant"
        return Diagnostic("E202", Exit.SPEC, f"'{name}.kind' is missing", _lacking(where, "kind"), hint)
    value = where.at(("kind",)) if kind == "union_tag_invalid" else where
    value = value or where
    hint = did_you_mean(str(value.value), choices)
    if not hint.startswith("did"):
        hint = f"one of: {', '.join(choices)}"
    suffix = ".kind" if kind == "union_tag_invalid" else ""
    below = where.under.at(("kind",)) if suffix and where.under is not None else None
    inherited = _inherited(value) if below is None else ((_REPLACES, below.mark.place()),)
    shown = f"'{value.value[:60]}'" if isinstance(value.value, str) else _shown(value)
    place = (value.key if value.op == REF else value.mark).place()
    return Diagnostic("E205", Exit.SPEC, f"'{name}{suffix}' cannot be {shown}", place, hint, inherited)


def _walk(node: Node, model: Any, loc: tuple[int | str, ...]) -> tuple[tuple[str, ...], Node, tuple[str, ...]]:
    """The path, nearest node and known keys for a location; tags of unions in it name no key and are left out."""
    path: list[str] = []
    known = _fields(model)
    for part in loc:
        if part == "[key]":
            break
        if isinstance(part, int) and node.is_sequence and part < len(node.value):
            node = node.value[part]
            path.append(f"[{part}]")
            continue
        key = str(part)
        if node.is_mapping and key in node.value and not _is_tag(node, model, key):
            model = _below(model, key)
            node, known_here = node.value[key], _fields(model)
            path.append(key)
            known = known_here or known
        elif _is_tag(node, model, key):
            model = _variant(model, key)
            known = _fields(model)
        else:
            path.append(key)
    return tuple(path), node, _fields_above(known, model)


def _fields_above(known: tuple[str, ...], model: Any) -> tuple[str, ...]:
    return _fields(model) or known


def _is_tag(node: Node, model: Any, key: str) -> bool:
    kind = node.at(("kind",))
    return len(_variants(model)) > 1 and kind is not None and kind.value == key


def _variants(annotation: Any) -> tuple[Any, ...]:
    """The models that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return (annotation,)
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return tuple(model for item in get_args(annotation) for model in _variants(item))
    if origin is not None and get_args(annotation) and origin not in (dict, tuple):
        return _variants(get_args(annotation)[0])
    return ()


def _variant(annotation: Any, tag: str) -> Any:
    for model in _variants(annotation):
        if tag in get_args(model.model_fields["kind"].annotation):
            return model
    return None


def _below(annotation: Any, key: str) -> Any:
    for model in _variants(annotation):
        if key in model.model_fields:
            return model.model_fields[key].annotation
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


def _fields(annotation: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for model in _variants(annotation) for name in model.model_fields))


def _shown(node: Node) -> str:
    value = node.value
    if node.is_mapping:
        return "a mapping"
    if node.is_sequence:
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = str(value)
    shown = f"{shown[:60]}…" if len(shown) > 60 else shown
    return f"the text '{shown}'" if isinstance(value, str) else shown


def _type_hint(kind: str, node: Node) -> str:
    if kind == "string_type" and node.value is None and _rest(node)[:1] == "#":
        return "'#' begins a comment: quote the text"
    if kind == "string_type" and isinstance(node.value, (int, float)):
        written = node.mark.source.line(node.mark.line)[node.mark.column - 1 : node.mark.end - 1]
        return f'quote it: "{written}"'
    if kind in ("int_type", "int_from_float") and isinstance(node.value, float) and node.value.is_integer():
        return f"write {int(node.value)}"
    if kind in ("int_type", "float_type") and isinstance(node.value, str):
        return "write the number without quotes" if _quoted(node) else _WRITTEN[kind]
    if kind == "bool_type" and str(node.value).lower() in _SWITCHES:
        return f"write {_SWITCHES[str(node.value).lower()]}" + (" without quotes" if _quoted(node) else "")
    return ""


def _quoted(node: Node) -> bool:
    return node.mark.source.line(node.mark.line)[node.mark.column - 1 :][:1] in ("'", '"')


def _rest(node: Node) -> str:
    """What stands on the line of a key, after its colon."""
    return node.key.source.line(node.key.line)[node.key.end :].strip()


def _constraint(kind: str, context: Mapping[str, Any], fallback: str) -> str:
    words = {
        "greater_than": "it must be greater than {gt}",
        "greater_than_equal": "it must be at least {ge}",
        "less_than": "it must be less than {lt}",
        "less_than_equal": "it must be at most {le}",
        "too_short": "it needs {min_length} or more entries",
        "string_too_short": "it must not be empty",
        "finite_number": "it must be finite",
    }
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"it does not match {context['pattern']}")
    return words[kind].format(**context) if kind in words else fallback[:1].lower() + fallback[1:]


def _inherited(node: Node) -> tuple[tuple[str, Any], ...]:
    target = ((_REFERS, node.mark.place()),) if node.op == REF else ()
    return target + tuple((_REPLACES, below.mark.place()) for below in list(node.layers())[1:2])
