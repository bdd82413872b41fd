"""Pass 4: `{$ref: training.seed}` becomes the value at that path, after merging. What stood in `$literal` is let be."""

from __future__ import annotations

from collections.abc import Iterable

from hsdc_compiler.merge import Report
from hsdc_compiler.node import REF, Node, dotted
from hsdc_schemas.errors import Diagnostic, Exit, did_you_mean

MAX_STEPS = 16  # references that lead to references
MAX_VALUES = 100_000
MAX_DEPTH = 64
MAX_FAULTS = 100


Clean = dict[int, Node]
"""Nodes that hold no reference, by identity (kept, so that it stays their own): runs share what they inherit."""


def refs(tree: Node, report: Report, clean: Clean) -> Node:
    """The tree without references; unknown targets, circles and what unfolds without end are reported."""
    return _Unfolding(tree, report).of(tree, (), 0) if _holds_ref(tree, clean) else tree


def _holds_ref(node: Node, clean: Clean) -> bool:
    value = node.value
    if type(value) is not dict or id(value) in clean:
        return False
    if "$ref" in value and _is_ref(node):
        return True
    under = node.under
    shared = node.touched is not None and under is not None and id(under.value) in clean
    for item in [value[name] for name in node.touched or () if name in value] if shared else value.values():
        if type(item.value) is dict and id(item.value) not in clean and _holds_ref(item, clean):
            return True
    clean[id(value)] = node
    return False


def _is_ref(node: Node) -> bool:
    return node.is_mapping and "$ref" in node.value and node.op != "literal"


class _Unfolding:
    """Follows the references of one tree, and counts what comes of them."""

    def __init__(self, root: Node, report: Report) -> None:
        self.root, self.report, self.values, self.faults = root, report, 0, 0

    def of(self, node: Node, trail: tuple[Node, ...], depth: int) -> Node:
        """The node without references, `depth` levels below the top; `trail` are the references that led to it."""
        self.values += 1
        if _is_ref(node):
            return self.follow(node, trail, depth)
        if node.is_mapping and node.op != "literal":
            return node._replace(value={key: self.of(item, trail, depth + 1) for key, item in node.value.items()})
        return node

    def follow(self, node: Node, trail: tuple[Node, ...], depth: int) -> Node:
        nothing = Node(None, node.mark, node.key)
        found = self.target(node) if self.faults < MAX_FAULTS else None
        if found is None:
            return nothing
        if any(step is node for step in trail):
            self.circle([step for i, step in enumerate(trail) if any(item is node for item in trail[: i + 1])])
            return nothing
        if len(trail) == MAX_STEPS or self.values > MAX_VALUES or (trail and depth > MAX_DEPTH):
            message = f"the references unfold into more than {MAX_VALUES:,} values"
            if len(trail) == MAX_STEPS:
                message = f"a reference leads to the next one more than {MAX_STEPS} times"
            elif depth > MAX_DEPTH:
                message = f"the references unfold into more than {MAX_DEPTH} levels"
            first = trail[0] if trail else node
            self.fault("E323", message, first, "refer to the value itself")
            self.faults = MAX_FAULTS  # all others would say the same
            return nothing
        return self.of(found, (*trail, node), depth)._replace(key=node.key, op=REF, under=node.under)

    def target(self, node: Node) -> Node | None:
        """The node that a reference names."""
        target = node.value["$ref"]
        if len(node.value) != 1 or not isinstance(target.value, str):
            message = "$ref stands alone and names one path"
            self.fault("E321", message, node, "{$ref: training.seed}")
            return None
        path = tuple(target.value.split("."))
        found = self.root.at(path)
        if found is None:
            depth = next(i for i in range(len(path)) if self.root.at(path[: i + 1]) is None)
            above = self.root.at(path[:depth])
            known = [dotted((*path[:depth], key)) for key in above.value] if above and above.is_mapping else []
            hint = did_you_mean(dotted(path[: depth + 1]), known) or "a path names keys, not the entries of a list"
            if above is not None and _is_ref(above):
                hint = f"'{dotted(path[:depth])}' is a reference itself: refer to what it refers to"
            self.fault("E321", f"there is nothing at '{target.value[:60]}' to refer to", target, hint)
        return found

    def circle(self, steps: list[Node]) -> None:
        """Report a circle once, from the first of its lines on, wherever it was entered."""
        first = min(range(len(steps)), key=lambda i: steps[i].mark.place())
        ring = steps[first:] + steps[:first]
        way = " → ".join(str(step.value["$ref"].value) for step in (*ring, ring[0]))
        message = f"the references run in a circle: {way}"
        self.fault("E322", message, ring[0], "write one of them out", ring[1:])

    def fault(self, code: str, message: str, node: Node, hint: str, by_way: Iterable[Node] = ()) -> None:
        self.faults += 1
        related = tuple(("by way of this line", step.mark.place()) for step in by_way)
        self.report(Diagnostic(code, Exit.SPEC, message, node.mark.place(), hint, related))
