"""`hsdc diff`: what a change of specs does to values, stages and finished records."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from hsdc import diff_view
from hsdc.diff_json import as_json
from hsdc.output import inert, say, say_json
from hsdc.terminal import show_diagnostics
from hsdc_compiler.diff import diff
from hsdc_compiler.project import find_root
from hsdc_compiler.sides import read_sides
from hsdc_compiler.state import read_records
from hsdc_schemas.errors import Exit, fail, gravest


def execute(options: argparse.Namespace) -> int:
    """Compare two sides and say what differs; 1 with `--exit-code` where something does."""
    gc.disable()  # as a compilation does, and for the same reason
    root = find_root(Path.cwd())
    old, new, apart = revisions(options.revisions)
    sides = read_sides(root, old, new, options.profile, apart=apart)
    found = diff(*sides, options.profile, read_records(root, options.profile))
    if options.json:
        say_json(as_json(found))
    elif options.markdown:
        say([diff_view.markdown(found).rstrip()])
    else:
        say(diff_view.text(found))
    sys.stdout.flush()
    incomplete = "; the comparison is incomplete" if found.not_compared else ""
    for side in sides:
        if side.faults:
            print(inert(f"{side.shown} has faults{incomplete}:"), file=sys.stderr)
            show_diagnostics(side.faults)
    absent = [fault for fault in sides[0].faults if fault.exit is Exit.ENVIRONMENT]  # a state before may be broken
    if sides[1].faults or absent:
        return int(gravest([*sides[1].faults, *absent]))
    return int(Exit.NO) if options.exit_code and found.differs else 0


def revisions(asked: str) -> tuple[str, str | None, bool]:
    """The old revision, the new one (None: the working tree), and whether old is where the two parted."""
    for dots in ("...", ".."):
        old, found, new = asked.partition(dots)
        if found:
            if ".." in new:
                raise fail("E452", Exit.SPEC, f"'{asked}' is no range", hint="write BASE...HEAD or BASE..HEAD")
            return old or "HEAD", new or "HEAD", dots == "..."
    return asked, None, False
