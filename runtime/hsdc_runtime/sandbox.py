"""Jinja2 for the templates of prompts: sandboxed, and no expression makes a text or a number beyond all measure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST = 1 << 20
"""Most characters, or items, that one operation makes, and the largest number that a filter or a call is given."""
BITS = 1 << 12
_WIDTH = re.compile(r"\d{7}|\*")  # of a place in a format, or a width that is given beside it


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """What the templates of a prompt are rendered in; jinja2's SecurityError where an operation makes too much."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_said)
        self.filters = {name: _measured(name, call) for name, call in self.filters.items()}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _too_much(operator, left, right):
            raise SecurityError(f"'{operator}' would make more than {LONGEST} characters, or too large a number")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _require_measure(args, kwargs)
        method = getattr(obj, "__wrapped__", obj)
        if getattr(method, "__name__", "").startswith("format"):
            _require_widths(getattr(method, "__self__", None))
        return super().call(context, obj, *args, **kwargs)


def _said(value: Any) -> Any:
    """What an expression shows: null is no text, and 'None' in a text would be taken for one."""
    if value is None:
        raise TemplateRuntimeError("it shows a value that is null")
    return value


def _too_much(operator: str, left: Any, right: Any) -> bool:
    numbers = [value for value in (left, right) if isinstance(value, int)]
    if operator == "%":
        return isinstance(left, str) and _WIDTH.search(left) is not None
    if len(numbers) == 2:
        size = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        return bool(size > BITS)
    texts = [value for value in (left, right) if isinstance(value, str | list | tuple)]
    return operator == "*" and any(len(text) * number > LONGEST for text in texts for number in numbers)


def _measured(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is given no number beyond measure."""

    @wraps(call)  # with the marks that say what jinja2 passes first
    def measured(*args: Any, **kwargs: Any) -> Any:
        _require_measure(args, kwargs)
        if name == "format":
            _require_widths(args[0])
        return call(*args, **kwargs)

    return measured


def _require_widths(text: Any) -> None:
    if isinstance(text, str) and _WIDTH.search(text):
        raise SecurityError(f"a format makes places of at most {LONGEST} characters")


def _require_measure(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > LONGEST:
            raise SecurityError(f"{LONGEST} is the largest number that a filter or a call is given")
        if isinstance(value, str) and len(value) > LONGEST:
            raise SecurityError(f"{LONGEST} characters are the most that a filter or a call is given")
