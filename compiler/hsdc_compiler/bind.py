"""Pass 3: fill the slots: `use` names a component, and the profile may bind another one in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import msgspec

from hsdc_compiler.merge import Report, merge
from hsdc_compiler.node import Node
from hsdc_compiler.project import Document
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, did_you_mean
from hsdc_schemas.manifest import Component
from hsdc_schemas.spec import SLOTS, Profile

Find = Callable[[str, str, Place | None], Document]


class Bound(msgspec.Struct, frozen=True, gc=False):
    """A tree whose slots are filled, and which component each slot named and got."""

    tree: Node
    components: Mapping[str, Component]


class Filled(msgspec.Struct, frozen=True, gc=False):
    """A slot as it was written (kept, so that its identity stays its own), and what filled it."""

    written: Node
    node: Node
    component: Component


def bind(tree: Node, profile: Profile, find: Find, report: Report, known: dict[tuple[str, int], Filled]) -> Bound:
    """The tree with every slot filled; faults are reported at the slot. `known` are slots that runs share."""
    entries = dict(tree.value)
    components: dict[str, Component] = {}
    for slot in SLOTS:
        node = entries.get(slot)
        if node is None or type(node.value) is not dict or "use" not in node.value:
            continue
        found = known.get((slot, id(node)))
        if found is None:
            faults: list[Diagnostic] = []
            found = _fill(slot, node, profile, find, faults.append)
            for fault in faults:
                report(fault)
            if found is not None and not faults:
                known[slot, id(node)] = found
        if found is not None:
            entries[slot], components[slot] = found.node, found.component
    return Bound(tree._replace(value=entries), components)


def _fill(slot: str, node: Node, profile: Profile, find: Find, report: Report) -> Filled | None:
    use = node.value["use"]
    if not isinstance(use.value, str):
        report(Diagnostic("E303", Exit.SPEC, f"'{slot}.use' names a component", use.mark.place()))
        return None
    used = profile.bind.get(slot, {}).get(use.value, use.value)
    overrides = {key: item for key, item in node.value.items() if key != "use"}
    if used != use.value and overrides:
        first = next(iter(overrides.values()))
        message = f"the profile puts '{used}' in place of '{use.value}' whole; '{slot}' cannot keep own values here"
        hint = "put the values into a component of their own"
        report(Diagnostic("E308", Exit.SPEC, message, first.key.place(), hint))
        overrides = {}
    try:
        body = find(slot, used, use.mark.place()).body
    except HsdcError as error:
        for diagnostic in error.diagnostics:
            report(diagnostic)
        return None
    filled = merge(body, node._replace(value=overrides), report, (slot,)) if overrides else body
    return Filled(node, filled._replace(key=node.key), _component(use.value, used))


def of_slots(node: Node, report: Report) -> Node:
    """A profile without what binds no slot, which is reported: whatever it says would be said at the wrong place."""
    table = node.at(("bind",))
    if table is None or not table.is_mapping:
        return node
    for slot, item in table.value.items():
        if slot not in SLOTS:
            hint = did_you_mean(slot, SLOTS)
            report(Diagnostic("E205", Exit.SPEC, f"'{slot}' is not a slot", item.key.place(), hint))
    kept = table._replace(value={slot: item for slot, item in table.value.items() if slot in SLOTS})
    return node._replace(value={**node.value, "bind": kept})


def bindings(profile: Profile, node: Node, names: Callable[[str], tuple[str, ...]], report: Report) -> None:
    """Report what of a profile's bindings is no component that a spec could name."""
    for slot, table in profile.bind.items():
        known = names(SLOTS[slot][0])
        for named in table:
            if named not in known:
                key = node.nearest(("bind", slot, named)).key.place()
                message = f"there is no {slot} component '{named}' to stand in for"
                report(Diagnostic("E303", Exit.SPEC, message, key, did_you_mean(named, known)))


@cache
def _component(named: str, used: str) -> Component:
    return Component(named=named, used=used)
