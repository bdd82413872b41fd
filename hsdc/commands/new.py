"""`hsdc new`: the spec of a run that extends another; the compiler counts its factors, and that is its budget."""

from __future__ import annotations

import argparse
import os
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
from hsdc.terminal import show_diagnostics
from hsdc_compiler.edit import Written, assign, place_in_spec, prose, value_of
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import SPECS, Project, find_root
from hsdc_schemas.digests import write_atomically
from hsdc_schemas.errors import Exit, fail, gravest
from hsdc_schemas.secrets import require_no_secrets

START = """\
# yaml-language-server: $schema=../schemas/spec.schema.json
hsdc: 1
run: {run}
extends: {parent}
budget: 0
"""
OF_OTHER_OPTIONS = {
    "title": "write --title '…'",
    "why": "write --why '…'",
    "extends": "write --from RUN",
    "budget": "it is counted; change it afterwards with hsdc set",
}


def execute(options: argparse.Namespace) -> int:
    """Put the spec together, count its factors, compile it in memory, and write when that brings no error."""
    root = find_root(Path.cwd())
    path = f"{SPECS}/{options.run}.yaml"
    given = assignments(options.values)
    _possible(root, path, options, given)
    target = writable(root, path)
    data = _spec(path, options, given)
    require_no_secrets(path, data)
    counted = compile_project(root, [options.run], profile=options.profile, lock=False, overlay={path: data})
    differing = changed_factors(counted, options.run)
    data = _top(path, data, "budget", value_of(("budget",), str(len(differing))))
    compilation = compile_project(root, [options.run], profile=options.profile, lock=False, overlay={path: data})
    found = concerning(compilation, Project(root, {path: data}), options.run)
    show_diagnostics(with_hint(found, {"E803": "add --why '…', one sentence"}))
    if code := gravest(found):
        print("nothing written")
        return int(code)
    if options.run not in compilation.resolved:
        hint = f"choose one of them: hsdc ls shows the runs of '{options.parent}'"
        raise fail("E004", Exit.SPEC, f"'{options.parent}' stands for several runs", None, hint)
    write_atomically(target, data)
    print(f"written: {path}")
    print(in_words(differing, options.parent))
    print(f"next: {compile_command(options.run, options.profile)}")
    return int(Exit.DONE)


def _possible(root: Path, path: str, options: argparse.Namespace, given: Assignments) -> None:
    """The run is new, and only changes are given as changes."""
    if os.path.lexists(root / path):
        hint = f"choose another name, or change it: hsdc set {options.run} PATH=VALUE"
        raise fail("E009", Exit.SPEC, f"{path} is there already", None, hint)
    for keys, _ in given:
        if keys[0] in OF_OTHER_OPTIONS:
            raise fail("E008", Exit.SPEC, f"'{keys[0]}' is no change", None, OF_OTHER_OPTIONS[keys[0]])


def _spec(path: str, options: argparse.Namespace, given: Assignments) -> bytes:
    data = START.format(run=options.run, parent=options.parent).encode()
    for key, text in (("title", options.title), ("why", options.why)):
        if text.strip():
            data = _top(path, data, key, prose((key,), text))
    for keys, value in given:
        data = assign(path, data, place_in_spec(keys, derived=True), value)
    return data


def _top(path: str, data: bytes, key: str, value: Written) -> bytes:
    return assign(path, data, (key,), value)
