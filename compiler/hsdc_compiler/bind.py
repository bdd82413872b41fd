"""Pass 3: fill the slots: `use` names a component, and the profile may bind another one in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from hsdc_compiler.merge import Report, merge
from hsdc_compiler.node import Node
from hsdc_compiler.project import Document
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place
from hsdc_schemas.manifest import Component
from hsdc_schemas.spec import SLOTS, Profile

Find = Callable[[str, str, Place | None], Document]


@dataclass(frozen=True)
class Bound:
    """A tree whose slots are filled, and which component each slot named and got."""

    tree: Node
    components: Mapping[str, Component]


def bind(tree: Node, profile: Profile, find: Find, report: Report) -> Bound:
    """The tree with every slot filled; faults are reported at the slot."""
    entries = dict(tree.value)
    components: dict[str, Component] = {}
    for slot in SLOTS:
        node = entries.get(slot)
        use = node.at(("use",)) if node is not None else None
        if node is None or use is None:
            continue
        if not isinstance(use.value, str):
            report(Diagnostic("E303", Exit.SPEC, f"'{slot}.use' names a component", use.mark.place()))
            continue
        used = profile.bind.get(slot, {}).get(use.value, use.value)
        overrides = {key: item for key, item in node.value.items() if key != "use"}
        if used != use.value and overrides:
            first = next(iter(overrides.values()))
            message = f"the profile puts '{used}' in place of '{use.value}' whole; '{slot}' cannot keep own values here"
            report(
                Diagnostic(
                    "E308", Exit.SPEC, message, first.key.place(), "put the values into a component of their own"
                )
            )
            overrides = {}
        try:
            body = find(slot, used, use.mark.place()).body
        except HsdcError as error:
            for diagnostic in error.diagnostics:
                report(diagnostic)
            continue
        components[slot] = _component(use.value, used)
        entries[slot] = merge(body, node._replace(value=overrides), report, (slot,)) if overrides else body
        entries[slot] = entries[slot]._replace(key=node.key)
    return Bound(tree._replace(value=entries), components)


@cache
def _component(named: str, used: str) -> Component:
    return Component(named=named, used=used)
