"""Patterns are read by an engine whose time grows with the text: what would take for ever elsewhere is quick here."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsdc_schemas.patterns import LARGE, OTHERWISE, finder, pattern_fault

TEXTS = st.text("ab: \nstatu", max_size=40)
SHARED = (r"status: (\w+)", r"^(.*?)\s*b", r"(?m)^(a.*)$", "(a+?)b", "(?:a|ab|b)*( )", r"a{2,5}(b|)", "([^:]*):")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SHARED), TEXTS)
def test_what_is_found_is_what_re_finds(pattern: str, text: str) -> None:
    found = re.search(pattern, text, re.DOTALL)
    assert finder(pattern)(text) == (None if found is None else found[1])


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(?:a|ab|b)*(c)",
        r"(?:\w+\s?)*(x)",
        "(.*.*.*.*.*c)",
        "(?:(?:a{0,99}b?)){2,}(c)",
        "(?:a|b)*a(?:a|b){900}(c)",
    ],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    """Each of them takes `re` minutes or more, where it comes to an end at all."""
    assert pattern_fault(pattern)[0] in ("", "is too large to be quick")
    if not pattern_fault(pattern)[0]:
        start = time.process_time()
        assert finder(pattern)("ab" * 10_000 + "!") is None
        assert time.process_time() - start < 2


@pytest.mark.parametrize("pattern", ["(" + "(?:a|b){0,900}a" * 60 + ")", "(" + ".{0,999}a" * 90 + ")"])
def test_one_that_would_be_slow_in_a_straight_line_is_too_large(pattern: str) -> None:
    assert pattern_fault(pattern) == ("is too large to be quick", LARGE)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("(", "cannot be read: missing ): ("),
        ("(?=a)(b)", "cannot be read: invalid perl operator: (?="),
        (r"(a)\1", r"cannot be read: invalid escape sequence: \1"),
        (r"(\w++ )", "cannot be read: bad repetition operator: ++"),
        ("(?:a{1000}){1000}(b)", "cannot be read: invalid repetition size: {1000}"),
    ],
)
def test_what_cannot_be_read_is_said(pattern: str, fault: str) -> None:
    assert pattern_fault(pattern) == (fault, OTHERWISE)


def test_one_group_is_taken() -> None:
    assert pattern_fault("(a)(b)")[0] == "has 2 groups; the one group is what is taken"
    assert pattern_fault("a")[0] == "has 0 groups; the one group is what is taken"
    assert pattern_fault("(a)(?:b)") == ("", "")
    assert finder("(x)|y")("y") is None
