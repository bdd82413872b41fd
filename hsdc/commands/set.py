"""`hsdc set`: change values in a run's spec; everything else in the file stays byte for byte."""

from __future__ import annotations

import argparse
from pathlib import Path

from hsdc.authoring import (
    Assignments,
    assignments,
    changed_factors,
    compile_command,
    concerning,
    in_words,
    with_hint,
    writable,
)
from hsdc.terminal import columns, plain, show_diagnostics
from hsdc_compiler.edit import assign, place_in_spec
from hsdc_compiler.node import Node, dotted
from hsdc_compiler.parse import parse
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import Project, find_root
from hsdc_schemas.digests import write_atomically
from hsdc_schemas.errors import Exit, did_you_mean, fail, gravest
from hsdc_schemas.secrets import require_no_secrets


def execute(options: argparse.Namespace) -> int:
    """Set the values, compile in memory, and write when that brings no error."""
    root = find_root(Path.cwd())
    given = assignments(options.values)
    project = Project(root)
    if options.run not in project.runs:
        file = options.run.partition(".")[0]
        hint = did_you_mean(file, project.runs)
        if file in project.runs:
            hint = f"set it in '{file}', whose matrix makes such runs"
        raise fail("E004", Exit.SPEC, f"there is no run '{options.run}'", None, hint)
    path = project.runs[options.run]
    before = project.read(path)
    target = writable(root, path)
    after = _assigned(path, before, given)
    if after == before:
        print(f"{path}: nothing to change")
        return int(Exit.DONE)
    require_no_secrets(path, after)
    compilation = compile_project(root, [options.run], profile=options.profile, lock=False, overlay={path: after})
    differing = changed_factors(compilation, options.run)
    hints = {
        "E801": f"take a change back, or allow for it in the same call: budget={len(differing)}",
        "E802": f"set it in the same call: budget={len(differing)}",
        "E803": "set it in the same call: why='…', one sentence",
    }
    found = concerning(compilation, Project(root, {path: after}), options.run)
    show_diagnostics(with_hint(found, hints))
    if code := gravest(found):
        print(f"{path}: nothing written")
        return int(code)
    write_atomically(target, after)
    print(f"written: {path}")
    print("\n".join(columns(_rows(given, parse(path, before), parse(path, after)))))
    if parent := compilation.resolved[options.run].parent if options.run in compilation.resolved else None:
        print(in_words(differing, parent))
    print(f"next: {compile_command(options.run, options.profile)}")
    return int(Exit.DONE)


def _assigned(path: str, data: bytes, given: Assignments) -> bytes:
    for keys, value in given:
        data = assign(path, data, place_in_spec(keys, derived=_is_derived(parse(path, data))), value)
    return data


def _is_derived(tree: Node) -> bool:
    extends = tree.at(("extends",))
    return extends is not None and extends.value is not None


def _rows(given: Assignments, before: Node, after: Node) -> list[tuple[str, str]]:
    rows = []
    for keys, value in given:
        old = before.at(place_in_spec(keys, derived=_is_derived(after)))
        shown = f"{_spelt(old)} → {value.block}" if old is not None else value.block
        rows.append((f"  {plain(dotted(keys))}", plain(shown)))
    return rows


def _spelt(node: Node) -> str:
    """A value as its author spelt it, on one line."""
    if node.is_mapping:
        return "{" + ", ".join(f"{key}: {_spelt(item)}" for key, item in node.value.items()) + "}"
    if node.is_sequence:
        return "[" + ", ".join(map(_spelt, node.value)) + "]"
    text = node.mark.source.line(node.mark.line)[node.mark.column - 1 : node.mark.end - 1]
    return text if text.strip() and text[0] not in "|>" else str(node.value).strip()
