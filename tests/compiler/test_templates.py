"""Templates are read: what they want to be given, what is wrong with them, and nothing of them is evaluated."""

from __future__ import annotations

import pytest
from jinja2 import meta
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hsdc_compiler.templates import read_template


@pytest.mark.parametrize(
    "source",
    [
        "{{ text }}{% for one in examples %}{{ loop.index }}{{ one.text }}{% endfor %}",
        "{% set a = policy %}{{ a }}{% if persona is defined and not b %}{{ fields['c'] }}{% endif %}",
        "{% macro m(x, y=context) %}{{ x }}{{ caller() }}{% endmacro %}{% call m(1) %}{{ z }}{% endcall %}",
        "{% raw %}{{ text }}{% endraw %}{# {{ policy }} #}{{ range(3) | join(',') }}",
    ],
)
def test_names_are_those_that_the_library_finds(source: str) -> None:
    expected = meta.find_undeclared_variables(ImmutableSandboxedEnvironment().parse(source))
    assert read_template(source) == (frozenset(expected), "")


@pytest.mark.parametrize("source", ["{{ 'a' | upper }}", "{{ text }}{% if 'a' | upper %}{% endif %}"])
def test_no_constant_is_folded(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setitem(FILTERS, "upper", called.append)
    ImmutableSandboxedEnvironment().compile(source)
    assert called, "compiling it would evaluate it"
    called.clear()
    assert read_template(source).fault == ""
    assert called == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{% if text %}" * 5000 + "{% endif %}" * 5000, "it is nested too deeply"),
        ("{{ " + "(" * 100_000, "it is nested too deeply"),
        ("{% extends 'a' %}", "line 1 reads another template, and there is none"),
        ("\n{% from 'a' import b %}", "line 2 reads another template, and there is none"),
        ("{{ text | uper }}", "there is no filter 'uper'; did you mean 'upper'?"),
        ("{{ text is evn }}", "there is no test 'evn'; did you mean 'even'?"),
        ("{{ text", "unexpected end of template, expected 'end of print statement' (line 1)"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_template(source: str, fault: str) -> None:
    assert read_template(source) == (frozenset(), fault)
