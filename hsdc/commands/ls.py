"""`hsdc ls`: the runs as a tree of inheritance, each with its state."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hsdc.origins import title_of
from hsdc.output import cut, holds, say, say_json
from hsdc.terminal import columns, show_diagnostics, style
from hsdc_compiler.compilation import Compilation, Compiled
from hsdc_compiler.node import dotted
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import Project, find_root
from hsdc_schemas.errors import Exit, HsdcError
from hsdc_schemas.factors import factors
from hsdc_schemas.manifest import load_sealed
from hsdc_schemas.places import GENERATED
from hsdc_schemas.record import Record, counts_of
from hsdc_schemas.scores import parse_metric

BRANCHES = {True: ("├─ ", "└─ ", "│  ", "   "), False: ("|- ", "`- ", "|  ", "   ")}
METRIC = "overall.f1_macro"
WIDEST_TITLE = 60
STYLES = {"finished": "good", "stale": "warning", "faulty": "error", "no inputs": "warning", "locked": "bold"}


@dataclass(frozen=True)
class Row:
    """A run as it is listed."""

    name: str
    parent: str | None
    title: str
    state: str
    factors: tuple[str, ...] | None
    budget: int | None
    metric: float | None
    notes: tuple[str, ...]

    @property
    def lineage(self) -> str:
        """How much it changes of what it may, or that it is a root."""
        if self.parent is None:
            return "root"
        if self.factors is None:
            return ""
        return f"{len(self.factors)} of {'?' if self.budget is None else self.budget}"


def execute(options: argparse.Namespace) -> int:
    """List every run."""
    root = find_root(Path.cwd())
    compilation = compile_project(root, profile=options.profile, check_only=True)
    show_diagnostics(compilation.diagnostics)
    rows = _rows(root, compilation)
    if options.json:
        say_json(_as_json(compilation, rows))
    else:
        say(_tree(rows, options.profile))
    return int(compilation.exit) if compilation.exit in (Exit.SPEC, Exit.POLICY, Exit.FAULT) else 0


def _rows(root: Path, compilation: Compilation) -> dict[str, Row]:
    project = Project(root)
    compiled = {run.name: run for run in compilation.runs}
    known = dict.fromkeys([*compiled, *compilation.resolved])
    families = {name.split(".")[0] for name in known if "." in name}  # of a matrix only its runs are listed
    names = sorted({*known, *(name for name in project.runs if name not in families)})
    return {name: _row(root, project, compilation, name, compiled.get(name)) for name in names}


def _row(root: Path, project: Project, compilation: Compilation, name: str, run: Compiled | None) -> Row:
    title = title_of(project, name)
    if run is None:
        return _without_manifest(project, compilation, name, title)
    record = _record(root, compilation.profile, name)
    manifest = f"{GENERATED}/{compilation.profile}/{name}.lock.json"
    notes = [f"inputs absent: {', '.join(run.not_read)}"] if run.not_read else []
    metric = None
    if manifest in run.stale:
        state = "stale" if (root / manifest).exists() else "new"
    elif record is not None and record.manifest == run.digest:
        state, metric = "finished", _metric(record)
    else:
        state = "locked"
    if run.stale and manifest not in run.stale:
        notes.append("provenance out of date")
    if run.equal_to:
        notes.append(f"the same experiment as {run.equal_to}")
    return Row(name, run.parent, title, state, tuple(map(dotted, run.factors)), run.budget, metric, tuple(notes))


def _without_manifest(project: Project, compilation: Compilation, name: str, title: str) -> Row:
    header = _header(project, name)
    parent, budget = header.get("extends"), header.get("budget")
    found = compilation.resolved.get(name)
    above = compilation.resolved.get(found.parent or "") if found is not None else None
    changed = None
    if found is not None and above is not None:
        changed = tuple(dotted(path) for path in factors(above.experiment, found.experiment))
    state = _unlocked(project, compilation, name)
    parent = found.parent if found is not None else parent if isinstance(parent, str) else None
    return Row(name, parent, title, state, changed, budget if isinstance(budget, int) else None, None, ())


def _header(project: Project, name: str) -> dict[str, object]:
    family = name if name in project.runs else name.split(".")[0]
    try:
        entries = project.run(family).node.value
    except (HsdcError, KeyError):
        return {}
    return {key: entries[key].value for key in ("extends", "budget") if key in entries}


def _unlocked(project: Project, compilation: Compilation, name: str) -> str:
    """Why a run has no manifest: its own faults, those of others, or inputs that cannot be read."""
    faults = [fault for fault in compilation.diagnostics if fault.severity == "error" and fault.place is not None]
    own = project.runs.get(name.split(".")[0])
    if name not in compilation.resolved or any(fault.place.path == own for fault in faults if fault.place):
        return "faulty"
    return "no inputs" if compilation.exit in (Exit.ENVIRONMENT, Exit.NO) else "not checked"


def _record(root: Path, profile: str, name: str) -> Record | None:
    path = f"{GENERATED}/{profile}/{name}.record.json"
    try:
        return load_sealed(root / path, path, Record)
    except HsdcError:
        return None


def _metric(record: Record) -> float | None:
    """The figure of the decisions as they were trained, as reports and claims mean it."""
    try:
        return next(iter(counts_of(record).values())).figure(parse_metric(METRIC)).value
    except (KeyError, ValueError, StopIteration):
        return None


def _tree(rows: Mapping[str, Row], profile: str) -> list[str]:
    signs = BRANCHES[holds(sys.stdout, "".join(BRANCHES[True]))]
    table = [("run", "factors", "F1 macro", "state", "title")]
    listed = list(_walk(rows, None, "", signs))
    listed += [("", name) for name in rows if name not in {name for _, name in listed}]  # of a circle
    for start, name in listed:
        row = rows[name]
        notes = f"  ({cut('; '.join(row.notes), WIDEST_TITLE)})" if row.notes else ""
        metric = f"{row.metric:.4f}" if row.metric is not None else ""
        title = f"{cut(row.title, WIDEST_TITLE)}{notes}"
        table.append((f"{start}{cut(name, WIDEST_TITLE)}", row.lineage, metric, row.state, title))
    lines = columns(table)
    column = lines[0].index("state")
    for number, (_, name) in enumerate(listed, start=1):
        state, line = rows[name].state, lines[number]
        if state in STYLES:
            lines[number] = line[:column] + style(state, STYLES[state], sys.stdout) + line[column + len(state) :]
    states: dict[str, int] = {}
    for row in rows.values():
        states[row.state] = states.get(row.state, 0) + 1
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return [*lines, f"{len(rows)} run{'s' * (len(rows) != 1)}, profile {profile}: {counts or 'none'}"]


def _walk(rows: Mapping[str, Row], parent: str | None, pad: str, signs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Runs below a parent, each with the branches before its name; whose parent is unknown stands at the top."""
    heirs = [name for name, row in rows.items() if (row.parent if row.parent in rows else None) == parent]
    for name in heirs:
        last = name == heirs[-1]
        branch, further = ("", "") if parent is None else (signs[1 if last else 0], signs[3 if last else 2])
        yield pad + branch, name
        yield from _walk(rows, name, pad + further, signs)


def _as_json(compilation: Compilation, rows: Mapping[str, Row]) -> dict[str, object]:
    def listed(row: Row) -> dict[str, object]:
        return {
            "run": row.name,
            "extends": row.parent,
            "title": row.title,
            "state": row.state,
            "factors": None if row.factors is None else list(row.factors),
            "budget": row.budget,
            METRIC: row.metric,
            "notes": list(row.notes),
        }

    diagnostics = [diagnostic.as_json() for diagnostic in compilation.diagnostics]
    return {
        "version": 1,
        "profile": compilation.profile,
        "runs": [listed(row) for row in rows.values()],
        "diagnostics": diagnostics,
    }
