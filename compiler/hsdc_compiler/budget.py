"""Pass 7: how many factors a derived run changes, against how many it says it changes."""

from __future__ import annotations

from dataclasses import dataclass

from hsdc_compiler.node import Node, Path, dotted
from hsdc_schemas.errors import Diagnostic, Exit, Place
from hsdc_schemas.factors import factors
from hsdc_schemas.spec import Experiment


@dataclass(frozen=True)
class Side:
    """A resolved run: its name, its typed experiment and the tree that it came from."""

    name: str
    experiment: Experiment
    tree: Node


def budget(child: Side, parent: Side, header: Node) -> tuple[tuple[Path, ...], list[Diagnostic]]:
    """The factors in which a child differs from its parent, and the faults of its budget."""
    changed = tuple(factors(parent.experiment, child.experiment))
    declared = header.at(("budget",))
    if declared is None or type(declared.value) is not int:
        hint = f"add 'budget: {len(changed)}', the most factors that may differ from '{parent.name}'"
        place = header.nearest(("extends",)).key.place()
        return changed, [Diagnostic("E802", Exit.SPEC, "a derived run declares its budget", place, hint)]
    faults = []
    why = header.at(("why",))
    if changed and (why is None or not str(why.value).strip()):
        message = "a run that changes something says why"
        faults.append(Diagnostic("E803", Exit.SPEC, message, declared.key.place(), "add 'why: …', one sentence"))
    if len(changed) > declared.value:
        faults.append(_over(child, parent, declared, changed))
    return changed, faults


def _over(child: Side, parent: Side, declared: Node, changed: tuple[Path, ...]) -> Diagnostic:
    count = f"{len(changed)} factor{'s' if len(changed) != 1 else ''}"
    message = f"'{child.name}' differs from '{parent.name}' in {count}; its budget is {declared.value}"
    related: list[tuple[str, Place | None]] = []
    for path in changed:
        before, after = _place(parent.tree, path), _place(child.tree, path)
        related.append((f"{dotted(path)}{'' if before else f', the default in {parent.name!r},'} is set here", after))
        if before:
            related.append((f"{dotted(path)} in '{parent.name}'", before))
    hint = "take a change back, or raise the budget and say why"
    return Diagnostic("E801", Exit.POLICY, message, declared.mark.place(), hint, tuple(related))


def _place(tree: Node, path: Path) -> Place | None:
    """Where a value is written, or the nearest section around it; None where it is left to the schema."""
    node = tree.nearest(path)
    return node.key.place() if node is not tree else None
