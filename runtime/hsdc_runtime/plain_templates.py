"""Templates whose work is bounded by what they are given: read from their syntax, and rendered without a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, nodes

from hsdc_runtime.bounds import LONGEST
from hsdc_runtime.sandbox import PromptEnvironment

PLAIN = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem)
PLAIN += (nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Test)
PLAIN += (nodes.For, nodes.Filter)
FILTERS = frozenset(("trim", "upper", "lower", "capitalize", "length", "tojson", "first", "last", "default"))
LONGEST_BETWEEN = 64  # characters that `join` puts between two entries

Render = Callable[[dict[str, Any]], str]


@lru_cache(maxsize=256)
def plain_template(source: str) -> Render | None:
    """How a template is rendered that calls, computes and assigns nothing, and has no loop in a loop; else None.

    One that writes too much is stopped where it does, with jinja2's TemplateError.
    """
    environment = PromptEnvironment()
    try:
        if not _is_plain(environment.parse(source), in_loop=False):
            return None
        template = environment.from_string(source)
    except (TemplateError, RecursionError):
        return None  # to be told where all else is told
    return lambda values: "".join(_up_to(LONGEST, template.generate(values)))


def _is_plain(node: nodes.Node, *, in_loop: bool) -> bool:
    loops = isinstance(node, nodes.For)
    if type(node) not in PLAIN or (loops and (in_loop or node.recursive)):  # type: ignore[attr-defined]
        return False
    if isinstance(node, nodes.Filter) and not _is_linear(node):
        return False
    return all(_is_plain(below, in_loop=in_loop or loops) for below in node.iter_child_nodes())


def _is_linear(node: nodes.Filter) -> bool:
    if node.name != "join":
        return node.name in FILTERS
    between = node.args[0] if node.args else nodes.Const("")
    short = isinstance(between, nodes.Const) and len(str(between.value)) <= LONGEST_BETWEEN
    return short and len(node.args) <= 1 and not node.kwargs


def _up_to(most: int, pieces: Iterator[str]) -> Iterator[str]:
    written = 0
    for piece in pieces:
        written += len(piece)
        if written > most:
            raise TemplateError(f"it writes more than {most} characters")
        yield piece
