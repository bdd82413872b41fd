"""Layer on layer: mappings merge deep, scalars and lists replace, operators do the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from hsdc_compiler.node import NESTED, Node, Path, dotted, kind_of
from hsdc_schemas.errors import Diagnostic, Exit, did_you_mean
from hsdc_schemas.factors import has_variants
from hsdc_schemas.spec import SLOTS

OPERATORS = frozenset(("$replace", "$unset", "$append", "$prepend", "$remove", "$literal"))
KNOWN = OPERATORS | {"$ref"}
LIST_OPERATORS = ("$remove", "$prepend", "$append")
DROPPING = frozenset(("kind", "use"))  # keys whose change drops what was inherited beside them, where they mean that

MAX_FAULTS = 100  # of one kind, in one list
MOST_SHOWN = 20  # entries of a list, in a message
LONGEST_SHOWN = 120

FAULT = "fault"  # the operation of a node that stands for one already reported

Report = Callable[[Diagnostic], None]


def merge(base: Node, change: Node, report: Report, path: Path = ()) -> Node:
    """`base` with `change` on top; shares what did not change, and every new node remembers what it replaced."""
    was, now = type(base.value), type(change.value)
    if was is dict and now is dict and KNOWN.isdisjoint(change.value) and "$ref" not in base.value:
        stranger = _stranger(change, base)
        if stranger is None:
            return _merged(base, change, report, path)
        report(stranger)
        return base
    if was not in NESTED and now not in NESTED:
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
    if (stranger := _stranger(change, base)) is not None:
        report(stranger)
        return base
    if base.is_mapping != change.is_mapping or base.is_sequence != change.is_sequence:
        hint = _way_out(base, change)
        message = f"'{dotted(path)}' is {kind_of(base)} in what is inherited, and {kind_of(change)} here"
        report(_fault("E311", message, change, hint, (("inherited from here", base),)))
        return base
    return _replace(base, change, report, path)


def _merged(base: Node, change: Node, report: Report, path: Path) -> Node:
    """Two mappings without operators, key by key; another variant drops what there was of the first."""
    if not DROPPING.isdisjoint(change.value) and any(_drops(base, change, key, path) for key in DROPPING):
        return fresh(change, report, path)._replace(under=base, op="replace")
    merged = dict(base.value)
    for key, item in change.value.items():
        below, old = (*path, key), merged.get(key)
        if type(item.value) is dict and "$unset" in item.value and _is_unset(item):
            if old is not None:
                del merged[key]
                continue
            message = f"'{dotted(below)}' is not there, so it cannot be unset"
            report(_fault("E312", message, item, "delete this line"))
        else:
            merged[key] = merge(old, item, report, below) if old is not None else fresh(item, report, below)
    return Node(merged, change.mark, change.key, "merge", base, change.value)


def fresh(node: Node, report: Report, path: Path = ()) -> Node:
    """A node that stands on nothing: `$literal` and `$replace` are unwrapped, other operators are faults."""
    if type(node.value) is not dict:
        return node
    if (stranger := _stranger(node)) is not None:
        report(stranger)
        return Node(None, node.mark, node.key, FAULT)
    if OPERATORS.isdisjoint(node.value):
        inner = [(key, item) for key, item in node.value.items() if type(item.value) is dict]
        made = {key: new for key, item in inner if (new := fresh(item, report, (*path, key))) is not item}
        return node._replace(value={**node.value, **made}) if made else node
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
    left = {item.comparable() for item in items}
    strangers = []
    for item in operand.value:
        if item.comparable() not in left:
            strangers.append(item)
        left.discard(item.comparable())
    kept = [item for item in items if item.comparable() in left]
    for item in strangers[:MAX_FAULTS]:
        message = f"'{_shown(item)}' is not in '{dotted(path)}', so it cannot be removed"
        there = [*map(_shown, kept[:MOST_SHOWN]), *["…"] * (len(kept) > MOST_SHOWN)]
        report(_fault("E312", message, item, f"there are: {', '.join(there)}" if there else "nothing is left in it"))
    return kept


def _replace(base: Node, change: Node, report: Report, path: Path) -> Node:
    new = fresh(change, report, path)
    if change.op == "matrix" or not _same(base, new):  # the other values of an axis do change it
        return Node(new.value, new.mark, new.key, new.op, base)
    message = f"'{dotted(path)}' is already {_shown(base)}: this changes nothing"
    report(_fault("W315", message, change, "delete it", (("inherited from here", base),)))
    return new._replace(under=base)


def _same(one: Node, other: Node) -> bool:
    if type(one.value) is not type(other.value):
        return False
    return bool(one.value == other.value) if type(one.value) not in NESTED else bool(one.plain() == other.plain())


def _shown(node: Node) -> str:
    value = node.value
    if node.is_sequence:
        more = ", …" * (len(value) > MOST_SHOWN)
        return f"[{', '.join(map(_shown, value[:MOST_SHOWN]))}{more}]"
    if node.is_mapping:
        return f"{{{', '.join(f'{key}: {_shown(item)}' for key, item in islice(value.items(), MOST_SHOWN))}}}"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _is_ref(node: Node) -> bool:
    return node.is_mapping and "$ref" in node.value


def _alone(name: str, other: str, node: Node) -> Diagnostic:
    return _fault("E313", f"{name} stands alone; '{other}' cannot stand beside it", node.value[other], "take one out")


def _stranger(node: Node, base: Node | None = None) -> Diagnostic | None:
    """A fault where a key can only be meant as an operator, and is none: beside a list, or nearly one's name."""
    if type(node.value) is not dict or len(node.value) != 1:
        return None
    key, item = next(iter(node.value.items()))
    if not key.startswith("$") or key in KNOWN:
        return None
    hint = did_you_mean(key.lower()[:60], KNOWN)
    if not hint.startswith("did") and not (base is not None and base.is_sequence):
        return None
    return Diagnostic("E313", Exit.SPEC, f"there is no operator '{key[:60]}'", item.key.place(), hint)


def _way_out(base: Node, change: Node) -> str:
    """How what was meant is written: a component or a variant by its name alone, or what replaces all."""
    if base.is_mapping and isinstance(change.value, str):
        for key in ("use", "kind"):
            if key in base.value:
                return f"write {{{key}: {change.value[:60]}}}"
    return f"to put {kind_of(change)} here, write {{$replace: …}}"


def _drops(base: Node, change: Node, key: str, path: Path) -> bool:
    before, after = base.value.get(key), change.value.get(key)
    if before is None or after is None or before.plain() == after.plain():
        return False
    return has_variants(path) if key == "kind" else len(path) == 1 and path[0] in SLOTS


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
