"""`hsdc compile`: specs to locked manifests, or with `--check` what is stale and why."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from hsdc.output import fitting, inert, method_note, say, say_json
from hsdc.terminal import columns, show_diagnostics, without_secrets
from hsdc_compiler.compilation import Compilation, Compiled
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import SPECS, find_root
from hsdc_compiler.publish import write
from hsdc_compiler.recompile import recompile
from hsdc_schemas.digests import short
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail
from hsdc_schemas.places import GENERATED


def execute(options: argparse.Namespace) -> int:
    """Compile, write unless asked not to, and say what changed."""
    if options.format == "text":
        return _execute(options)
    if options.json:
        raise fail("E000", Exit.SPEC, f"--json and --format {options.format} both write to stdout", None, "choose one")
    try:
        return _execute(options)
    except HsdcError as error:
        _show_formatted(options.format, error.diagnostics, int(error.exit))
        return int(error.exit)


def _execute(options: argparse.Namespace) -> int:
    gc.disable()  # a compilation keeps what it makes to its end; looking for cycles in it is a third of the time
    root = find_root(Path.cwd())
    if options.runs or options.rehash:
        compilation = compile_project(
            root, options.runs, profile=options.profile, check_only=options.check, rehash=options.rehash
        )
    else:
        compilation = recompile(root, profile=options.profile, check_only=options.check)
    if not options.check:
        require_inside(root, options.profile)
        compilation = write(root, compilation, supersede=options.supersede)
    stale = [run for run in compilation.runs if run.stale] if options.check else []
    code = int(compilation.exit)
    if options.check and (stale or compilation.orphans) and compilation.exit is Exit.DONE:
        code = int(Exit.NO)
    if options.format == "text":
        show_diagnostics(compilation.diagnostics)
    else:
        found = (*compilation.diagnostics, *(_staleness(compilation, stale) if options.check else ()))
        _show_formatted(options.format, found, code, root)
    if options.format == "sarif":
        return code
    if options.json:
        say_json(_as_json(compilation))
    elif options.check:
        _show_check(compilation, stale)
    else:
        _show_written(compilation)
    return code


def require_inside(root: Path, profile: str) -> None:
    """Nothing is written, or removed, through a link that leads out of the project."""
    path = f"{GENERATED}/{profile}"
    if not (root / path).resolve().is_relative_to(root.resolve()):
        message = f"{path} is a link that leads out of the project"
        raise fail("E003", Exit.SPEC, message, None, "put a folder there")


def _show_formatted(form: str, diagnostics: Sequence[Diagnostic], code: int, root: Path | None = None) -> None:
    from hsdc.formats import repository_folder, sarif, workflow_commands

    diagnostics = without_secrets(diagnostics)
    folder = repository_folder(root) if root is not None else ""
    if form == "sarif":
        say_json(sarif(diagnostics, code, folder))
        return
    for line in workflow_commands(diagnostics, folder):
        print(fitting(line, sys.stdout))


def _staleness(compilation: Compilation, stale: list[Compiled]) -> list[Diagnostic]:
    """What `--check` says no to, as diagnostics at the specs."""
    found = []
    for run in stale:
        place = next((change.place for change in run.changes if change.place.startswith(SPECS)), "")
        path, _, line = place.rpartition(":")
        where = Place(path, int(line)) if line.isdecimal() else Place(f"{SPECS}/{run.name.split('.')[0]}.yaml", 1)
        message = f"'{run.name}' is stale: {'; '.join(reasons(run))}"
        found.append(Diagnostic("E505", Exit.NO, message, where, "hsdc compile"))
    for path in compilation.orphans:
        found.append(Diagnostic("E505", Exit.NO, f"{path}: its run is gone", Place(path, 1), "hsdc compile"))
    return found


def _show_written(compilation: Compilation) -> None:
    if compilation.exit in (Exit.SPEC, Exit.POLICY, Exit.FAULT):
        print(f"nothing written; profile {compilation.profile}")
        return
    paths = frozenset(compilation.written)
    print("\n".join(columns([_row(run, paths) for run in compilation.runs])))
    written = sum(not paths.isdisjoint(run.texts) for run in compilation.runs)
    unchanged = len(compilation.runs) - written
    count = f"{_runs(len(compilation.runs))} compiled for profile {compilation.profile}"
    print(f"{count}: {written} written, {unchanged} unchanged")
    for path in compilation.orphans:
        print(f"removed {path}: its run is gone")


def _row(run: Compiled, written: frozenset[str]) -> tuple[str, ...]:
    lineage = f"{run.parent} + {len(run.factors)} of {run.budget}" if run.parent else "root"
    state = "unchanged" if written.isdisjoint(run.texts) else "written"
    notes = [f"the same experiment as {run.equal_to}"] if run.equal_to else []
    if run.method is not None:
        notes.append(method_note(run.method))
    return f"  {run.name}", lineage, short(run.experiment_digest), state, "; ".join(notes)


def _show_check(compilation: Compilation, stale: list[Compiled]) -> None:
    groups: dict[tuple[str, ...], list[str]] = {}
    for run in stale:
        groups.setdefault(reasons(run), []).append(run.name)
    for lines, names in groups.items():
        print(f"stale: {', '.join(names)}")
        say(f"  {inert(line)}" for line in lines)
    for path in compilation.orphans:
        print(f"stale: {path}\n  its run is gone")
    for run in compilation.runs:
        if run.not_read:
            print(f"{run.name}: {', '.join(run.not_read)} absent here, not read again")
    fresh = len(compilation.runs) - len(stale)
    print(
        f"{_runs(len(compilation.runs))} checked for profile {compilation.profile}: {fresh} fresh, {len(stale)} stale"
    )


def reasons(run: Compiled) -> tuple[str, ...]:
    """Why a manifest is stale, one line each."""
    if run.changes:
        return tuple(change.line() for change in run.changes)
    if any(path.endswith(".lock.json") for path in run.stale):
        return ("there is no intact manifest",)
    return ("only its provenance (titles, notes, places in the specs) changes",)


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def _as_json(compilation: Compilation) -> dict[str, object]:
    return {
        "version": 1,
        "profile": compilation.profile,
        "exit": int(compilation.exit),
        "runs": [
            {
                "run": run.name,
                "extends": run.parent,
                "factors": [".".join(path) for path in run.factors],
                "budget": run.budget,
                "experiment_digest": run.experiment_digest,
                "manifest": run.digest,
                "same_experiment_as": run.equal_to,
                "stale": list(run.stale),
                "changes": [change.line() for change in run.changes],
                "not_read_again": list(run.not_read),
            }
            for run in compilation.runs
        ],
        "orphans": list(compilation.orphans),
        "written": list(compilation.written),
        "diagnostics": [diagnostic.as_json() for diagnostic in without_secrets(compilation.diagnostics)],
    }
