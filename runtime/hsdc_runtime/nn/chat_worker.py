"""The process that renders chat templates: sandboxed, bounded, without a clock, and without a word to the terminal.

The environment is the one that chat templates are written for, as the transformers library renders them, but for
`strftime_now`: a template that asks for today's date would write another prompt every day. Those that look whether it
is there use a date of their own.
"""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from hsdc_runtime.bounds import LONGEST, Answer, served


def serve() -> None:
    """Take a template, then render groups of conversations: prompts, or a fault, for each."""
    served(_begun)


def _begun(told: dict[str, Any]) -> Answer:
    template: Template | Exception
    try:
        template = compiled(told["template"])
    except Exception as error:  # whatever a stranger's template makes of jinja2
        template = error
    return lambda asked: _answer(template, told["variables"], asked)


def _answer(template: Template | Exception, variables: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    texts: list[str] = []
    for messages in asked["conversations"]:
        try:
            if isinstance(template, Exception):
                raise template
            text = template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=not asked["ended"], **variables
            )
        except Exception as error:
            return {"row": len(texts), "fault": _told(error)}
        if len(text) > LONGEST:
            return {"row": len(texts), "fault": f"it writes more than {LONGEST:,} characters"}
        texts.append(text)
    return {"texts": texts}


def _told(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it takes more memory than it may"
    first = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}"


def compiled(template: str) -> Template:
    """A chat template that can be rendered; raises what jinja2 raises."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _raise, "namespace": _namespace}
    return environment.from_string(template)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's words for training; here, it is what it encloses."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Names(Namespace):
    """A namespace without names that begin with an underscore."""

    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise SecurityError(f"a namespace may not hold {name!r}")
        super().__setitem__(name, value)


def _namespace(*given: Any, **named: Any) -> Namespace:
    names = _Names()
    for name, value in dict(*given, **named).items():
        names[name] = value
    return names


def _raise(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON without the escapes for HTML that jinja2's own filter writes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
