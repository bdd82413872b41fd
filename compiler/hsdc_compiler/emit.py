"""Pass 11: manifests and their provenance as bytes, and which files on disk they would change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hsdc_compiler.node import Mark, Node, Scalar, Source
from hsdc_schemas.digests import HOLE, Text, canonical_ready, ready, template
from hsdc_schemas.places import GENERATED

Leaves = dict[str, bytes]
"""Leaves of a tree by their dotted paths, each as an entry of canonical JSON: the path and its layers."""


_NOTHING = Node(None, Mark(Source("", ""), 0, 0, 0), Mark(Source("", ""), 0, 0, 0))


class Emitter:
    """Writes the runs of one compilation; what they share of the history of their values is written once."""

    def __init__(self, root: Path, profile: str) -> None:
        self.root, self.folder = root, f"{GENERATED}/{profile}"
        self._texts: dict[tuple[str, int], bytes] = {}
        self._known: dict[tuple[str, int], tuple[Node, Leaves]] = {}
        try:
            self._there = frozenset(os.listdir(root / self.folder))  # noqa: PTH208 - names alone
        except OSError:
            self._there = frozenset()

    def emit(self, run: str, manifest: Text, digest: str, tree: Node, prose: Mapping[str, str]) -> dict[str, Text]:
        """Paths relative to the root, and the texts of the files there.

        Provenance holds for every leaf of every section its layers, the winner first: file, line, operation, value.
        """
        base = f"{self.folder}/{run}"
        said = {**prose, "run": run, "manifest": digest}
        names = tuple(sorted(tree.value))
        fills = [canonical_ready(said[key]) for key in sorted(said) if key < "values"]
        fills += [self._histories(name, tree.value[name]) for name in names]
        fills += [canonical_ready(said[key]) for key in sorted(said) if key > "values"]
        return {
            f"{base}.lock.json": Text(manifest.template + b"\n", manifest.fills),
            f"{base}.provenance.json": Text(_template(tuple(said), names), tuple(fills)),
        }

    def _histories(self, name: str, section: Node) -> bytes:
        """The histories of a section's leaves as canonical JSON."""
        key = (name, _identity(section))
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = self._text(name, section)
        return found

    def _text(self, name: str, section: Node) -> bytes:
        leaves = self._leaves(name, section)
        text = b",".join([leaves[path] for path in sorted(leaves)])
        if not text.isascii():  # RFC 8785 sorts keys as UTF-16
            text = b",".join([leaves[path] for path in sorted(leaves, key=lambda path: path.encode("utf-16-be"))])
        return b"{%b}" % text

    def _leaves(self, name: str, section: Node) -> Leaves:
        """The leaves of a section: those of the one that it was merged on, but where it differs."""
        key = (name, _identity(section))
        found = self._known.get(key)
        if found is None:  # the section is kept, so that its identity stays its own
            leaves: Leaves = {}
            under = section.under if section.op == "merge" else None
            if under is not None and under.is_mapping:
                leaves = dict(self._leaves(name, under))
            _change(leaves, name, under, section)
            found = self._known[key] = (section, leaves)
        return found[1]

    def there(self, path: str) -> bool:
        """Whether a file that this writes was there when the compilation began."""
        return path.rpartition("/")[2] in self._there

    def stale(self, files: Mapping[str, Text]) -> list[str]:
        """The files whose bytes on disk are others than these."""
        return [path for path, text in files.items() if not self._holds(path, text)]

    def _holds(self, path: str, text: Text) -> bool:
        if not self.there(path):
            return False
        try:
            with open(f"{self.root}/{path}", "rb", buffering=0) as file:  # noqa: PTH123 - half the time of Path.open
                return file.read() == bytes(text)
        except OSError:
            return False


@cache
def _template(said: tuple[str, ...], sections: tuple[str, ...]) -> bytes:
    return template({**dict.fromkeys(said, HOLE), "values": dict.fromkeys(sections, HOLE)}) + b"\n"


def _identity(node: Node) -> int:
    """What a node shares with others that hold the same: the mapping; a single value is shared by chance."""
    return id(node.value) if type(node.value) is dict else id(node)


def _change(leaves: Leaves, path: str, old: Node | None, new: Node) -> None:
    """Make the leaves of a node those of another one; a list, and an empty mapping, is one leaf."""
    if old is new:
        return
    before = old.value if old is not None and old.is_mapping else {}
    after = new.value if new.is_mapping else {}
    if old is not None and not before:
        leaves.pop(path, None)
    for name, item in before.items():
        if name not in after:
            _change(leaves, f"{path}.{name}", item, _NOTHING)
    for name, item in after.items():
        was = before.get(name)
        if was is item:
            continue
        if type(item.value) is dict or (was is not None and type(was.value) is dict):
            _change(leaves, f"{path}.{name}", was, item)
        else:
            leaves[f"{path}.{name}"] = _leaf(f"{path}.{name}", item)
    if not after and new is not _NOTHING:
        leaves[path] = _leaf(path, new)


def _leaf(path: str, node: Node) -> bytes:
    return b"%b:[%b]" % (_scalar(path), b",".join(map(_layer, node.layers())) if node.under else _layer(node))


def _layer(node: Node) -> bytes:
    """What set a value, as canonical JSON: file, line, operation, value."""
    value = _canonical(node.plain()) if type(node.value) in (dict, tuple) else _scalar(node.value)
    return b"[%b,%d,%b,%b]" % (_scalar(node.mark.source.path), node.mark.line, _scalar(node.op), value)


@lru_cache(maxsize=4096, typed=True)
def _scalar(value: Scalar) -> bytes:
    return _canonical(value)


def _canonical(value: Any) -> bytes:
    if isinstance(value, int) and abs(value) >= 2**53:
        value = str(value)  # JSON has no such number
    return canonical_ready(ready(value))
