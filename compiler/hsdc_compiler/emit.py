"""Pass 10: manifests and their provenance as bytes, and which files on disk they would change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsdc_compiler.node import Node, dotted
from hsdc_compiler.project import GENERATED
from hsdc_schemas.digests import canonical
from hsdc_schemas.factors import essence
from hsdc_schemas.manifest import Manifest


def emit(manifest: Manifest, tree: Node, prose: dict[str, Any]) -> dict[str, bytes]:
    """Paths relative to the root, and the bytes of the files there."""
    base = f"{GENERATED}/{manifest.profile}/{manifest.run}"
    return {
        f"{base}.lock.json": canonical(essence(manifest)) + b"\n",
        f"{base}.provenance.json": canonical(_provenance(tree, prose)) + b"\n",
    }


def _provenance(tree: Node, prose: dict[str, Any]) -> dict[str, Any]:
    layers = {}
    for path, node in tree.leaves():
        layers[dotted(path)] = [
            {"file": layer.mark.source.path, "line": layer.mark.line, "op": layer.op, "value": _value(layer)}
            for layer in node.layers()
        ]
    return {**prose, "values": layers}


def _value(node: Node) -> Any:
    value = node.plain()
    return list(value) if isinstance(value, tuple) else value


def stale_files(root: Path, files: dict[str, bytes]) -> list[str]:
    """The files whose bytes on disk are others than these."""
    return [path for path, data in files.items() if not _holds(root / path, data)]


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False
