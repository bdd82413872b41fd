"""Laws of merging and reading, on values that nobody thought of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsdc_compiler import stream
from hsdc_compiler.merge import merge
from hsdc_compiler.node import Mark, Node, Source
from hsdc_compiler.parse import parse
from hsdc_schemas.errors import Diagnostic, HsdcError

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MARK = Mark(Source("spec.yaml", ""), 1, 1, 2)

KEYS = st.sampled_from(["a", "b", "c", "kind", "use"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "y", ""])
LISTS = st.lists(SCALARS, max_size=3)
MAPPINGS = st.recursive(
    st.dictionaries(KEYS, SCALARS | LISTS, max_size=4), lambda below: st.dictionaries(KEYS, below | SCALARS, max_size=4)
)


PLACES = st.sampled_from(
    [  # a path, and the keys that choose a variant there; elsewhere they are their author's
        ((), {"kind"}),
        (("model",), {"kind", "use"}),
        (("dataset",), {"use"}),
        (("heads", "a", "loss"), {"kind"}),
        (("training", "optimizer"), {"kind"}),
        (("training",), set()),
        (("sampling", "boosts", "a"), set()),
        (("heads", "a", "class_weights", "multipliers"), set()),
        (("dataset", "labels"), set()),
    ]
)


def tree(value: Any) -> Node:
    """A value as the compiler holds it, without places."""
    if isinstance(value, dict):
        return Node({key: tree(item) for key, item in value.items()}, MARK, MARK)
    return Node(tuple(map(tree, value)) if isinstance(value, list) else value, MARK, MARK)


def merged(base: Any, *changes: Any) -> Any:
    node = tree(base)
    for change in changes:
        node = merge(node, tree(change), list[Diagnostic]().append)
    return node.plain()


def plainly(base: Any, change: Any, choosing: Collection[str] = ("kind",)) -> Any:
    """The same on plain values, as the design words it; without operators."""
    if base is None or change is None:
        return tree(change).plain()
    if isinstance(base, dict) != isinstance(change, dict) or isinstance(base, list) != isinstance(change, list):
        return tree(base).plain()  # a fault is reported, and the base stands
    if not isinstance(base, dict):
        return tree(change).plain()
    if any(key in base and key in change and tree(base[key]) != tree(change[key]) for key in choosing):
        return tree(change).plain()
    both = {key: plainly(base[key], change[key], ()) for key in base if key in change}
    return tree(base).plain() | tree(change).plain() | both


@QUICK
@given(MAPPINGS, MAPPINGS, PLACES)
def test_merge_is_what_the_design_says(base: Any, change: Any, place: tuple[tuple[str, ...], set[str]]) -> None:
    path, choosing = place
    found = merge(tree(base), tree(change), list[Diagnostic]().append, path).plain()
    assert found == plainly(base, change, choosing)


@QUICK
@given(MAPPINGS)
def test_an_empty_change_changes_nothing(base: Any) -> None:
    assert merged(base, {}) == tree(base).plain()


@QUICK
@given(MAPPINGS, MAPPINGS)
def test_a_change_twice_is_the_change_once(base: Any, change: Any) -> None:
    assert merged(base, change, change) == merged(base, change)


@QUICK
@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_changes_of_different_sections_commute(base: Any, one: Any, other: Any) -> None:
    one = {key: item for key, item in one.items() if key in ("a", "b")}
    other = {key: item for key, item in other.items() if key == "c"}
    assert merged(base, one, other) == merged(base, other, one)


@QUICK
@given(MAPPINGS, MAPPINGS)
def test_a_merged_value_remembers_what_it_replaced(base: Any, change: Any) -> None:
    result = merge(tree(base), tree(change), list[Diagnostic]().append)
    for path, leaf in tree(base).leaves():
        here = result.at(path)
        if here is not None and path and here.plain() != leaf.plain() and not here.is_mapping:
            assert any(layer.plain() == leaf.plain() for layer in here.layers()) or _dropped(result, path)


def _dropped(result: Node, path: tuple[str, ...]) -> bool:
    above = [result.at(path[:depth]) for depth in range(len(path))]
    return any(node is not None and node.op == "replace" for node in above)


@QUICK
@given(st.lists(SCALARS, max_size=5), st.lists(SCALARS, max_size=3), st.lists(SCALARS, max_size=3))
def test_lists_are_edited_as_written(items: list[Any], before: list[Any], after: list[Any]) -> None:
    assert merged({"a": items}, {"a": {"$prepend": before, "$append": after}}) == {"a": (*before, *items, *after)}
    taken = merged({"a": [*items, "z"]}, {"a": {"$remove": ["z"]}})["a"]
    assert taken == tuple(item for item in items if item != "z")


# Reading

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn"), include_characters="\t\n"), max_size=9
)
NUMBERS = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=4),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal, types and signs of zero included."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and one == 0:
        return type(other) is float and math.copysign(1, one) == math.copysign(1, other)
    return type(one) is type(other) and bool(one == other)


@QUICK
@given(ANYTHING)
def test_json_reads_as_itself(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\x7f")
    for control in "\x85\u2028\u2029":  # line ends to YAML, characters to JSON
        text = text.replace(control, f"\\u{ord(control):04x}")
    assert same(parse("spec.yaml", text.encode()).plain(), value)


def block(value: Any, depth: int, quote: str) -> str:
    """A mapping of mappings in block style; texts in single quotes, double quotes or, where that is one, plain."""
    lines = []
    for key, item in value.items():
        if isinstance(item, dict) and item:
            lines.append(f"{'  ' * depth}{_text(key, quote)}:  # a section\n{block(item, depth + 1, quote)}")
        else:
            shown = (
                "{}" if isinstance(item, dict) else _text(item, quote) if isinstance(item, str) else json.dumps(item)
            )
            lines.append(f"{'  ' * depth}{_text(key, quote)}: {shown}\n")
    return "".join(lines)


def _text(text: str, quote: str) -> str:
    if quote == '"' or not text.isprintable():
        return json.dumps(text)
    if quote == "'":
        return "'" + text.replace("'", "''") + "'"
    plain = re.fullmatch(r"[a-z][a-z ]*[a-z]", text) and text not in ("null", "true", "false")
    return text if plain else json.dumps(text)


WORDS = st.text("abcxyz '\":#-0123456789äß\t", min_size=1, max_size=8)
SECTIONS = st.dictionaries(
    WORDS, WORDS | NUMBERS | st.none() | st.booleans() | st.dictionaries(WORDS, WORDS | NUMBERS, max_size=3), min_size=1
)


@QUICK
@given(SECTIONS, st.sampled_from(["'", '"', ""]), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_blocks_read_the_same_in_every_style(value: Any, quote: str, end: str, mark: bool) -> None:
    data = ("\ufeff" * mark + "# a comment\n" + block(value, 0, quote)).replace("\n", end).encode()
    assert same(parse("spec.yaml", data).plain(), value)


def told(data: bytes) -> Any:
    try:
        return _with_places(parse("spec.yaml", data))
    except HsdcError as error:
        return error.diagnostics


def _with_places(node: Node) -> Any:
    value = node.value
    if node.is_mapping:
        value = {key: _with_places(item) for key, item in value.items()}
    elif node.is_sequence:
        value = [_with_places(item) for item in value]
    marks = () if node.value is None else (node.mark, node.key)  # of what is absent, each says another place
    return type(value), value, [(mark.line, mark.column, mark.end) for mark in marks]


PIECES = [
    *"abx01:-?,[]{}#&*!|>'\"%@`~ \n\\.",
    "\n  ",
    ": ",
    "- ",
    "a: ",
    "!!int ",
    "1e5",
    "0x1f",
    "null",
    '"\\u00e4"',
    "é",
]


@settings(QUICK, max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_both_parsers_read_the_same_or_one_refuses(text: str) -> None:
    """The one in pure Python is stricter with block headers, libyaml with ':' in flows; neither reads another value."""
    fast = told(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_EventParser", yaml.SafeLoader)
        pure = told(text.encode())
    refusals = [found for found in (fast, pure) if isinstance(found[0], Diagnostic)]
    if not refusals:
        assert fast == pure
    elif len(refusals) == 1:
        assert refusals[0][0].code == "E103"
