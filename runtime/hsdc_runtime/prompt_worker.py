"""The process that renders the templates of prompts."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Template

from hsdc_runtime.bounds import LONGEST, Answer, served
from hsdc_runtime.sandbox import PromptEnvironment


def serve() -> None:
    """Render templates over values until nobody asks any more."""
    served(_begun)


def _begun(_: dict[str, Any]) -> Answer:
    environment = PromptEnvironment()
    compiled = cache(environment.from_string)
    given: dict[str, Any] = {}

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        if "given" in asked:
            given.clear()
            given.update(asked["given"])
        try:
            return _measured(compiled(asked["template"]), {**given, **asked["values"]})
        except MemoryError:
            return {"fault": "fails: it takes more memory than it may"}
        except Exception as error:  # whatever a stranger's template makes of jinja2
            return {"fault": f"fails: {error}"[: 1 << 10]}

    return answer


def _measured(template: Template, values: dict[str, Any]) -> dict[str, Any]:
    text = template.render(values)
    if len(text) > LONGEST:
        return {"fault": f"renders {len(text)} characters; {LONGEST} are the most"}
    return {"text": text}
