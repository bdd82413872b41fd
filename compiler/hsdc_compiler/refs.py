"""Pass 4: `{$ref: training.seed}` becomes the value at that path, after merging. What stood in `$literal` is let be."""

from __future__ import annotations

from hsdc_compiler.merge import Report
from hsdc_compiler.node import Node, dotted
from hsdc_schemas.errors import Diagnostic, Exit, did_you_mean


MAX_STEPS = 16  # references that lead to references
MAX_VALUES = 100_000


def refs(tree: Node, report: Report) -> Node:
    """The tree without references; unknown targets, circles and what unfolds without end are reported."""
    return _Unfolding(tree, report).of(tree, ()) if _holds_ref(tree) else tree


def _holds_ref(node: Node) -> bool:
    return _is_ref(node) or (node.is_mapping and any(map(_holds_ref, node.value.values())))


def _is_ref(node: Node) -> bool:
    return node.is_mapping and "$ref" in node.value and node.op != "literal"


class _Unfolding:
    """Follows the references of one tree, and counts what comes of them."""

    def __init__(self, root: Node, report: Report) -> None:
        self.root, self.report, self.values = root, report, 0

    def of(self, node: Node, trail: tuple[Node, ...]) -> Node:
        """The node without references; `trail` are the references that led to it."""
        self.values += 1
        if _is_ref(node):
            return self.follow(node, trail)
        if node.is_mapping and node.op != "literal":
            return node._replace(value={key: self.of(item, trail) for key, item in node.value.items()})
        return node

    def follow(self, node: Node, trail: tuple[Node, ...]) -> Node:
        nothing = Node(None, node.mark, node.key)
        found = self.target(node)
        if found is None:
            return nothing
        if any(step is node for step in trail):
            self.circle([step for i, step in enumerate(trail) if any(item is node for item in trail[: i + 1])])
            return nothing
        if len(trail) == MAX_STEPS or self.values > MAX_VALUES:
            message = f"the references unfold into more than {MAX_VALUES:,} values"
            if len(trail) == MAX_STEPS:
                message = f"a reference leads to the next one more than {MAX_STEPS} times"
            if self.values <= MAX_VALUES or trail:
                first = trail[0] if trail else node
                self.report(Diagnostic("E323", Exit.SPEC, message, first.mark.place(), "refer to the value itself"))
            return nothing
        return self.of(found, (*trail, node))._replace(key=node.key, op="ref", under=node.under)

    def target(self, node: Node) -> Node | None:
        """The node that a reference names."""
        target = node.value["$ref"]
        if len(node.value) != 1 or not isinstance(target.value, str):
            message = "$ref stands alone and names one path"
            self.report(Diagnostic("E321", Exit.SPEC, message, node.mark.place(), "{$ref: training.seed}"))
            return None
        path = tuple(target.value.split("."))
        found = self.root.at(path)
        if found is None:
            known = [dotted(p) for p, _ in self.root.leaves() if len(p) == len(path)]
            message = f"there is nothing at '{target.value}' to refer to"
            hint = did_you_mean(target.value, known)
            hint = hint if hint.startswith("did") else "name a value that the run holds, as in {$ref: training.seed}"
            self.report(Diagnostic("E321", Exit.SPEC, message, target.mark.place(), hint))
        return found

    def circle(self, steps: list[Node]) -> None:
        """Report a circle once, from the first of its lines on, wherever it was entered."""
        first = min(range(len(steps)), key=lambda i: steps[i].mark.place())
        ring = steps[first:] + steps[:first]
        way = " → ".join(str(step.value["$ref"].value) for step in (*ring, ring[0]))
        related = tuple(("by way of this line", step.mark.place()) for step in ring[1:])
        message = f"the references run in a circle: {way}"
        self.report(Diagnostic("E322", Exit.SPEC, message, ring[0].mark.place(), "write one of them out", related))
