"""The process that renders the templates of prompts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

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
        template = asked["template"]
        return told(lambda: compiled(template).render({**given, **asked["values"]}))

    return answer


def told(render: Callable[[], str]) -> dict[str, Any]:
    """What comes of rendering: a text, or a fault in words that follow the template's name."""
    try:
        text = render()
    except MemoryError:
        return {"fault": "fails: it takes more memory than it may"}
    except Exception as error:  # whatever a stranger's template makes of jinja2
        return {"fault": f"fails: {error}"[: 1 << 10]}
    if len(text) > LONGEST:
        return {"fault": f"renders {len(text)} characters; {LONGEST} are the most"}
    return {"text": text}
