"""A Python file as its syntax tree tells it: what it imports, reads and says. No code of ours runs here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

PACKAGES = {
    "hsdc_schemas": PurePosixPath("schemas/hsdc_schemas"),
    "hsdc_compiler": PurePosixPath("compiler/hsdc_compiler"),
    "hsdc_runtime": PurePosixPath("runtime/hsdc_runtime"),
    "hsdc": PurePosixPath("hsdc"),
}


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the root, with slashes, and its text."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(ast.parse(self.text, self.path)))

    @cached_property
    def package(self) -> str | None:
        """The import package that the file is in; None for tests and benchmarks."""
        here = PurePosixPath(self.path)
        return next((name for name, folder in PACKAGES.items() if here.is_relative_to(folder)), None)

    @cached_property
    def module(self) -> tuple[str, ...]:
        """The dotted name as parts; a package's `__init__` keeps that last part."""
        here = PurePosixPath(self.path).with_suffix("")
        return here.parts if self.package is None else (self.package, *here.relative_to(PACKAGES[self.package]).parts)

    @cached_property
    def imports(self) -> tuple[tuple[int, str], ...]:
        """(line, dotted name) of every import, wherever it stands; `from a import b` gives `a.b`."""
        places = ((getattr(node, "lineno", 0), node) for node in self.nodes)
        return tuple((line, name) for line, node in places for name in self._imported(node))

    def _imported(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join([*self.module[: -node.level], *filter(None, [node.module])]) if node.level else node.module
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and _last(node.func) in {"import_module", "__import__"}:
            yield from _leading_text(node.args[0])

    @cached_property
    def reads(self) -> tuple[tuple[int, str], ...]:
        """(line, name) of the names and attributes read: `sys.exit` under any alias, `print` unless bound here."""
        imported = [alias for node in self.nodes if isinstance(node, ast.Import) for alias in node.names]
        modules = {alias.asname or alias.name: alias.name for alias in imported}
        bound = {node.arg for node in self.nodes if isinstance(node, ast.arg)}
        names = [node for node in self.nodes if isinstance(node, ast.Name)]
        bound |= {node.id for node in names if not isinstance(node.ctx, ast.Load)}
        found = [*self.imports, *((node.lineno, node.id) for node in names if node.id not in bound)]
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found.append((node.lineno, f"{modules.get(node.value.id, node.value.id)}.{node.attr}"))
        return tuple(found)

    @cached_property
    def strings(self) -> tuple[tuple[int, str], ...]:
        """(line, text) of every string but docstrings and other strings that stand alone."""
        alone = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        return tuple(
            (node.lineno, node.value)
            for node in self.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
        )


def _last(func: ast.expr) -> str:
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""


def _leading_text(argument: ast.expr) -> Iterator[str]:
    """What of a dynamically imported name is written down: the text, or an f-string's first part."""
    if isinstance(argument, ast.JoinedStr) and argument.values:
        argument = argument.values[0]
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value
