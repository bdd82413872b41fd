"""The compiler from end to end: the passes in their order, in straight lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import Path, PurePath

from hsdc_compiler.bind import Bound, bind, bindings, of_slots
from hsdc_compiler.budget import Side, budget
from hsdc_compiler.cache import InputCache
from hsdc_compiler.check import check
from hsdc_compiler.committed import orphans
from hsdc_compiler.compilation import Compilation, Compiled, Resolution, Trace
from hsdc_compiler.expand import expand
from hsdc_compiler.hub import fetch
from hsdc_compiler.inherit import Header, Layered, inherit, stands_on
from hsdc_compiler.lock import Locker
from hsdc_compiler.lower import Resolved
from hsdc_compiler.manifests import Manifests
from hsdc_compiler.node import Node
from hsdc_compiler.node import Path as KeyPath
from hsdc_compiler.project import HEADERS, LOCK, SPECS, Document, Project, locked_packages, spec_of
from hsdc_compiler.refs import refs
from hsdc_compiler.rules import claim, held_against, rules
from hsdc_compiler.session import Checked, Session
from hsdc_compiler.stamp import LOCAL, own_code
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, did_you_mean, gravest, sorted_diagnostics
from hsdc_schemas.spec import EXPERIMENTS, Experiment, Profile

DEFAULT_PROFILE = "demo"
UNLOCKED = Diagnostic(
    "W012",
    Exit.SPEC,
    f"there is no {LOCK}, so manifests do not lock the packages that stages run with",
    hint=f"write the versions of the environment that runs: pip freeze >{LOCK}",
    severity="warning",
)


def compile_project(
    root: Path,
    names: Iterable[str] = (),
    *,
    profile: str = DEFAULT_PROFILE,
    check_only: bool = False,
    rehash: bool = False,
    lock: bool = True,
    locker: Locker | None = None,
    partial: bool = False,
    overlay: Mapping[str, bytes] | None = None,
    settled: Mapping[str, tuple[str, ...]] | None = None,
) -> Compilation:
    """Compile all runs, or those named with their ancestors; writes nothing. `write` puts the result on disk.

    With `check_only`, an input that is absent is taken from the committed manifest and named in `not_read`.
    Without `lock`, no input is read and no manifest made: `resolved` is all there is.
    `locker` reads the inputs in its own way; with `partial`, sound runs are compiled beside faulty ones.
    `overlay` holds specs, by path, that count as if they were on disk. `settled` are specs, with the names of their
    runs, that are compiled already: they are read only where other runs stand on them.
    """
    code, settled = own_code(), settled or {}
    project = Project(root, overlay)
    locker = locker or Locker(root, InputCache(root, rehash=rehash), None if check_only else fetch)
    session = Session(project, profile, Profile(), locker, locked_packages(project))
    if lock and not partial and not session.packages:
        session.faults.append(UNLOCKED)
    wanted, layered = _read(session, names, settled)
    resolved = _resolve_all(session, layered, _with_ancestors(wanted, layered), partial=partial)
    compiled: list[Compiled] = []
    if lock and (partial or not _broken(session)):
        compiled = _lower_all(session, layered, resolved, sorted(layered.keys() & wanted), check_only=check_only)
    locker.cache.save()
    gone = () if names else orphans(root, profile, session.names)
    diagnostics = sorted_diagnostics((*session.faults, *project.warnings))
    compiled = [run for run in compiled if run.name in wanted or not settled]
    if lock and not partial and gravest(diagnostics) is Exit.DONE:
        _none_is_lost(wanted, compiled)
    trace = None if names or overlay or not lock else _trace(session, code)
    return Compilation(profile, tuple(compiled), diagnostics, gone, (), trace, _resolutions(layered, resolved))


def _read(
    session: Session, names: Iterable[str], settled: Mapping[str, tuple[str, ...]]
) -> tuple[Set[str], dict[str, Layered]]:
    """The runs that are asked for, and all runs on their parents; the session learns its names and its profile."""
    documents, unread = _documents(session, settled)
    session.names = dict.fromkeys((*documents, *(name for runs in settled.values() for name in runs)))
    wanted = _wanted(session.project, documents, names) or {n for n in documents if spec_of(n) not in settled}
    session.profile = _profile(session)
    layered, faults = inherit(documents, unread)
    session.faults += faults
    return wanted, layered


def _resolve_all(
    session: Session,
    layered: dict[str, Layered],
    names: Iterable[str],
    *,
    partial: bool,
    known: dict[str, Checked] | None = None,
) -> dict[str, Checked]:
    """The runs that could be resolved, parents first; with `partial`, those without a fault of their own."""
    resolved: dict[str, Checked] = {} if known is None else known
    for name in names:
        if name in resolved:
            continue
        before = len(session.faults)
        _resolve(session, layered[name], resolved)
        if partial and gravest(session.faults[before:]) is Exit.SPEC:
            resolved.pop(name, None)
    return resolved


def _lower_all(
    session: Session,
    layered: dict[str, Layered],
    resolved: dict[str, Checked],
    names: Iterable[str],
    *,
    check_only: bool,
) -> list[Compiled]:
    """The manifests of runs, and of those that make rows for them."""

    def resolve(name: str) -> None:
        _resolve_all(session, layered, _with_ancestors([name], layered), partial=False, known=resolved)

    return Manifests(session, layered, resolved, resolve, check_only=check_only).of(names)


def _none_is_lost(wanted: Set[str], compiled: Iterable[Compiled]) -> None:
    if lost := wanted - {run.name for run in compiled}:
        raise RuntimeError(f"runs are lost, and nothing says why: {sorted(lost)}")


def _trace(session: Session, code: str) -> Trace:
    everywhere = (*LOCAL, f"{SPECS}/profiles/{session.profile_name}.yaml")
    return Trace(code, everywhere, session.project.seen, session.locker.cache.used)


def _resolutions(layered: Mapping[str, Layered], resolved: Mapping[str, Checked]) -> dict[str, Resolution]:
    return {
        name: Resolution(layered[name].parent, layered[name].tree, run.side.tree, run.side.experiment)
        for name, run in resolved.items()
    }


def _broken(session: Session) -> bool:
    return gravest(session.faults) in (Exit.SPEC, Exit.POLICY)


def _wanted(project: Project, documents: Mapping[str, Document], names: Iterable[str]) -> Set[str]:
    """The runs that are asked for; the name of a matrix stands for all its runs."""
    wanted: set[str] = set()
    faults = []
    for name in names:
        made = [d.name for d in documents.values() if d.matrix is not None and d.matrix.run == name]
        found = [name] if name in documents else made
        if not found and name not in project.runs:
            file = next((path for path in project.strays if PurePath(path).stem == name), "")
            hint = f"{file} is not read: {project.strays[file]}" if file else did_you_mean(name, documents)
            faults.append(Diagnostic("E004", Exit.SPEC, f"there is no run '{name}'", None, hint))
        wanted.update(found or [name])
    if faults:
        raise HsdcError(faults)
    return wanted


def _documents(session: Session, settled: Mapping[str, object]) -> tuple[dict[str, Document], set[str]]:
    """Every run's document, a matrix giving one for each of its runs; and the specs that could not be read.

    Of the specs that are settled, those that others stand on.
    """
    documents: dict[str, Document] = {}
    unread: set[str] = set()
    specs = [name for name in session.project.runs if name not in settled]
    for name in specs:
        try:
            made = expand(session.project.run(name), session.faults.append)
        except HsdcError as error:
            session.faults += error.diagnostics
            made = []
        documents.update((run.name, run) for run in made)
        if not made:
            unread.add(name)
        below = dict.fromkeys(spec_of(other) for run in made for other in stands_on(run)) if settled else ()
        specs += [spec for spec in below if spec in settled and spec in session.project.runs and spec not in specs]
    return documents, unread


def _profile(session: Session) -> Profile:
    document = session.project.profile(session.profile_name)
    entries = {key: item for key, item in document.node.value.items() if key not in ("hsdc", "profile")}
    profile, faults = check(of_slots(document.node._replace(value=entries), session.faults.append), Profile)
    session.faults += faults
    if profile is not None:
        bindings(profile, document.node, session.project.names, session.faults.append)
    return profile or Profile()


def _with_ancestors(names: Iterable[str], layered: dict[str, Layered]) -> list[str]:
    needed: set[str] = set()
    for name in names:
        current: str | None = name
        while current is not None and current in layered:
            needed.add(current)
            current = layered[current].parent
    return [name for name in layered if name in needed]


def _resolve(session: Session, run: Layered, resolved: dict[str, Checked]) -> None:
    """Bind, resolve references, check, apply rules and the budget; a run with faults is left out."""
    before = len(session.faults)
    header, faults = check(run.header, Header)
    session.faults += faults
    bound: Bound = bind(run.tree, session.profile, session.project.component, session.faults.append, session.filled)
    tree = refs(bound.tree, session.faults.append, session.clean) if session.project.may_refer else bound.tree
    if len(session.faults) > before and any(fault.severity == "error" for fault in session.faults[before:]):
        return
    model = _kind(session, tree)
    if model is None:
        return
    assembled = session.sections.assemble(tree, model)
    if assembled is None:
        session.faults += check(tree, model, HEADERS)[1]
    if assembled is None or header is None:
        return
    experiment, sections = assembled
    broken = rules(experiment, tree, session.profile.execution)
    if header.reproduces is not None and not any(item.severity == "error" for item in broken):
        broken += claim(experiment, header.reproduces, run.header, session.names)
    broken += held_against(experiment, tree, session.names)
    session.faults += broken
    side = Side(run.name, experiment, tree, run.document.free)
    matrix = run.document.matrix
    ready = Resolved(run.name, run.parent, experiment, sections, bound.components, header.reproduces, matrix)
    factors: tuple[KeyPath, ...] = ()
    if run.parent is not None and run.parent in resolved:
        factors, faults = budget(side, resolved[run.parent].side, run.header)
        session.faults += faults
    resolved[run.name] = Checked(side, ready, factors)


def _kind(session: Session, tree: Node) -> type[Experiment] | None:
    """The model of a run's kind."""
    node = tree.value.get("kind")
    if node is None:
        hint = f"add 'kind' at the top: {', '.join(EXPERIMENTS)}"
        session.faults.append(Diagnostic("E202", Exit.SPEC, "'kind' is missing", tree.mark.place(), hint))
        return None
    if not isinstance(node.value, str) or node.value not in EXPERIMENTS:
        hint = did_you_mean(str(node.value), EXPERIMENTS)
        message = f"'kind' cannot be '{node.plain()}'"
        session.faults.append(Diagnostic("E205", Exit.SPEC, message, node.mark.place(), hint))
        return None
    return EXPERIMENTS[node.value]
