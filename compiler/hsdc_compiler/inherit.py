"""Pass 2: every run on top of its one parent. Parents come first; unknown parents and circles are faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from hsdc_compiler.merge import fresh, merge
from hsdc_compiler.node import Node
from hsdc_compiler.project import HEADERS, Document
from hsdc_schemas.errors import Diagnostic, Exit, did_you_mean
from hsdc_schemas.spec import Model, Name, Reproduces

MAX_GENERATIONS = 16


class Header(Model):
    """What a run says of itself, beside the experiment."""

    hsdc: int
    run: Name
    title: str = ""
    notes: str = ""
    extends: Name | None = None
    budget: Annotated[int, Field(ge=0)] | None = None
    why: str = ""
    reproduces: Reproduces | None = None


@dataclass(frozen=True)
class Layered:
    """A run with the merged tree of its experiment, slots not yet bound."""

    document: Document
    header: Node
    parent: str | None
    tree: Node

    @property
    def name(self) -> str:
        return self.document.name


def inherit(documents: Mapping[str, Document]) -> tuple[dict[str, Layered], list[Diagnostic]]:
    """All runs whose lineage holds, parents first, with the faults of the others."""
    faults: list[Diagnostic] = []
    done: dict[str, Layered] = {}
    for name in documents:
        chain = _chain(name, documents, faults)
        for ancestor in reversed(chain):
            if ancestor not in done:
                parent = _parent(documents[ancestor])
                if (parent is None or parent in done) and _has_lineage(documents[ancestor], faults):
                    done[ancestor] = _layer(documents[ancestor], done.get(parent or ""), faults)
    return done, faults


def _parent(document: Document) -> str | None:
    node = document.node.value.get("extends")
    return node.value if node is not None and isinstance(node.value, str) else None


def _has_lineage(document: Document, faults: list[Diagnostic]) -> bool:
    """Whether a run is a root, or names the one that it changes."""
    entries = document.node.value
    extends, change = entries.get("extends"), entries.get("change")
    if extends is not None and not isinstance(extends.value, str):
        hint = "name one run; what several runs share is a component"
        faults.append(_fault("E304", "a run extends one other run, by its name", extends, hint))
        return False
    if extends is None and change is not None:
        hint = "add 'extends: RUN', or write the sections at the top"
        faults.append(Diagnostic("E307", Exit.SPEC, "'change' needs a parent", change.key.place(), hint))
        return False
    return True


def _chain(name: str, documents: Mapping[str, Document], faults: list[Diagnostic]) -> list[str]:
    """The run and its ancestors; empty when the lineage is broken."""
    chain = [name]
    while (parent := _parent(documents[chain[-1]])) is not None:
        node = documents[chain[-1]].node.value["extends"]
        if parent not in documents:
            hint = did_you_mean(parent, documents)
            faults.append(
                Diagnostic("E304", Exit.SPEC, f"there is no run '{parent}' to extend", node.mark.place(), hint)
            )
            return []
        if parent in chain:
            circle = [*chain[chain.index(parent) :], parent]
            if min(circle) == parent:  # report a circle once, at one of its members
                places = tuple(
                    (f"'{run}' extends", documents[run].node.value["extends"].mark.place()) for run in circle[:-1]
                )
                message = f"the runs extend each other in a circle: {' → '.join(circle)}"
                faults.append(
                    Diagnostic("E305", Exit.SPEC, message, places[0][1], "one of them must be a root", places)
                )
            return []
        if len(chain) == MAX_GENERATIONS:
            message = f"'{name}' has more than {MAX_GENERATIONS} generations"
            hint = "write a new root: a run without 'extends' that holds every value"
            faults.append(_fault("E306", message, documents[name].node.value["extends"], hint))
            return []
        chain.append(parent)
    return chain


def _layer(document: Document, parent: Layered | None, faults: list[Diagnostic]) -> Layered:
    entries = document.node.value
    header = document.node._replace(
        value={key: item for key, item in entries.items() if key in HEADERS and key != "change"}
    )
    body = {key: item for key, item in entries.items() if key not in HEADERS}
    if parent is None:
        return Layered(document, header, None, fresh(document.node._replace(value=body), faults.append))
    for key, item in body.items():
        hint = did_you_mean(key, HEADERS) if key not in parent.tree.value else f"move '{key}' under 'change'"
        place = item.key.place()
        faults.append(
            Diagnostic("E307", Exit.SPEC, f"a derived run holds its changes under 'change', not '{key}'", place, hint)
        )
    change = entries.get("change")
    if change is None or change.value is None or change.value == {}:
        return Layered(document, header, parent.name, parent.tree)
    if not change.is_mapping:
        faults.append(_fault("E307", "'change' is a mapping of sections", change, "change: {training: {epochs: 4}}"))
        return Layered(document, header, parent.name, parent.tree)
    return Layered(document, header, parent.name, merge(parent.tree, change, faults.append))


def _fault(code: str, message: str, node: Node, hint: str) -> Diagnostic:
    return Diagnostic(code, Exit.SPEC, message, node.mark.place(), hint)
