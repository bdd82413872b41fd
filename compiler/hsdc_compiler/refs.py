"""Pass 4: `{$ref: training.seed}` becomes the value at that path, after merging."""

from __future__ import annotations

from hsdc_compiler.merge import Report
from hsdc_compiler.node import Node, Path, dotted
from hsdc_schemas.errors import Diagnostic, Exit, did_you_mean


def refs(tree: Node, report: Report) -> Node:
    """The tree without references; unknown targets and circles are reported with every line on the way."""
    if not any(_is_ref(node) for _, node in _mappings(tree)):
        return tree
    return _resolve(tree, tree, (), report)


def _mappings(node: Node, path: Path = ()) -> list[tuple[Path, Node]]:
    found = [(path, node)] if node.is_mapping else []
    if node.is_mapping:
        for key, item in node.value.items():
            found += _mappings(item, (*path, key))
    return found


def _is_ref(node: Node) -> bool:
    return node.is_mapping and "$ref" in node.value


def _resolve(node: Node, root: Node, trail: tuple[Node, ...], report: Report) -> Node:
    if _is_ref(node):
        return _follow(node, root, trail, report)
    if node.is_mapping:
        return node._replace(value={key: _resolve(item, root, trail, report) for key, item in node.value.items()})
    return node


def _follow(node: Node, root: Node, trail: tuple[Node, ...], report: Report) -> Node:
    target = node.value["$ref"]
    nothing = Node(None, node.mark, node.key)
    if len(node.value) != 1 or not isinstance(target.value, str):
        report(
            Diagnostic(
                "E321", Exit.SPEC, "$ref stands alone and names a path", node.mark.place(), "{$ref: training.seed}"
            )
        )
        return nothing
    if node in trail:
        circle = trail[trail.index(node) :]
        way = " → ".join(str(step.value["$ref"].value) for step in (*circle, circle[0]))
        related = tuple(("by way of this line", step.mark.place()) for step in circle[1:])
        report(
            Diagnostic("E322", Exit.SPEC, f"the references run in a circle: {way}", circle[0].mark.place(), "", related)
        )
        return nothing
    path = tuple(target.value.split("."))
    found = root.at(path)
    if found is None:
        parent = root.nearest(path)
        known = [dotted((*path[:-1], key)) for key in parent.value] if parent.is_mapping else []
        message = f"there is nothing at '{target.value}' to refer to"
        report(Diagnostic("E321", Exit.SPEC, message, target.mark.place(), did_you_mean(target.value, known)))
        return nothing
    resolved = _resolve(found, root, (*trail, node), report)
    return resolved._replace(key=node.key, op="ref", under=node.under)
