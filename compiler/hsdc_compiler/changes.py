"""How two manifests of one run differ, in words: values, inputs, environment, and the stages that must run again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hsdc_compiler.node import Node, dotted
from hsdc_schemas.digests import short
from hsdc_schemas.factors import ABSENT, changed_leaves, essence
from hsdc_schemas.manifest import Input, Manifest
from hsdc_schemas.stages import for_keys

LONGEST = 120  # characters of a value in a line


@dataclass(frozen=True)
class Change:
    """One difference: what kind, which value, before and after, and where the new one is written."""

    kind: str
    path: str
    before: str
    after: str
    place: str = ""

    def line(self) -> str:
        """The change on one line."""
        place = f"  ({self.place})" if self.place else ""
        before, after = _around(self.before, self.after)
        return f"{self.kind} {self.path}: {before} → {after}{place}"


def _around(before: str, after: str) -> tuple[str, str]:
    """Two texts as they are, or of long ones what is around the first difference."""
    if max(len(before), len(after)) <= LONGEST:
        return before, after
    pairs = enumerate(zip(before, after, strict=False))
    same = next((i for i, (one, other) in pairs if one != other), min(len(before), len(after)))
    start = max(0, same - LONGEST // 3)
    return _cut(before, start), _cut(after, start)


def _cut(text: str, start: int) -> str:
    end = start + LONGEST
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def changes(old: Manifest, new: Manifest, tree: Node) -> list[Change]:
    """Every difference that makes a manifest stale; `tree` says where the new values are written."""
    found = []
    for path, before, after in changed_leaves(essence(old.experiment), essence(new.experiment)):
        node = tree.at(path)
        place = f"{node.mark.source.path}:{node.mark.line}" if node is not None else "the schema's default"
        found.append(Change("value", dotted(path), _shown(before), _shown(after), place))
    found += _execution(essence(old.execution), essence(new.execution), f"specs/profiles/{new.profile}.yaml")
    for path, before, after in changed_leaves(essence(old.reproduces), essence(new.reproduces)):
        found.append(Change("claim", dotted(("reproduces", *path)), _shown(before), _shown(after)))
    for path, before, after in changed_leaves(essence(old.components), essence(new.components)):
        found.append(Change("component", dotted(path), _shown(before), _shown(after)))
    found += _inputs(old, new)
    for name in sorted({*old.packages, *new.packages}):
        before, after = old.packages.get(name, "(absent)"), new.packages.get(name, "(absent)")
        if before != after:
            found.append(Change("package", name, before, after, "locks/runtime.txt"))
    keys = {stage.name: stage.key for stage in old.stages}
    again = [stage.name for stage in new.stages if keys.get(stage.name) != stage.key]
    if again and not found:
        found.append(Change("stages", "implementation", "another revision", ", ".join(again)))
    return found


def _execution(old: dict[str, Any], new: dict[str, Any], place: str) -> list[Change]:
    """What decides results, and settings, which do not."""
    deciding = {path for path, _, _ in changed_leaves(for_keys(old), for_keys(new))}
    return [
        Change("execution" if path in deciding else "setting", dotted(path), _shown(before), _shown(after), place)
        for path, before, after in changed_leaves(old, new)
    ]


def _inputs(old: Manifest, new: Manifest) -> list[Change]:
    found = []
    before = {item.name: item for item in old.inputs}
    for item in new.inputs:
        was = before.pop(item.name, None)
        if was is None or was.digest != item.digest:
            found.append(Change("input", item.name, _input(was), _input(item), _files(was, item)))
        elif was != item:
            found.append(Change("input", item.name, f"from {was.source}", f"from {item.source}", "the same bytes"))
    return found + [Change("input", name, _input(item), "(absent)") for name, item in before.items()]


def _files(old: Input | None, new: Input) -> str:
    if old is None:
        return new.source
    digests = {file.path: file.digest for file in old.files}
    changed = [file.path for file in new.files if digests.get(file.path) != file.digest]
    return f"{new.source}: {', '.join(changed)}" if new.name == "model" else new.source


def _input(item: Input | None) -> str:
    if item is None:
        return "(absent)"
    rows = f", {item.rows:,} rows" if item.rows is not None else ""
    return f"{short(item.digest)}{rows}"


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "(absent)"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return str(value)
