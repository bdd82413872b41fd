"""Pass 11: manifests and their provenance as bytes, and which files on disk they would change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from hsdc_compiler.node import Node, dotted
from hsdc_schemas.digests import canonical_ready, ready
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.places import GENERATED


class Emitter:
    """Writes the runs of one compilation; the history of a section that runs share is written once."""

    def __init__(self, root: Path, profile: str) -> None:
        self.root, self.folder = root, f"{GENERATED}/{profile}"
        self._histories: dict[tuple[str, int], tuple[Node, msgspec.Raw]] = {}
        try:
            self._there = frozenset(os.listdir(root / self.folder))  # noqa: PTH208 - names alone
        except OSError:
            self._there = frozenset()

    def emit(self, manifest: Manifest, data: bytes, tree: Node, prose: dict[str, Any]) -> dict[str, bytes]:
        """Paths relative to the root, and the bytes of the files there.

        Provenance holds for every leaf of every section its layers, the winner first: file, line, operation, value.
        """
        base = f"{self.folder}/{manifest.run}"
        values = {name: self._history(name, node) for name, node in tree.value.items()}
        return {
            f"{base}.lock.json": data + b"\n",
            f"{base}.provenance.json": canonical_ready({**prose, "values": values}) + b"\n",
        }

    def _history(self, name: str, section: Node) -> msgspec.Raw:
        key = (name, id(section.value))
        found = self._histories.get(key)
        if found is None:  # the section is kept, so that its id stays its own
            layers = {
                dotted(path): [[n.mark.source.path, n.mark.line, n.op, ready(_value(n))] for n in node.layers()]
                for path, node in section.leaves((name,))
            }
            found = self._histories[key] = (section, msgspec.Raw(canonical_ready(layers)))
        return found[1]

    def stale(self, files: dict[str, bytes]) -> list[str]:
        """The files whose bytes on disk are others than these."""
        return [path for path, data in files.items() if not self._holds(path, data)]

    def _holds(self, path: str, data: bytes) -> bool:
        if path.rpartition("/")[2] not in self._there:
            return False
        try:
            with open(f"{self.root}/{path}", "rb", buffering=0) as file:  # noqa: PTH123 - half the time of Path.open
                return file.read() == data
        except OSError:
            return False


def _value(node: Node) -> Any:
    value = node.plain()
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)  # JSON has no such number
    return value
