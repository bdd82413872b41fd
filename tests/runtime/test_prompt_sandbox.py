"""Templates of prompts that would take all memory or time are refused; others render as jinja2 renders them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hsdc_runtime import conversation
from hsdc_runtime.conversation import Conversation
from hsdc_runtime.plain_templates import plain_template
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
ENDLESS = (  # in memory or in time, each of whose steps is small
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) }}",
    "{{ ('b' * 1000000).join('a' * 1000000) }}",
    "{% for a in range(9999) %}{{ 'a' * 1000000 }}{% endfor %}",
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


def test_what_only_writes_down_what_it_is_given_needs_no_process() -> None:
    for plain in (
        "{{ text }}",
        "{% for a in labels %}{{ loop.index }} {{ a | upper }}{% endfor %}",
        "{{ a | join(', ') }}",
    ):
        assert plain_template(plain) is not None
    loop = "{% for a in labels %}{% for b in labels %}{{ b }}{% endfor %}{% endfor %}"
    for other in (
        *ENDLESS,
        *BOMBS,
        loop,
        "{{ a | join(text) }}",
        "{{ a() }}",
        "{% set a = text ~ text %}{{ a }}",
        "{{ a",
    ):
        assert plain_template(other) is None
    given = {"labels": ["a"] * 3000, "text": "b" * 3000}
    with pytest.raises(HsdcError, match="it writes more than"):
        conversation.rendered("it", "{% for a in labels %}{{ text }}{% endfor %}", given)


def test_shipped_prompts_are_plain() -> None:
    for path in (Path(__file__).parents[2] / "specs/prompts").glob("*.yaml"):
        prompt = yaml.safe_load(path.read_text())
        assert all(plain_template(prompt[name]) for name in ("system", "user") if name in prompt), path.name


@pytest.mark.parametrize("template", ENDLESS)
def test_what_never_ends_is_ended(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SECONDS", 1)
    monkeypatch.setattr(conversation, "_PROCESS", conversation._Process())
    prompt = Prompt(user=template, format=LabelAnswer(kind="label"))
    with pytest.raises(HsdcError) as caught:
        Conversation(prompt, ["a"]).about("text", {})
    assert [(fault.code, int(fault.exit)) for fault in caught.value.diagnostics] == [("E446", 2)]
    again = Prompt(user="{{ text ~ '' }} {{ labels | length }}", format=LabelAnswer(kind="label"))
    assert Conversation(again, ["a"]).about("next", {}) == [{"role": "user", "content": "next 1"}]


def test_what_is_given_to_every_row_is_that_of_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    prompts = [
        Prompt(user="{{ persona }}: {{ text }}", persona=name, format=LabelAnswer(kind="label")) for name in "ab"
    ]
    first, second = (Conversation(prompt, ["x"]) for prompt in prompts)
    asked = [(first, "1"), (second, "2"), (first, "3"), (first, "4")]
    assert [one.about(text, {})[0]["content"] for one, text in asked] == ["a: 1", "b: 2", "a: 3", "a: 4"]
    environment = Path(f"/proc/{conversation._PROCESS._confined.pid}/environ")  # type: ignore[union-attr]
    assert not environment.exists() or b"hunter2" not in environment.read_bytes()


@pytest.mark.parametrize("template", PLAIN)
def test_what_is_usual_renders_as_ever(template: str) -> None:
    given = {"text": "A post", "labels": ["hate", "normal"]}
    expected = ImmutableSandboxedEnvironment().from_string(template).render(given)
    assert PromptEnvironment().from_string(template).render(given) == expected
    assert conversation.rendered("it", template, given) == expected
