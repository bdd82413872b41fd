"""`hsdc fmt`: bring spec files into one layout, or with `--check` name those that are not in it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hsdc.authoring import writable
from hsdc.terminal import plain, show_diagnostics
from hsdc_compiler.layout import layout
from hsdc_compiler.project import SPECS, Project, find_root
from hsdc_schemas.digests import write_atomically
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, fail, gravest


def execute(options: argparse.Namespace) -> int:
    """Format what can be formatted; files that cannot be are named, and left as they are."""
    root = find_root(Path.cwd())
    project = Project(root)
    faults: list[Diagnostic] = []
    count = changed = 0
    for path in _paths(root, options.files):
        try:
            before = project.read(path)
            target = writable(root, path)
            after = layout(path, before)
        except HsdcError as error:
            faults += error.diagnostics
            continue
        count += 1
        if after != before:
            changed += 1
            if not options.check:
                write_atomically(target, after)
            print(f"{'would change' if options.check else 'written'}: {plain(path)}")
    show_diagnostics(faults)
    if count or not faults:
        print(f"{count} spec{'' if count == 1 else 's'} {_outcome(changed, check=options.check)}")
    if faults:
        return int(gravest(faults))
    return int(Exit.NO if options.check and changed else Exit.DONE)


def _outcome(changed: int, *, check: bool) -> str:
    if check:
        return f"checked: {changed} would change" if changed else "checked: all in the layout"
    return f"in the layout, {changed} of them written" if changed else "in the layout already"


def _paths(root: Path, files: Sequence[str]) -> list[str]:
    """Paths of spec files from the root; all of `specs/` by default, all below for a folder."""
    found: dict[str, None] = {}
    top = Path(os.path.realpath(root))
    for name in files or (str(root / SPECS),):
        given = Path(name)
        full = Path(os.path.realpath(given.parent)) / given.name if given.name != ".." else given.resolve()
        if not full.is_relative_to(top / SPECS):
            raise fail("E003", Exit.SPEC, f"{name} is not in {SPECS}/ of this project", None, "hsdc formats specs only")
        if not full.is_dir() and not name.endswith(".yaml"):
            raise fail("E003", Exit.SPEC, f"{name} is not a .yaml file", None, "name spec files, or folders of them")
        if not os.path.lexists(full):
            raise fail("E003", Exit.SPEC, f"there is no file {name}", None, "name spec files, or folders of them")
        inner = _below(full) if full.is_dir() else iter((full,))
        found |= dict.fromkeys(path.relative_to(top).as_posix() for path in inner)
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    """The .yaml files below a folder; linked folders are not entered."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names) if name.endswith(".yaml"))
