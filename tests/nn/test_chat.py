"""Chat templates: what the library renders, within bounds that a stranger's template cannot leave."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import tiny_causal
from transformers import AutoTokenizer

from hsdc_runtime.nn.chat import ChatTemplate
from hsdc_schemas.digests import digest_bytes
from hsdc_schemas.errors import HsdcError

CHATS = [
    [{"role": "user", "content": "Is this hate?"}],
    [
        {"role": "system", "content": "Answer <b>“shortly”</b> & well."},
        {"role": "user", "content": "{{ 7 * 7 }} 🙂\n\n"},
    ],
    [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "  two "},
        {"role": "user", "content": "{% for x in y %}"},
    ],
]
TRIMMED = """
{%- set ns = namespace(system='', first=true) %}
{% for message in messages %}
    {% if message['role'] == 'system' %}
        {%- set ns.system = message['content'] | trim %}
        {%- continue %}
    {% endif %}
    {%- if ns.first %}{{ bos_token }}{{ ns.system }}{% set ns.first = false %}{% endif %}
    {%- if message.role == 'assistant' %}{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}
    {%- else %}[INST] {{ message.content | tojson }} [/INST]{% endif %}
{% endfor %}
{%- if tools is not none or documents %}{{ raise_exception('there are no tools') }}{% endif %}
{%- if add_generation_prompt %}{{ messages | map(attribute='role') | join('+') }}: {% endif %}
"""
BROKEN_OUT = (
    "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson(indent=2) }}{% endfor %}"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(tiny_causal.build(tmp_path_factory.mktemp("llama")))


@pytest.mark.parametrize("template", [tiny_causal.TEMPLATE, TRIMMED, BROKEN_OUT])
def test_honest_templates_are_rendered_as_the_library_does(tokenizer: Any, template: str) -> None:
    expected = tokenizer.apply_chat_template(CHATS, chat_template=template, add_generation_prompt=True, tokenize=False)
    with ChatTemplate(template, tokenizer.special_tokens_map) as chat:
        assert chat.render(CHATS, ["a", "b", "c"]) == expected
        assert chat.render(CHATS[:1] * 200, ["a"] * 200) == expected[:1] * 200, "group after group, in order"
    assert chat.digest == digest_bytes(template.encode())
    assert len(set(expected)) == 3


def refused(template: str, seconds: int = 1) -> str:
    with ChatTemplate(template, {}, seconds=seconds) as chat, pytest.raises(HsdcError) as raised:
        chat.render(CHATS, ["a", "b", "c"])
    (found,) = raised.value.diagnostics
    assert found.code == "E445"
    return found.message.removeprefix("the model's chat template ")


TOO_MUCH = "takes more time or memory than it may for the rows a to c"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", TOO_MUCH),
        ("{{ 10 ** (10 ** 10) }}", TOO_MUCH),
        ("{{ 'a' * 10 ** 10 }}", "fails for row a: it takes more memory than it may"),
        ("{{ 'a' * (2 ** 20 + 1) }}", "fails for row a: it writes more than 1,048,576 characters"),
        ("{% if messages | length > 1 %}{{ raise_exception('one message alone') }}{% endif %}",
         "fails for row b: TemplateError: one message alone"),
        ("{% if %}", "fails for row a: TemplateSyntaxError: Expected an expression, got 'end of statement block'"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}",
         "fails for row a: SecurityError: access to attribute '__class__' of 'str' object is unsafe."),
        ("{{ messages.append(1) }}",
         "fails for row a: SecurityError: access to attribute 'append' of 'list' object is unsafe."),
        ("{% set ns = namespace(_x=1) %}", "fails for row a: SecurityError: a namespace may not hold '_x'"),
        ("{{ strftime_now('%Y') }}", "fails for row a: UndefinedError: 'strftime_now' is undefined"),
    ],
)  # fmt: skip
def test_a_template_stays_within_its_bounds(template: str, told: str) -> None:
    began = time.monotonic()
    assert refused(template) == told
    assert time.monotonic() - began < 30


def test_a_template_without_a_clock_uses_its_own_date() -> None:
    template = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}26 Jul 2024{% endif %}"
    with ChatTemplate(template, {}) as chat:
        assert chat.render(CHATS[:1], ["a"]) == ["26 Jul 2024"]


def test_the_process_knows_no_secret_and_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_KEY", "very-secret")
    with ChatTemplate("{{ 1 }}", {}) as chat:
        pid = chat._process.pid
        chat.render(CHATS, ["a", "b", "c"])
        environment = Path(f"/proc/{pid}/environ")
        if environment.exists():
            assert b"very-secret" not in environment.read_bytes()
    assert not Path(f"/proc/{pid}").exists()
