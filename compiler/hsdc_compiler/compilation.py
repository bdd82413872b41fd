"""What a compilation comes to, as values: runs, what was resolved, and every diagnostic."""

from __future__ import annotations

from dataclasses import dataclass, field

from hsdc_compiler.changes import Change
from hsdc_compiler.node import Node
from hsdc_compiler.node import Path as KeyPath
from hsdc_schemas.errors import Diagnostic, Exit, gravest
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.spec import Experiment


@dataclass(frozen=True)
class Compiled:
    """One run after compilation: its manifest and how it differs from the one on disk."""

    name: str
    manifest: Manifest
    parent: str | None
    factors: tuple[KeyPath, ...]
    budget: int | None
    equal_to: str | None
    files: dict[str, bytes]
    stale: tuple[str, ...]
    changes: tuple[Change, ...]
    not_read: tuple[str, ...]
    tree: Node


@dataclass(frozen=True)
class Resolution:
    """One run before its inputs are locked: what its specs say, slots not yet filled, and the tree that comes of it."""

    parent: str | None
    written: Node
    tree: Node
    experiment: Experiment


@dataclass(frozen=True)
class Compilation:
    """What a compilation found: runs in order of their names, and every diagnostic, sorted."""

    profile: str
    runs: tuple[Compiled, ...]
    diagnostics: tuple[Diagnostic, ...]
    orphans: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    sources: str = ""
    inputs: dict[str, list[int]] = field(default_factory=dict)
    resolved: dict[str, Resolution] = field(default_factory=dict)

    @property
    def exit(self) -> Exit:
        return gravest(self.diagnostics)
