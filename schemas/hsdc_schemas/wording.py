"""How an answer is worded: whole, as an example shows it, or cut where the label begins, as ranking needs it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from hsdc_schemas.prompting import Format, JsonAnswer, LastLineAnswer, TextAnswer, ranges_of


def worded(format: Format, label: str, fields: Mapping[str, str] | None = None) -> str:
    """The answer that means a label, with the further fields and numbers that the form has, where they are given.

    Raises ValueError where what is given for a number is none that an answer may say.
    """
    given = fields or {}
    numbers = numbers_in(ranges_of(format), given)
    if isinstance(format, JsonAnswer):
        further = {name: given[name] for name in format.fields if name in given}
        return json.dumps({format.field: label, **further, **numbers}, ensure_ascii=False)
    if isinstance(format, TextAnswer):
        said = given.get(format.field, f"{format.marker} {label}")
        return "\n".join([said.rstrip() if numbers else said, *(f"{name}: {value}" for name, value in numbers.items())])
    return f"{lead(format)}{label}"


def numbers_in(ranges: Mapping[str, tuple[float, float]], given: Mapping[str, str]) -> dict[str, float]:
    """The numbers that the fields of a row hold, by name, each within its range; a blank one is none.

    Raises ValueError, naming the field, where a field holds something else, or what no answer may say.
    """
    found = {}
    for name, (low, high) in sorted(ranges.items()):
        if written := given.get(name, "").strip():
            try:
                value = float(written)
            except ValueError:
                value = math.nan
            if not low <= value <= high:
                raise ValueError(f"'{written[:40]}' in '{name}' is no number from {low:g} to {high:g}")
            found[name] = value
    return found


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
        end = "," if format.fields or format.numbers else "}"
        return tuple(json.dumps(label, ensure_ascii=False)[1:] + end for label in labels)
    return tuple(labels)
