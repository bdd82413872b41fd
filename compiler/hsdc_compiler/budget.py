"""Pass 7: how many factors a derived run changes, against how many it says it changes."""

from __future__ import annotations

import msgspec

from hsdc_compiler.node import Node, Path, dotted
from hsdc_schemas.errors import Diagnostic, Exit, Place
from hsdc_schemas.factors import factors
from hsdc_schemas.spec import Experiment

MAX_SHOWN = 20


class Side(msgspec.Struct, frozen=True, gc=False):
    """A resolved run: its typed experiment, the tree that it came from, and the paths that no budget counts."""

    name: str
    experiment: Experiment
    tree: Node
    free: tuple[Path, ...] = ()


def budget(child: Side, parent: Side, header: Node) -> tuple[tuple[Path, ...], list[Diagnostic]]:
    """The factors in which a child differs from its parent, and the faults of its budget."""
    changed = tuple(path for path in factors(parent.experiment, child.experiment) if path not in child.free)
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
    for path in changed[:MAX_SHOWN]:
        before, after = parent.tree.at(path), child.tree.at(path)
        unset = f", which {parent.name!r} does not set," if before is None else ""
        if after is None:
            section = child.tree.nearest(path)
            taken = (section.mark if section is child.tree else section.key).place()
            related.append((f"{dotted(path)} is taken out here", taken))
        else:
            related.append((f"{dotted(path)}{unset} is set here", after.key.place()))
        if before is not None:
            related.append((f"{dotted(path)} in {parent.name!r}", before.key.place()))
    if len(changed) > MAX_SHOWN:
        related.append((f"and {len(changed) - MAX_SHOWN} more", None))
    hint = "take a change back, or raise the budget and say why"
    return Diagnostic("E801", Exit.POLICY, message, declared.mark.place(), hint, tuple(related))
