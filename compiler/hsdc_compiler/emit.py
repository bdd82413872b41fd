"""Pass 11: manifests and their provenance as bytes, and which files on disk they would change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, SupportsBytes

import msgspec

from hsdc_compiler.node import NESTED, Mark, Node, Source
from hsdc_schemas.digests import HOLE, Text, canonical_ready, ready, template
from hsdc_schemas.places import GENERATED


class Leaves(msgspec.Struct, frozen=True, gc=False):
    """Leaves of a tree as entries of canonical JSON, each a dotted path and its layers; and where each path stands."""

    places: dict[str, int]
    entries: list[bytes]

    def changed(self, changes: Mapping[str, bytes | None]) -> Leaves:
        """These leaves with some others; without those that are None."""
        if changes.keys() <= self.places.keys() and None not in changes.values():
            entries = self.entries.copy()
            for path, entry in changes.items():
                entries[self.places[path]] = entry or b""
            return Leaves(self.places, entries)
        found = {path: self.entries[place] for path, place in self.places.items() if path not in changes}
        found |= {path: entry for path, entry in changes.items() if entry is not None}
        paths = sorted(found, key=_utf16)
        return Leaves({path: place for place, path in enumerate(paths)}, [found[path] for path in paths])


def _utf16(path: str) -> bytes:
    """By which RFC 8785 sorts keys."""
    return path.encode("utf-16-be")


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

    def emit(
        self, run: str, manifest: Text, digest: str, tree: Node, prose: Mapping[str, str]
    ) -> dict[str, Text | Provenance]:
        """Paths relative to the root, and the texts of the files there."""
        base = f"{self.folder}/{run}"
        provenance = Provenance(self, tree, {**prose, "run": run, "manifest": digest})
        return {f"{base}.lock.json": manifest, f"{base}.provenance.json": provenance}

    def provenance(self, tree: Node, said: Mapping[str, str]) -> Text:
        """For every leaf of every section its layers, the winner first: file, line, operation, value."""
        sections, texts = tree.value, self._texts
        names, keys = tuple(sorted(sections)), sorted(said)
        fills = [canonical_ready(said[key]) for key in keys if key < "values"]
        for name in names:
            section = sections[name]
            fills.append(texts.get((name, _identity(section))) or self._text(name, section))
        fills += [canonical_ready(said[key]) for key in keys if key > "values"]
        return Text(_template(tuple(said), names), tuple(fills))

    def _text(self, name: str, section: Node) -> bytes:
        """The histories of a section's leaves as canonical JSON."""
        found = self._texts[name, _identity(section)] = b"{%b}" % b",".join(self._leaves(name, section).entries)
        return found

    def _leaves(self, name: str, section: Node) -> Leaves:
        """The leaves of a section: those of the one that it was merged on, but where it differs."""
        key = (name, _identity(section))
        found = self._known.get(key)
        if found is None:  # the section is kept, so that its identity stays its own
            under = section.under if section.op == "merge" else None
            merged = under is not None and type(under.value) is dict
            base = self._leaves(name, under) if under is not None and merged else Leaves({}, [])
            changes: dict[str, bytes | None] = {}
            _change(changes, name, under, section)
            found = self._known[key] = (section, base.changed(changes))
        return found[1]

    def there(self, path: str) -> bool:
        """Whether a file that this writes was there when the compilation began."""
        return path.rpartition("/")[2] in self._there

    def stale(self, files: Mapping[str, SupportsBytes]) -> list[str]:
        """The files whose bytes on disk are others than these."""
        return [path for path, text in files.items() if not self._holds(path, text)]

    def _holds(self, path: str, text: SupportsBytes) -> bool:
        if not self.there(path):
            return False
        try:
            with open(f"{self.root}/{path}", "rb", buffering=0) as file:  # noqa: PTH123 - half the time of Path.open
                return file.read() == bytes(text)
        except OSError:
            return False


class Provenance(msgspec.Struct, frozen=True, gc=False):
    """The history of a run's values, written down when it is asked for: where no file is, nobody compares it."""

    emitter: Emitter
    tree: Node
    said: Mapping[str, str]

    @property
    def text(self) -> Text:
        return self.emitter.provenance(self.tree, self.said)

    def __bytes__(self) -> bytes:
        return bytes(self.text)


@cache
def _template(said: tuple[str, ...], sections: tuple[str, ...]) -> bytes:
    return template({**dict.fromkeys(said, HOLE), "values": dict.fromkeys(sections, HOLE)}) + b"\n"


def _identity(node: Node) -> int:
    """What a node shares with others that hold the same: the mapping; a single value is shared by chance."""
    return id(node.value) if type(node.value) is dict else id(node)


def _change(leaves: dict[str, bytes | None], path: str, old: Node | None, new: Node) -> None:
    """Note how the leaves of a node become those of another one; a list, and an empty mapping, is one leaf."""
    before = old.value if old is not None and type(old.value) is dict else {}
    after = new.value if type(new.value) is dict else {}
    if old is not None and not before:
        leaves[path] = None
    known = new.touched is not None and new.under is old
    for name in new.touched or () if known else {**before, **after}:
        was, item = before.get(name), after.get(name, _NOTHING)
        if was is item:
            continue
        below = f"{path}.{name}"
        if type(item.value) is dict or (was is not None and type(was.value) is dict):
            _change(leaves, below, was, item)
        elif item is not _NOTHING:
            leaves[below] = _leaf(below, item)
        elif was is not None:
            leaves[below] = None
    if not after and new is not _NOTHING:
        leaves[path] = _leaf(path, new)


def _leaf(path: str, node: Node) -> bytes:
    layers = [_layer(layer) for layer in node.layers()] if node.under is not None else [_layer(node)]
    return b"%b:%b" % (canonical_ready(path), canonical_ready(layers))


def _layer(node: Node) -> list[Any]:
    """What set a value: file, line, operation, value."""
    value = node.value if type(node.value) not in NESTED else node.plain()
    if type(value) is int and abs(value) >= 2**53:
        value = str(value)  # JSON has no such number
    return [node.mark.source.path, node.mark.line, node.op, value if type(value) is str else ready(value)]
