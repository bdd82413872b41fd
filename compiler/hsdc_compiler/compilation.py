"""What a compilation comes to, as values: runs, what was resolved, and every diagnostic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hsdc_compiler.changes import Change
from hsdc_compiler.node import Node
from hsdc_compiler.node import Path as KeyPath
from hsdc_schemas.digests import Text
from hsdc_schemas.errors import Diagnostic, Exit, gravest
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.spec import Experiment


class Compiled(NamedTuple):
    """One run after compilation: its manifest and how it differs from the one on disk.

    `method` is the answer method where the profile chose it; `texts` are the files that it stands for, by path, and
    `stale` those that are others on disk.
    """

    name: str
    digest: str
    experiment_digest: str
    typed: Callable[[], Manifest]
    parent: str | None
    factors: tuple[KeyPath, ...]
    budget: int | None
    equal_to: str | None
    method: str | None
    texts: Mapping[str, Text]
    stale: tuple[str, ...]
    changes: tuple[Change, ...]
    not_read: tuple[str, ...]
    tree: Node

    @property
    def manifest(self) -> Manifest:
        """The manifest as a value."""
        return self.typed()

    @property
    def files(self) -> dict[str, bytes]:
        """The files as bytes."""
        return {path: bytes(text) for path, text in self.texts.items()}


class Resolution(NamedTuple):
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
