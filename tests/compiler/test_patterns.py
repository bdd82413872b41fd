"""Patterns that a text could make run for ever are refused; those that cannot are not."""

from __future__ import annotations

import pytest

from hsdc_compiler.patterns import NESTED, pattern_fault


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(?:a*)*(b)", r"(?:\w+\s?)*(x)", "(?:a|b+)*(c)", "(?=(a+)+)", "(?:(?:a{0,99}b?)){2,}(c)"]
)
def test_a_repeat_of_repeats_is_refused(pattern: str) -> None:
    assert pattern_fault(pattern)[0] == NESTED


@pytest.mark.parametrize(
    "pattern",
    [r"status: (\w+)", r"^(.*?)\s*$", r"(?:\w++\s)*(x)", "(?:(?>a+))*(b)", "(?:(?=a+)b)*(c)", "(?:a{1,5}){1,5}(b)"],
)
def test_what_is_quick_is_taken(pattern: str) -> None:
    assert pattern_fault(pattern) == ("", "")


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("a{1,99999999999}(b)", "cannot be read: the repetition number is too large"),
        ("(" * 480 + ")" * 480, "cannot be read: maximum recursion depth exceeded"),
        ("(a)[[b]", "cannot be read: Possible nested set at position 4"),
        ("(a)(b)", "has 2 groups; the one group is what is taken"),
    ],
    ids=["large", "deep", "warned", "groups"],
)
def test_what_cannot_be_read_is_said(pattern: str, fault: str) -> None:
    assert pattern_fault(pattern)[0].startswith(fault)
