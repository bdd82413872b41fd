"""A prompt's templates as text that is read and never evaluated: no constant is folded, no filter called."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from hsdc_schemas.errors import did_you_mean


class Template(NamedTuple):
    """The names that a template wants to be given; or why it is none."""

    names: frozenset[str]
    fault: str = ""


@cache
def read_template(source: str) -> Template:
    """What can be said of a Jinja2 template without rendering it.

    A name that is given a value anywhere in the template counts as known in all of it; rendering is strict.
    """
    from jinja2 import TemplateSyntaxError, nodes  # weight that only prompts need
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment()
    try:
        tree = environment.parse(source)
        for other in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            return Template(frozenset(), f"line {other.lineno} reads another template, and there is none")
        for word in tree.find_all((nodes.Filter, nodes.Test)):
            known = environment.filters if isinstance(word, nodes.Filter) else environment.tests
            if word.name not in known:
                what = f"there is no {type(word).__name__.lower()} '{word.name}'"
                return Template(frozenset(), "; ".join(filter(None, (what, did_you_mean(word.name, known)))))
        found = tuple(tree.find_all(nodes.Name))
        macros = frozenset(macro.name for macro in tree.find_all(nodes.Macro))
    except TemplateSyntaxError as error:
        return Template(frozenset(), f"{str(error.message).rstrip('.')} (line {error.lineno})")
    except RecursionError:
        return Template(frozenset(), "it is nested too deeply")
    given = {name.name for name in found if name.ctx != "load"} | {"loop", "caller", *environment.globals}
    return Template(frozenset(name.name for name in found) - given - macros)
