"""Templates of prompts that would take all memory are refused before they do; others render as jinja2 renders them."""

from __future__ import annotations

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hsdc_runtime.conversation import Conversation
from hsdc_runtime.sandbox import PromptEnvironment
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.prompting import LabelAnswer, Prompt

BOMBS = (
    "{{ 'a' * 10 ** 10 }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ [text] * 99999999999 }}",
    "{{ 99999999999 * text }}",
    "{{ '%99999999999d' % 1 }}",
    "{{ '%*d' % (99999999999, 1) }}",
    "{{ text | center(99999999999) }}",
    "{{ text.ljust(99999999999) }}",
    "{{ text | indent(width=99999999999) }}",
    "{{ '%99999999999d' | format(1) }}",
    "{{ '{:>99999999999}'.format(text) }}",
    "{{ '{:>{}}'.format(text, 99999999999) }}",
    "{{ range(99999999999) | list }}",
)
PLAIN = (
    "{{ 3 * 4 }} {{ 2 ** 10 }} {{ 7 % 3 }} {{ '-' * 20 }} {{ '%s: %03d' % (text, 7) }}",
    "{{ text | upper | center(40) }} {{ labels | join(', ') }} {{ labels | map('upper') | list }}",
    "{% for label in labels %}{{ loop.index }}. {{ label | tojson }}{% endfor %}{{ range(3) | list }}",
    "{{ text.ljust(9) }} {{ labels | groupby(0) | length }} {{ '{:>9}'.format(text) }} {{ '%5d' | format(1) }}",
)


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_takes_all_memory_is_refused(bomb: str) -> None:
    prompt = Prompt(user=bomb, format=LabelAnswer(kind="label"))
    with pytest.raises(HsdcError) as caught:
        Conversation(prompt, ["a"]).about("text", {})
    assert [fault.code for fault in caught.value.diagnostics] == ["E446"]


@pytest.mark.parametrize("template", PLAIN)
def test_what_is_usual_renders_as_ever(template: str) -> None:
    given = {"text": "A post", "labels": ["hate", "normal"]}
    expected = ImmutableSandboxedEnvironment().from_string(template).render(given)
    assert PromptEnvironment().from_string(template).render(given) == expected
