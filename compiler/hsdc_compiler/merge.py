"""Layer on layer: mappings merge deep, scalars and lists replace, operators do the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hsdc_compiler.node import NESTED, Node, Path, dotted, kind_of
from hsdc_schemas.errors import Diagnostic, Exit

OPERATORS = frozenset(("$replace", "$unset", "$append", "$prepend", "$remove", "$literal"))
LIST_OPERATORS = ("$remove", "$prepend", "$append")
DROPPING = frozenset(("kind", "use"))  # keys whose change drops what was inherited beside them

FAULT = "fault"  # the operation of a node that stands for one already reported

Report = Callable[[Diagnostic], None]


def merge(base: Node, change: Node, report: Report, path: Path = ()) -> Node:
    """`base` with `change` on top; shares what did not change, and every new node remembers what it replaced."""
    if type(base.value) not in NESTED and type(change.value) not in NESTED:
        return _replace(base, change, report, path)
    if change.is_mapping and not OPERATORS.isdisjoint(change.value):
        return _operate(base, change, sorted(OPERATORS.intersection(change.value)), report, path)
    if base.value is None or change.value is None or _is_ref(change) or (_is_ref(base) and not change.is_mapping):
        return _replace(base, change, report, path)
    if _is_ref(base):
        hint = "to put a mapping in its place, write {$replace: …}"
        message = f"'{dotted(path)}' is a reference in what is inherited, so nothing can be changed below it"
        report(_fault("E311", message, change, hint, (("inherited from here", base),)))
        return base
    if base.is_mapping != change.is_mapping or base.is_sequence != change.is_sequence:
        hint = f"to put {kind_of(change)} here, write {{$replace: …}}"
        message = f"'{dotted(path)}' is {kind_of(base)} in what is inherited, and {kind_of(change)} here"
        report(_fault("E311", message, change, hint, (("inherited from here", base),)))
        return base
    if not change.is_mapping:
        return _replace(base, change, report, path)
    if not DROPPING.isdisjoint(change.value) and any(_differs(base, change, key) for key in DROPPING):
        return fresh(change, report, path)._replace(under=base, op="replace")
    merged = dict(base.value)
    for key, item in change.value.items():
        below = (*path, key)
        if key not in merged:
            if _is_unset(item):
                report(
                    _fault("E312", f"'{dotted(below)}' is not there, so it cannot be unset", item, "delete this line")
                )
            else:
                merged[key] = fresh(item, report, below)
        elif _is_unset(item):
            del merged[key]
        else:
            merged[key] = merge(merged[key], item, report, below)
    return Node(merged, change.mark, change.key, "merge", base)


def fresh(node: Node, report: Report, path: Path = ()) -> Node:
    """A node that stands on nothing: `$literal` and `$replace` are unwrapped, other operators are faults."""
    if not node.is_mapping:
        return node
    if OPERATORS.isdisjoint(node.value):
        entries = {
            key: fresh(item, report, (*path, key)) if item.is_mapping else item for key, item in node.value.items()
        }
        same = all(entries[key] is item for key, item in node.value.items())
        return node if same else node._replace(value=entries)
    operators = sorted(OPERATORS.intersection(node.value))
    if len(node.value) == 1 and operators[0] == "$literal":
        literal: Node = node.value["$literal"]
        return literal._replace(key=node.key, op="literal")
    if len(node.value) == 1 and operators[0] == "$replace":
        return fresh(node.value["$replace"], report, path)._replace(key=node.key, op="replace")
    name = operators[0]
    if len(node.value) > 1 and name in ("$literal", "$replace"):
        report(_alone(name, next(key for key in node.value if key != name), node))
    else:
        message = f"'{dotted(path)}' has nothing inherited for {name} to work on"
        report(_fault("E312", message, node.value[name], "write the value itself"))
    return Node(None, node.mark, node.key, FAULT)


def _operate(base: Node, change: Node, operators: list[str], report: Report, path: Path) -> Node:
    strangers = [key for key in change.value if key not in OPERATORS]
    exclusive = [name for name in operators if name not in LIST_OPERATORS]
    if strangers or (exclusive and len(operators) > 1):
        name = exclusive[0] if exclusive else operators[0]
        report(_alone(name, next(key for key in (*strangers, *operators) if key != name), change))
        return base
    if exclusive:
        if exclusive[0] == "$unset":
            report(_fault("E313", "$unset takes true, and nothing else", change.value["$unset"], "{$unset: true}"))
            return base
        return fresh(change, report, path)._replace(under=base)
    return _edit_list(base, change, report, path)


def _edit_list(base: Node, change: Node, report: Report, path: Path) -> Node:
    if not base.is_sequence:
        message = f"'{dotted(path)}' is {kind_of(base)} in what is inherited; list operators need a list"
        report(_fault("E314", message, change, "write the value itself", (("inherited from here", base),)))
        return base
    items = list(base.value)
    for name in LIST_OPERATORS:
        operand = change.value.get(name)
        if operand is None:
            continue
        if not operand.is_sequence:
            report(_fault("E314", f"{name} takes a list", operand, f"write {name}: […]"))
        elif name == "$append":
            items = items + list(operand.value)
        elif name == "$prepend":
            items = list(operand.value) + items
        else:
            items = _removed(items, operand, report, path)
    return Node(tuple(items), change.mark, change.key, "edit", base)


def _removed(items: list[Node], operand: Node, report: Report, path: Path) -> list[Node]:
    for unwanted in operand.value:
        kept = [item for item in items if item.plain() != unwanted.plain()]
        if len(kept) == len(items):
            message = f"'{_shown(unwanted)}' is not in '{dotted(path)}', so it cannot be removed"
            report(_fault("E312", message, unwanted, f"there are: {', '.join(map(_shown, items))}"))
        items = kept
    return items


def _replace(base: Node, change: Node, report: Report, path: Path) -> Node:
    new = fresh(change, report, path)
    if change.op == "matrix" or not _same(base.plain(), new.plain()):  # the other values of an axis do change it
        return new._replace(under=base)
    message = f"'{dotted(path)}' is already {_shown(base)}: this changes nothing"
    report(_fault("W315", message, change, "delete it", (("inherited from here", base),)))
    return new._replace(under=base)


def _same(one: object, other: object) -> bool:
    return one == other and type(one) is type(other)


def _shown(node: Node) -> str:
    value = node.value
    if node.is_sequence:
        return f"[{', '.join(map(_shown, value))}]"
    if node.is_mapping:
        return f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"


def _is_ref(node: Node) -> bool:
    return node.is_mapping and "$ref" in node.value


def _alone(name: str, other: str, node: Node) -> Diagnostic:
    return _fault("E313", f"{name} stands alone; '{other}' cannot stand beside it", node.value[other], "take one out")


def _differs(base: Node, change: Node, key: str) -> bool:
    before, after = base.value.get(key), change.value.get(key)
    return before is not None and after is not None and before.plain() != after.plain()


def _is_unset(node: Node) -> bool:
    return node.is_mapping and set(node.value) == {"$unset"} and node.value["$unset"].value is True


def _fault(code: str, message: str, node: Node, hint: str, related: Iterable[tuple[str, Node]] = ()) -> Diagnostic:
    places = tuple((text, other.mark.place()) for text, other in related)
    severity = "warning" if code.startswith("W") else "error"
    return Diagnostic(code, Exit.SPEC, message, node.mark.place(), hint, places, severity)


def put(base: Node, path: Path, value: Node) -> Node:
    """`base` with a value at a path, whole; the value remembers what it replaced."""
    if not path:
        return value._replace(under=base)
    entries = dict(base.value) if base.is_mapping else {}
    below = entries.get(path[0])
    if below is None:
        nested = value
        for key in reversed(path[1:]):
            nested = Node({key: nested}, value.mark, value.key)
        entries[path[0]] = nested
    else:
        entries[path[0]] = put(below, path[1:], value)
    return base._replace(value=entries)
