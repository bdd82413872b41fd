"""Pass 11: manifests and their provenance as bytes, and which files on disk they would change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hsdc_compiler.node import Node, dotted
from hsdc_compiler.project import GENERATED
from hsdc_schemas.digests import canonical, canonical_ready
from hsdc_schemas.manifest import Manifest


class Emitter:
    """Writes the runs of one compilation; the history of a value that runs share is written once."""

    def __init__(self) -> None:
        self._histories: dict[int, tuple[Node, msgspec.Raw]] = {}

    def emit(self, manifest: Manifest, data: bytes, tree: Node, prose: dict[str, Any]) -> dict[str, bytes]:
        """Paths relative to the root, and the bytes of the files there.

        Provenance holds for every leaf its layers, the winner first: file, line, operation, value.
        """
        base = f"{GENERATED}/{manifest.profile}/{manifest.run}"
        values = {dotted(path): self._history(node) for path, node in tree.leaves()}
        return {
            f"{base}.lock.json": data + b"\n",
            f"{base}.provenance.json": canonical_ready({**prose, "values": values}) + b"\n",
        }

    def _history(self, node: Node) -> msgspec.Raw:
        found = self._histories.get(id(node))
        if found is None:  # the node is kept, so that its id stays its own
            layers = [[n.mark.source.path, n.mark.line, n.op, _value(n)] for n in node.layers()]
            found = self._histories[id(node)] = (node, msgspec.Raw(canonical(layers)))
        return found[1]


def _value(node: Node) -> Any:
    value = node.plain()
    if isinstance(value, int) and abs(value) >= 2**53:
        return float(value)  # as canonical JSON, and a field for numbers, holds it
    return value


def stale_files(root: Path, files: dict[str, bytes]) -> list[str]:
    """The files whose bytes on disk are others than these."""
    return [path for path, data in files.items() if not _holds(root / path, data)]


def _holds(path: Path, data: bytes) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - half the time of Path.open
            return file.read() == data
    except FileNotFoundError:
        return False
