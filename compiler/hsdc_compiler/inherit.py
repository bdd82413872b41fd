"""Pass 2: every run on top of its one parent. Parents come first; unknown parents and circles are faults."""

from __future__ import annotations

from collections.abc import Container, Mapping
from itertools import islice
from typing import Annotated

import msgspec
from pydantic import Field

from hsdc_compiler.merge import FAULT, fresh, merge, put
from hsdc_compiler.node import Node, dotted
from hsdc_compiler.project import HEADERS, MAX_GENERATIONS, Document
from hsdc_schemas.errors import Diagnostic, Exit, did_you_mean
from hsdc_schemas.fields import Model, Name, RunName
from hsdc_schemas.spec import Reproduces

_OF_A_RUN = frozenset(HEADERS)
_HEADER = _OF_A_RUN - {"change", "restore"}
MAX_FAULTS = 100  # of one kind, in one run
MAX_PATHS = 64


class Header(Model):
    """What a run says of itself, beside the experiment."""

    hsdc: int
    run: Name
    title: str = ""
    notes: str = ""
    extends: RunName | None = None
    budget: Annotated[int, Field(ge=0)] | None = None
    why: str = ""
    reproduces: Reproduces | None = None


class Layered(msgspec.Struct, frozen=True, gc=False):
    """A run with the merged tree of its experiment, slots not yet bound."""

    document: Document
    header: Node
    parent: str | None
    tree: Node

    @property
    def name(self) -> str:
        return self.document.name


def inherit(documents: Mapping[str, Document], unread: Container[str]) -> tuple[dict[str, Layered], list[Diagnostic]]:
    """All runs whose lineage holds, parents first, with the faults of the others.

    `unread` are runs whose spec could not be read, which is a fault that has been reported.
    """
    lineage = _Lineage(documents, unread)
    for name in documents:
        lineage.visit(name, ())
    return lineage.done, lineage.faults


class _Lineage:
    """Layers runs, each after its ancestors and after the run that it restores values from."""

    def __init__(self, documents: Mapping[str, Document], unread: Container[str]) -> None:
        self.documents, self.unread = documents, unread
        self.faults: list[Diagnostic] = []
        self.done: dict[str, Layered] = {}
        self.generations: dict[str, int] = {}  # of each of these
        self.circular: set[str] = set()

    def visit(self, name: str, trail: tuple[str, ...]) -> None:
        """Layer a run and all that it stands on; `trail` are the runs that wait for it."""
        if name in self.done or name in self.circular:
            return
        for ancestor in reversed(_chain(name, self.documents, self.unread, self.generations, self.faults)):
            if ancestor not in self.done and self._sources(ancestor, trail):
                self._layer(ancestor)

    def _sources(self, name: str, trail: tuple[str, ...]) -> bool:
        """Whether the run that this one restores values from is layered, or is nobody."""
        source = _restored_from(self.documents[name])
        if source not in self.documents:
            return True
        if source in (*trail, name) or len(trail) > MAX_GENERATIONS:
            way = " → ".join((*trail, name, source))
            node = self.documents[name].node.nearest(("restore", "from"))
            self.faults.append(_fault("E342", f"the runs restore values in a circle: {way}", node, ""))
            self.circular |= {*trail, name}
        else:
            self.visit(source, (*trail, name))
        return name not in self.circular and source in self.done

    def _layer(self, name: str) -> None:
        document = self.documents[name]
        parent = _parent(document)
        if (parent is None or parent in self.done) and _has_lineage(document, self.faults):
            self.done[name] = _layer(document, self.done.get(parent or ""), self.done, self.faults)
            self.generations[name] = self.generations.get(parent or "", 0) + 1


def stands_on(document: Document) -> tuple[str, ...]:
    """The runs that a run takes values from: its parent, and one that it restores values from."""
    return tuple(name for name in (_parent(document), _restored_from(document)) if name)


def _restored_from(document: Document) -> str:
    node = document.node.at(("restore", "from"))
    return node.value if node is not None and isinstance(node.value, str) else ""


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
        for key, item in islice(entries.items(), MAX_FAULTS):
            if key not in _OF_A_RUN and (hint := did_you_mean(key, ("extends",))).startswith("did"):
                faults.append(Diagnostic("E201", Exit.SPEC, f"unknown key '{key}'", item.key.place(), hint))
                return False
        hint = "add 'extends: RUN', or write the sections at the top"
        faults.append(Diagnostic("E307", Exit.SPEC, "'change' needs a parent", change.key.place(), hint))
        return False
    return True


def _chain(
    name: str,
    documents: Mapping[str, Document],
    unread: Container[str],
    generations: Mapping[str, int],
    faults: list[Diagnostic],
) -> list[str]:
    """The run and its ancestors, up to one whose generations are known; empty when the lineage is broken."""
    chain = [name]
    while (parent := _parent(documents[chain[-1]])) is not None:
        if len(chain) + generations.get(parent, MAX_GENERATIONS) <= MAX_GENERATIONS:
            break
        node = documents[chain[-1]].node.value["extends"]
        if parent not in documents:
            if parent in unread:
                return []
            runs = [run.name for run in documents.values() if run.matrix is not None and run.matrix.run == parent]
            hint = f"it is a matrix; name one of its runs, as in {runs[0]}" if runs else did_you_mean(parent, documents)
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


def _layer(
    document: Document, parent: Layered | None, done: Mapping[str, Layered], faults: list[Diagnostic]
) -> Layered:
    entries = document.node.value
    header = document.node._replace(value={key: item for key, item in entries.items() if key in _HEADER})
    body = {key: item for key, item in entries.items() if key not in _OF_A_RUN}
    if parent is None:
        if "restore" in entries:
            faults.append(_fault("E341", "'restore' needs a parent", entries["restore"], "add 'extends: RUN'"))
        return Layered(document, header, None, fresh(document.node._replace(value=body), faults.append))
    for key, item in islice(body.items(), MAX_FAULTS):
        hint = did_you_mean(key, HEADERS) if key not in parent.tree.value else f"move '{key}' under 'change'"
        place = item.key.place()
        faults.append(
            Diagnostic("E307", Exit.SPEC, f"a derived run holds its changes under 'change', not '{key}'", place, hint)
        )
    base = parent.tree
    if "restore" in entries:
        base = _restore(entries["restore"], base, done, faults)
    change = entries.get("change")
    if change is None or change.value is None or change.value == {}:
        return Layered(document, header, parent.name, _of_one_kind(base, parent, document, faults))
    if not change.is_mapping or any(key.startswith("$") for key in change.value):
        faults.append(_fault("E307", "'change' is a mapping of sections", change, "change: {training: {epochs: 4}}"))
        return Layered(document, header, parent.name, base)
    found: list[Diagnostic] = []
    tree = merge(base, change, found.append)
    faults += found[:MAX_FAULTS]
    return Layered(document, header, parent.name, _of_one_kind(tree, parent, document, faults))


def _of_one_kind(tree: Node, parent: Layered, document: Document, faults: list[Diagnostic]) -> Node:
    """The tree, if its run is of its parent's kind; else the parent's: no section of one kind fits another."""
    was, now = parent.tree.value.get("kind"), tree.value.get("kind")
    if was is None or now is None or now is was or now.plain() == was.plain():
        return tree
    if now.op == FAULT:
        return parent.tree
    message = (
        f"'{document.name}' would be of kind '{now.plain()}', "
        f"and '{parent.name}', which it extends, is of kind '{was.plain()}'"
    )
    hint = "write a root: a run without 'extends' that holds every value"
    layers = (("inherited from here", was.mark.place()),)
    faults.append(Diagnostic("E351", Exit.SPEC, message, now.mark.place(), hint, layers))
    return parent.tree


def _restore(node: Node, base: Node, done: Mapping[str, Layered], faults: list[Diagnostic]) -> Node:
    """`base` with values as another run has them: `restore: {from: run4, paths: [training.learning_rate]}`."""
    source, paths = node.at(("from",)), node.at(("paths",))
    wrong = source is None or not isinstance(source.value, str) or paths is None or not paths.is_sequence
    if wrong or not paths.value or set(node.value) != {"from", "paths"}:  # type: ignore[union-attr]
        hint = "restore: {from: run4, paths: [training.learning_rate]}"
        faults.append(_fault("E341", "'restore' names a run and a list of paths", node, hint))
        return base
    assert source is not None
    assert paths is not None
    if len(paths.value) > MAX_PATHS:
        message = f"'restore' names {len(paths.value):,} paths; {MAX_PATHS} are the most"
        faults.append(_fault("E341", message, paths, "name the section that holds them"))
        return base
    if source.value not in done:
        message = f"there is no run '{source.value}' to restore from"
        faults.append(_fault("E341", message, source, did_you_mean(source.value, done)))
        return base
    origin = done[source.value].tree
    for item in paths.value:
        path = tuple(str(item.value).split("."))
        found = origin.at(path)
        if found is None:
            known = [dotted(leaf) for leaf, _ in origin.leaves()]
            message = f"'{source.value}' has no value at '{item.value}'"
            faults.append(_fault("E341", message, item, did_you_mean(str(item.value), known)))
            continue
        before = base.at(path)
        if before is not None and before.plain() == found.plain():
            message = f"'{item.value}' is already what '{source.value}' has: this changes nothing"
            faults.append(Diagnostic("W315", Exit.SPEC, message, item.mark.place(), "delete it", (), "warning"))
        base = put(base, path, found._replace(mark=item.mark, key=item.mark, op=f"restore from {source.value}"))
    return base


def _fault(code: str, message: str, node: Node, hint: str) -> Diagnostic:
    return Diagnostic(code, Exit.SPEC, message, node.mark.place(), hint)
