"""The compiler from end to end: the passes in their order, in straight lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hsdc_compiler.bind import Bound, bind
from hsdc_compiler.budget import Side, budget
from hsdc_compiler.cache import InputCache
from hsdc_compiler.changes import Change, changes
from hsdc_compiler.check import check
from hsdc_compiler.committed import committed_manifest, orphans, protected, set_record_aside, with_committed
from hsdc_compiler.emit import emit, stale_files
from hsdc_compiler.hub import fetch
from hsdc_compiler.inherit import Header, Layered, inherit
from hsdc_compiler.lock import Locker
from hsdc_compiler.lower import Resolved, lower
from hsdc_compiler.node import Node
from hsdc_compiler.node import Path as KeyPath
from hsdc_compiler.project import HEADERS, Document, Project, locked_packages
from hsdc_compiler.refs import refs
from hsdc_compiler.rules import rules
from hsdc_schemas.digests import write_atomically
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, did_you_mean, gravest, sorted_diagnostics
from hsdc_schemas.factors import essence
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.scores import known_metrics
from hsdc_schemas.spec import SLOTS, Experiment, Profile

DEFAULT_PROFILE = "demo"


@dataclass(frozen=True)
class Compiled:
    """One run after compilation: its manifest and how it differs from the one on disk."""

    name: str
    manifest: Manifest
    parent: str | None
    factors: tuple[KeyPath, ...]
    budget: int | None
    equal_to: str | None
    files: dict[str, bytes]
    stale: tuple[str, ...]
    changes: tuple[Change, ...]
    not_read: tuple[str, ...]


@dataclass(frozen=True)
class Compilation:
    """What a compilation found: runs in order of their names, and every diagnostic, sorted."""

    profile: str
    runs: tuple[Compiled, ...]
    diagnostics: tuple[Diagnostic, ...]
    orphans: tuple[str, ...] = ()
    written: tuple[str, ...] = ()

    @property
    def exit(self) -> Exit:
        return gravest(self.diagnostics)


@dataclass
class _Session:
    """What the steps of one compilation share."""

    project: Project
    profile_name: str
    profile: Profile
    locker: Locker
    packages: dict[str, str]
    faults: list[Diagnostic] = field(default_factory=list)


def compile_project(
    root: Path,
    names: Iterable[str] = (),
    *,
    profile: str = DEFAULT_PROFILE,
    check_only: bool = False,
    rehash: bool = False,
) -> Compilation:
    """Compile all runs, or those named with their ancestors; writes nothing. `write` puts the result on disk.

    With `check_only`, an input that is absent is taken from the committed manifest and named in `not_read`.
    """
    project = Project(root)
    cache = InputCache(root, rehash=rehash)
    session = _Session(
        project, profile, Profile(), Locker(root, cache, None if check_only else fetch), locked_packages(project)
    )
    wanted = _wanted(project, names)
    documents = _documents(session, project.runs)
    if _broken(session):
        return Compilation(profile, (), sorted_diagnostics(session.faults))
    session.profile = _profile(session)
    layered, faults = inherit(documents)
    session.faults += faults
    keep = _with_ancestors(wanted or tuple(project.runs), layered)
    resolved: dict[str, tuple[Side, Resolved]] = {}
    for name in keep:
        _resolve(session, layered[name], resolved)
    compiled = []
    if not _broken(session):
        for name in sorted(set(wanted or layered) & set(resolved)):
            run = _lock_and_lower(session, layered[name], resolved, check_only=check_only)
            if run is not None:
                compiled.append(run)
    cache.save()
    gone = () if wanted else orphans(root, profile, project.runs)
    return Compilation(profile, tuple(compiled), sorted_diagnostics(session.faults), gone)


def write(root: Path, compilation: Compilation, *, supersede: bool = False) -> Compilation:
    """Put what changed on disk, unless a spec or a policy forbids it."""
    if compilation.exit in (Exit.SPEC, Exit.POLICY, Exit.FAULT):
        return compilation
    faults = list(compilation.diagnostics)
    for run in compilation.runs:
        if run.stale and not supersede:
            faults += protected(root, compilation.profile, run.name, run.changes)
    if gravest(faults) is Exit.POLICY:
        return Compilation(compilation.profile, compilation.runs, sorted_diagnostics(faults), compilation.orphans)
    written = []
    for run in compilation.runs:
        if run.stale and protected(root, compilation.profile, run.name, run.changes):
            written.append(set_record_aside(root, compilation.profile, run.name))
        for path in run.stale:
            write_atomically(root / path, run.files[path])
            written.append(path)
    for path in compilation.orphans:
        (root / path).unlink(missing_ok=True)
    return Compilation(
        compilation.profile, compilation.runs, sorted_diagnostics(faults), compilation.orphans, tuple(written)
    )


def _broken(session: _Session) -> bool:
    return gravest(session.faults) in (Exit.SPEC, Exit.POLICY)


def _wanted(project: Project, names: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in project.runs]
    if unknown:
        faults = [
            Diagnostic("E004", Exit.SPEC, f"there is no run '{n}'", None, did_you_mean(n, project.runs))
            for n in unknown
        ]
        raise HsdcError(faults)
    return wanted


def _documents(session: _Session, names: Iterable[str]) -> dict[str, Document]:
    documents = {}
    for name in names:
        try:
            documents[name] = session.project.run(name)
        except HsdcError as error:
            session.faults += error.diagnostics
    return documents


def _profile(session: _Session) -> Profile:
    document = session.project.profile(session.profile_name)
    entries = {key: item for key, item in document.node.value.items() if key not in ("hsdc", "profile")}
    profile, faults = check(document.node._replace(value=entries), Profile)
    session.faults += faults
    for slot, table in (profile.bind if profile else {}).items():
        known = session.project.names(SLOTS[slot][0]) if slot in SLOTS else ()
        if slot not in SLOTS:
            key = document.node.nearest(("bind", slot)).key.place()
            session.faults.append(
                Diagnostic("E205", Exit.SPEC, f"'{slot}' is not a slot", key, did_you_mean(slot, SLOTS))
            )
        for named in table:
            if slot in SLOTS and named not in known:
                key = document.node.nearest(("bind", slot, named)).key.place()
                message = f"there is no {slot} component '{named}' to stand in for"
                session.faults.append(Diagnostic("E303", Exit.SPEC, message, key, did_you_mean(named, known)))
    return profile or Profile()


def _with_ancestors(names: Iterable[str], layered: dict[str, Layered]) -> list[str]:
    needed: set[str] = set()
    for name in names:
        current: str | None = name
        while current is not None and current in layered:
            needed.add(current)
            current = layered[current].parent
    return [name for name in layered if name in needed]


def _resolve(session: _Session, run: Layered, resolved: dict[str, tuple[Side, Resolved]]) -> None:
    """Bind, resolve references, check, apply rules and the budget; a run with faults is left out."""
    before = len(session.faults)
    header, faults = check(run.header, Header)
    session.faults += faults
    bound: Bound = bind(run.tree, session.profile, session.project.component, session.faults.append)
    tree = refs(bound.tree, session.faults.append)
    if any(fault.severity == "error" for fault in session.faults[before:]):
        return
    experiment, faults = check(tree, Experiment, HEADERS)
    session.faults += faults
    if experiment is None or header is None:
        return
    session.faults += rules(experiment, tree)
    session.faults += _claim(session, header, run.header, experiment)
    side = Side(run.name, experiment, tree)
    resolved[run.name] = (side, Resolved(run.name, run.parent, experiment, bound.components, header.reproduces))
    if run.parent is not None and run.parent in resolved:
        session.faults += budget(side, resolved[run.parent][0], run.header)[1]


def _claim(session: _Session, header: Header, node: Node, experiment: Experiment) -> list[Diagnostic]:
    """What a run says it reproduces exists, and is something that it computes."""
    claim, faults = header.reproduces, []
    if claim is None:
        return []
    if claim.run not in session.project.runs or claim.run == header.run:
        place = node.nearest(("reproduces", "run")).mark.place()
        hint = did_you_mean(claim.run, [name for name in session.project.runs if name != header.run])
        faults.append(Diagnostic("E309", Exit.SPEC, f"there is no other run '{claim.run}' to reproduce", place, hint))
    known = known_metrics({name: head.labels for name, head in experiment.heads.items()})
    if claim.metric is not None and claim.metric not in known:
        place = node.nearest(("reproduces", "metric")).mark.place()
        faults.append(
            Diagnostic(
                "E708",
                Exit.SPEC,
                f"'{claim.metric}' is not a metric of this run",
                place,
                did_you_mean(claim.metric, known),
            )
        )
    return faults


def _lock_and_lower(
    session: _Session, run: Layered, resolved: dict[str, tuple[Side, Resolved]], *, check_only: bool
) -> Compiled | None:
    side, ready = resolved[run.name]
    root = session.project.root
    committed = committed_manifest(root, session.profile_name, run.name)
    inputs, faults = session.locker.lock(side.experiment)
    not_read: tuple[str, ...] = ()
    if faults and check_only and committed is not None and gravest(faults) is Exit.ENVIRONMENT:
        inputs, not_read = with_committed(inputs, committed)
        faults = [] if len(inputs) == len(side.experiment.dataset.splits) + 1 else faults
    if faults:
        session.faults += faults
        return None
    manifest = lower(ready, session.profile_name, session.profile.execution, inputs, session.packages)
    entries = run.document.node.value
    prose = {key: str(entries[key].value) for key in ("title", "why", "notes") if key in entries}
    files = emit(manifest, side.tree, {**prose, "run": run.name, "manifest": manifest.digest})
    stale = tuple(stale_files(root, files))
    found = tuple(changes(committed, manifest, side.tree)) if committed is not None and stale else ()
    parent = resolved.get(run.parent or "")
    factors = budget(side, parent[0], run.header)[0] if parent else ()
    equal = run.parent if parent and essence(parent[1].experiment) == essence(side.experiment) else None
    declared = run.header.at(("budget",))
    allowed = declared.value if declared is not None else None
    return Compiled(run.name, manifest, run.parent, factors, allowed, equal, files, stale, found, not_read)
