"""How an answer is worded: whole, as an example shows it, or cut where the label begins, as ranking needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from hsdc_schemas.prompting import JsonAnswer, LabelAnswer, LastLineAnswer, TextAnswer

Format = JsonAnswer | LabelAnswer | LastLineAnswer | TextAnswer


def worded(format: Format, label: str, fields: Mapping[str, str] | None = None) -> str:
    """The answer that means a label, with the further fields that a JSON answer may have, in declared order."""
    if isinstance(format, JsonAnswer):
        given = fields or {}
        further = {name: given[name] for name in format.fields if name in given}
        return json.dumps({format.field: label, **further}, ensure_ascii=False)
    if isinstance(format, TextAnswer):
        return (fields or {}).get(format.field, f"{format.marker} {label}")
    return f"{lead(format)}{label}"


def lead(format: Format) -> str:
    """What an answer begins with, whatever its label."""
    if isinstance(format, JsonAnswer):
        return f'{{"{format.field}": "'
    if isinstance(format, LastLineAnswer | TextAnswer):
        return f"{format.lead if isinstance(format, LastLineAnswer) else format.marker} "
    return ""


def continuations(format: Format, labels: Sequence[str]) -> tuple[str, ...]:
    """What follows the lead for each label: the label as the answer writes it, up to where it ends.

    Of a JSON answer that is the quote with the sign behind it: tokens hold both, and a model that is about to write
    them holds a quote alone for unlikely.
    """
    if isinstance(format, JsonAnswer):
        end = "," if format.fields else "}"
        return tuple(json.dumps(label, ensure_ascii=False)[1:] + end for label in labels)
    return tuple(labels)
