"""What a compilation comes to, as values: runs, what was resolved, and every diagnostic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, SupportsBytes

import msgspec

from hsdc_compiler.changes import Change
from hsdc_compiler.node import Mark, Node, Source
from hsdc_compiler.node import Path as KeyPath
from hsdc_compiler.stamp import Seen, Stat
from hsdc_schemas.errors import Diagnostic, Exit, gravest
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.spec import Experiment

NOWHERE = Node({}, Mark(Source("", ""), 1, 1, 2), Mark(Source("", ""), 1, 1, 2))


class Made(msgspec.Struct, frozen=True, gc=False):
    """What a run was made from: specs and components; the runs that it stands on; files and folders of its inputs.

    `makers` are runs that make rows of its data set.
    """

    sources: tuple[str, ...]
    runs: tuple[str, ...]
    makers: tuple[str, ...]
    inputs: tuple[str, ...]


class Trace(NamedTuple):
    """What a compilation of all runs was made from: hsdc itself, and files as they were before they were read.

    `everywhere` are the sources that all runs depend on.
    """

    code: str
    everywhere: tuple[str, ...]
    sources: Mapping[str, Seen]
    inputs: Mapping[str, Stat]


class OnDisk(NamedTuple):
    """The text of a file that is as a compilation left it."""

    path: str

    def __bytes__(self) -> bytes:
        return Path(self.path).read_bytes()


class Compiled(msgspec.Struct, frozen=True, gc=False):
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
    texts: Mapping[str, SupportsBytes]
    stale: tuple[str, ...]
    changes: tuple[Change, ...]
    not_read: tuple[str, ...]
    tree: Node  # NOWHERE, of a run that is as it was left
    made: Made

    @property
    def manifest(self) -> Manifest:
        """The manifest as a value."""
        return self.typed()

    @property
    def files(self) -> dict[str, bytes]:
        """The files as bytes."""
        return {path: bytes(text) for path, text in self.texts.items()}


class Resolution(msgspec.Struct, frozen=True, gc=False):
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
    trace: Trace | None = None
    resolved: dict[str, Resolution] = field(default_factory=dict)

    @property
    def exit(self) -> Exit:
        return gravest(self.diagnostics)


def reached(names: Iterable[str], steps: Mapping[str, Iterable[str]]) -> set[str]:
    """Some names, and those that steps lead to."""
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += steps.get(name, ())
    return found
