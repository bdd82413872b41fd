"""The tree that passes work on: values that remember where they were written and what they replaced."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from hsdc_schemas.errors import Place

Scalar: TypeAlias = str | int | float | bool | None
Path: TypeAlias = tuple[str, ...]

REF = "ref"  # the operation of a value that came by a reference: marked where it is, its key where it is wanted
NESTED = frozenset((dict, tuple))


@lru_cache(maxsize=64)
def _lines(text: str) -> list[str]:
    return text.splitlines()


class Source(msgspec.Struct, frozen=True, gc=False):
    """A file of the project: its path relative to the root, and its text."""

    path: str
    text: str

    def line(self, number: int) -> str:
        """Line `number`, counted from 1, without its end."""
        lines = _lines(self.text)
        return lines[number - 1] if 0 < number <= len(lines) else ""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """Where something is written; line and columns count from 1, `end` is one past the last column."""

    source: Source
    line: int
    column: int
    end: int

    def place(self) -> Place:
        """The mark as a place of a diagnostic, with its line of source."""
        return Place(self.source.path, self.line, self.column, self.end, self.source.line(self.line))


class Node(msgspec.Struct, frozen=True, gc=False):
    """A value (scalar, tuple of nodes or dict of nodes) with its mark, the mark of its key, and its history.

    `under` is the node that this one replaced in a layer below, `op` the operation that put it here. `touched` are the
    keys in which a mapping may differ from `under`; None where that is not known.
    """

    value: Any
    mark: Mark
    key: Mark
    op: str = "set"
    under: Node | None = None
    touched: Collection[str] | None = None

    def _replace(self, **changes: Any) -> Node:
        if "value" in changes:
            changes["touched"] = None
        return msgspec.structs.replace(self, **changes)

    @property
    def is_mapping(self) -> bool:
        return type(self.value) is dict

    @property
    def is_sequence(self) -> bool:
        return type(self.value) is tuple

    def at(self, path: Path) -> Node | None:
        """The node under a path of keys, or None."""
        node: Node | None = self
        for key in path:
            node = node.value.get(key) if node is not None and type(node.value) is dict else None
        return node

    def nearest(self, path: Path) -> Node:
        """The node under the longest prefix of a path that exists."""
        node = self
        for key in path:
            if not node.is_mapping or key not in node.value:
                break
            node = node.value[key]
        return node

    def plain(self) -> Any:
        """The value without marks; sequences as tuples."""
        value = self.value
        kind = type(value)
        if kind is dict:
            return {key: v if type(v := item.value) not in NESTED else item.plain() for key, item in value.items()}
        if kind is tuple:
            return tuple([v if type(v := item.value) not in NESTED else item.plain() for item in value])
        return value

    def comparable(self) -> Hashable:
        """The value as something that a set may hold; `true` is no number."""
        value = self.value
        if type(value) is dict:
            return frozenset((key, item.comparable()) for key, item in value.items())
        if type(value) is tuple:
            return tuple([item.comparable() for item in value])
        return type(value) is bool, value

    def layers(self) -> Iterator[Node]:
        """This node and what it replaced, newest first."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.under

    def leaves(self, path: Path = ()) -> Iterator[tuple[Path, Node]]:
        """Every leaf with its path; a sequence, and an empty mapping, is one leaf."""
        if type(self.value) is dict and self.value:
            for key, item in self.value.items():
                if type(item.value) is dict and item.value:
                    yield from item.leaves((*path, key))
                else:
                    yield (*path, key), item
        else:
            yield path, self


def dotted(path: Path) -> str:
    """A path as people write it."""
    return ".".join(path)


def kind_of(node: Node) -> str:
    """The kind of a node, in words."""
    if node.is_mapping:
        return "a mapping"
    return "a list" if node.is_sequence else "a single value"
