"""What is read without the YAML parser is what the parser reads, marks and all; whatever it refuses is left to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hsdc_compiler import parse as parsing
from hsdc_compiler.block import block
from hsdc_compiler.node import Node, Source
from hsdc_compiler.parse import parse
from hsdc_schemas.errors import HsdcError

ROOT = Path(__file__).resolve().parents[2]
SPECS = [*ROOT.glob("specs/**/*.yaml"), *ROOT.glob("tests/cases/**/*.yaml")]
QUICK = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])

USUAL = """\
# of a run
hsdc: 1
title: A run with a colon's:look, at 10:30, [and] {more}
model: {use: mbert, names: 'a, b'}   # whole
heads:
  tone:

    labels: [warm, "very cold", -1, .5, null]
    none: []
    more: { }
  other:
  # beside
    - plain words here
    - 1e-5
    - {a: 1, b: {c.d: [yes, [no]]}}
training:
- 12
- no
seed: 0x1F
last: ~
"""

WORDS = (
    "a",
    "b: 1",
    "true",
    "null",
    "~",
    "1e-5",
    "0o17",
    "-",
    "- ",
    "-1",
    ".5",
    "[a, b]",
    "{a: 1}",
    "[",
    "{a: 1, a: 2}",
)
WORDS += ("# c", " #c", "'q'", '"q"', "'it''s'", '"\\n"', "&x", "*x", "!!str 1", "|", ">", "---", "...", "%a", "@", "`")
WORDS += (
    "é",
    "x:y",
    "x:",
    ": y",
    "?",
    "? a",
    "a  b",
    "\t",
    "[a, [b]]",
    "[a,]",
    "{a}",
    "[]",
    "{}",
    "{a: b c}",
    "=",
    "<<",
)
LINES = st.builds(
    lambda indent, key, gap, value, end: " " * indent + key + " " * gap + value + end,
    st.integers(0, 5),
    st.sampled_from(
        ("a:", "b:", "c:", "- ", "-", "a", "", "null:", "1:", "'a':", "- a:", "A_1:", "$a:", "a.b-c:", "k" * 65 + ":")
    ),
    st.integers(0, 2),
    st.sampled_from(WORDS) | st.just(""),
    st.sampled_from(("", "", "", " ", "  # end", "#")),
)


def shown(node: Node) -> Any:
    """A tree with all its marks, and the types of its values."""
    marks = (*((mark.line, mark.column, mark.end) for mark in (node.mark, node.key)), node.op, node.under)
    if node.is_mapping:
        return marks, [(key, shown(item)) for key, item in node.value.items()]
    if node.is_sequence:
        return marks, tuple(map(shown, node.value))
    return marks, type(node.value), node.value


@pytest.fixture(scope="module")
def parser() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsing, "block", lambda _: None)
        yield patch


def agrees(text: str) -> bool:
    """Whether a text is read at all without the parser; then it is read as the parser does."""
    found = block(Source("spec.yaml", text))
    if found is None:
        return False
    try:
        expected = parse("spec.yaml", text.encode())
    except HsdcError as error:
        raise AssertionError(f"the parser refuses this: {error}") from None
    assert shown(found) == shown(expected)
    return True


def test_the_usual_form_is_read_as_the_parser_reads_it(parser: pytest.MonkeyPatch) -> None:
    assert agrees(USUAL)
    assert agrees(USUAL.rstrip("\n"))
    assert agrees("  a: 1\n  b:\n    c: 2\n")


def test_specs_are_of_the_usual_form_or_left_to_the_parser(parser: pytest.MonkeyPatch) -> None:
    texts = {path: path.read_bytes().decode("utf-8-sig", errors="replace") for path in SPECS}
    usual = [path for path, text in texts.items() if "\0" not in text and agrees(text)]
    own = [path for path in usual if path.is_relative_to(ROOT / "specs")]
    assert len(own) > len(list(ROOT.glob("specs/**/*.yaml"))) // 2
    assert len(usual) > len(SPECS) // 2


@QUICK
@example(["a:", "  - b", "  c: 1"])
@example(["a: b", "  c"])
@example(["a:", "b: 1"])
@given(st.lists(LINES, max_size=7))
def test_any_lines_are_read_alike(parser: pytest.MonkeyPatch, lines: list[str]) -> None:
    agrees("\n".join(lines))


@QUICK
@given(st.integers(0, len(USUAL)), st.text(max_size=3), st.integers(0, 4))
def test_any_damage_is_read_alike(parser: pytest.MonkeyPatch, at: int, text: str, gone: int) -> None:
    damaged = USUAL[:at] + text + USUAL[at + gone :]
    try:
        damaged.encode()
    except UnicodeEncodeError:
        return
    if "\0" not in damaged and parsing._FORBIDDEN.search(damaged) is None:
        agrees(damaged)
