"""`hsdc run`: bring results up to date and show them."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hsdc import rows_view, scores_view
from hsdc.changed_view import changed
from hsdc.output import method_note, say, say_json
from hsdc.pooled_view import pooled
from hsdc.progress import ProgressView
from hsdc.terminal import show_diagnostics, without_secrets
from hsdc_runtime.inputs import MADE, verify_inputs
from hsdc_runtime.plan import on_processes
from hsdc_runtime.run import Outcome, finished_record, run
from hsdc_runtime.verdicts import held_against, require_same_rows
from hsdc_runtime.work import Busy, Interrupted
from hsdc_schemas.digests import short
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, did_you_mean, fail, gravest
from hsdc_schemas.factors import essence
from hsdc_schemas.kinds import profile_method
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import manifest_path
from hsdc_schemas.record import Record
from hsdc_schemas.spec import Execution

OF_ONE_RECORD = {"E502", "E503"}  # a record that cannot be read stops its own run, and what is compared with it


class Stop:
    """Turns the first SIGINT or SIGTERM into a request to stop at the next step; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping at the next step (once more: at once)", file=sys.stderr, flush=True)

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Handle the signals inside, as before outside."""
        before = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def execute(options: argparse.Namespace) -> int:
    """Run what is asked for or out of date; stop at the first that fails, but for one whose record is not intact."""
    root = _root(options)
    every, due = _due(root, options)
    if not due and not options.json:
        print(f"every run of profile {options.profile} is up to date")
    codes: list[Exit] = []
    results: list[Outcome] = []
    unread: list[Diagnostic] = []
    stop = Stop()
    with stop.listening():
        for manifest in due:
            try:
                outcome = _run(root, manifest, stop, options)
            except HsdcError as error:
                if {fault.code for fault in error.diagnostics} <= OF_ONE_RECORD:
                    unread += error.diagnostics
                    show_diagnostics(error.diagnostics)
                    codes.append(error.exit)
                    continue
                if options.json:
                    _print_json(results, [*unread, *error.diagnostics])
                raise
            except (Interrupted, Busy) as reason:
                if options.json:
                    _print_json(results, unread)
                word = "interrupted" if isinstance(reason, Interrupted) else "busy"
                print(f"{word}: {reason}; run again to continue", file=sys.stderr)
                return int(Exit.INTERRUPTED)
            codes.append(Exit.DONE if scores_view.holds(outcome.record) else Exit.NO)
            results.append(outcome)
            if not options.json:
                _show(root, outcome)
    if options.json:
        _print_json(results, unread)
    elif results:
        _show_pooled(root, every)
    return int(max(codes, default=Exit.DONE))


def _due(root: Path, options: argparse.Namespace) -> tuple[tuple[Manifest, ...], tuple[Manifest, ...]]:
    """The manifests of all runs that the call is about, and those to run, each after what it is compared with."""
    listed = _listed(root, options)
    every = [name for names in listed.values() for name in names]
    asked = [name for given in options.runs for name in listed.get(given, (given,))]
    names = _with_claims(root, options.profile, asked, every)
    if not options.frozen:
        _require_fresh(root, options.profile, names)
    manifests = tuple(_manifest(root, options.profile, name) for name in names)
    # A run that is only compared with needs its record, not its store: the record may be from another machine.
    due = {item.run for item in manifests if item.run in asked or not _finished(root, item)}
    due |= {run for item in manifests if item.run in due for run in _makers(item)}  # of these the rows are needed
    require_same_rows([item for item in manifests if item.run in due], manifests)
    return manifests, tuple(item for item in manifests if item.run in due)


def _finished(root: Path, manifest: Manifest) -> Record | None:
    """The record of a manifest; None where there is none that can be read, which is said when the run's turn comes."""
    try:
        return finished_record(root, manifest)
    except HsdcError:
        return None


def _print_json(results: Sequence[Outcome], diagnostics: Sequence[Diagnostic] = ()) -> None:
    """What was finished, and what stopped the rest."""
    records = [essence(item.record) for item in results]
    faults = [diagnostic.as_json() for diagnostic in without_secrets(diagnostics)]
    say_json({"version": 1, "records": records, "diagnostics": faults})


def _root(options: argparse.Namespace) -> Path:
    here = Path.cwd()
    if options.frozen:  # a machine without specs
        return next((folder for folder in (here, *here.parents) if (folder / "generated").is_dir()), here)
    from hsdc_compiler.project import find_root

    return find_root(here)


def _listed(root: Path, options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Every name that a call can give, with the runs that it stands for; by manifests where specs are not looked at."""
    if options.frozen:
        suffix = ".lock.json"
        folder = root / "generated" / options.profile
        return {name: (name,) for name in sorted(path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}"))}
    from hsdc_compiler.families import run_names

    return run_names(root)


def _with_claims(root: Path, profile: str, runs: list[str], every: list[str]) -> list[str]:
    """The runs, each after the run that it is compared with, which has to be there first."""
    unknown = [name for name in runs if name not in every]
    if unknown:
        message = "there is no run '{}'"
        raise HsdcError(
            Diagnostic("E004", Exit.SPEC, message.format(name), None, did_you_mean(name, every)) for name in unknown
        )
    ordered: dict[str, None] = {}
    for name in runs or every:
        _order(root, profile, name, every, ordered, ())
    return list(ordered)


def _order(
    root: Path, profile: str, name: str, every: list[str], ordered: dict[str, None], trail: tuple[str, ...]
) -> None:
    """A run after those that it stands on: what it is compared with, and what makes its rows."""
    if name in ordered or name in trail:
        return
    for before in _stands_on(root, profile, name):
        if before in every:
            _order(root, profile, before, every, ordered, (*trail, name))
    ordered.setdefault(name)


def _stands_on(root: Path, profile: str, name: str) -> list[str]:
    try:
        manifest = _manifest(root, profile, name)
    except HsdcError:
        return []
    makers = _makers(manifest)
    claim = manifest.reproduces.run if manifest.reproduces is not None else None
    return [run for run in (*makers, claim, held_against(manifest)) if run is not None]


def _makers(manifest: Manifest) -> list[str]:
    """The data runs that make a run's rows."""
    sources = (item.source for item in manifest.inputs if item.source.startswith(MADE))
    return [source.removeprefix(MADE).partition("/")[0] for source in sources]


def _manifest(root: Path, profile: str, name: str) -> Manifest:
    path = manifest_path(profile, name)
    manifest = load_sealed(root / path, path, Manifest)
    if (manifest.run, manifest.profile) != (name, profile):  # its record would be written elsewhere
        message = f"{path} is the manifest of '{manifest.run}' in profile '{manifest.profile}'"
        raise fail("E503", Exit.NO, message, None, "do not copy or edit it; hsdc compile writes it anew")
    return manifest


def _require_fresh(root: Path, profile: str, names: list[str]) -> None:
    """What `hsdc compile --check` says of these runs must be yes; an input that changed is exit 4 here."""
    from hsdc.commands.compile import reasons, require_inside
    from hsdc_compiler.pipeline import DEFAULT_PROFILE, compile_project

    require_inside(root, profile)
    compilation = compile_project(root, names, profile=profile, check_only=True)
    faults = [fault for fault in compilation.diagnostics if fault.severity == "error"]
    if gravest(faults) is Exit.NO:  # rows are refused now, which were not when the run was locked
        faults = _changed_inputs(root, profile, names) or faults
    for compiled in compilation.runs:
        if not any(path.endswith(".lock.json") for path in compiled.stale):
            continue
        inputs = [change for change in compiled.changes if change.kind == "input"]
        others = [line for line in reasons(compiled) if line not in [change.line() for change in inputs]]
        for change in inputs:
            hint = "put the locked file back, or lock the new one: hsdc compile"
            message = f"'{compiled.name}' was locked with another input: {change.line()}"
            faults.append(Diagnostic("E415", Exit.ENVIRONMENT, message, None, hint))
        if others:
            message = f"'{compiled.name}' is stale: {'; '.join(others)}"
            hint = "hsdc compile" + (f" --profile {profile}" if profile != DEFAULT_PROFILE else "")
            faults.append(Diagnostic("E505", Exit.NO, message, None, hint))
    if gravest(faults) is not Exit.DONE:
        raise HsdcError(faults)


def _changed_inputs(root: Path, profile: str, names: list[str]) -> list[Diagnostic]:
    faults: list[Diagnostic] = []
    for name in names:
        try:
            verify_inputs(_manifest(root, profile, name), root)
        except HsdcError as error:
            faults += [fault for fault in error.diagnostics if fault.exit is Exit.ENVIRONMENT]
    return faults


def _run(root: Path, manifest: Manifest, stop: Stop, options: argparse.Namespace) -> Outcome:
    manifest = on_processes(manifest, options.processes)
    method = profile_method(manifest.experiment, manifest.execution)
    note = f"; {method_note(method)}" if method else ""
    print(f"{manifest.run}  profile {manifest.profile} ({_where(manifest.execution)}){note}", file=sys.stderr)
    with ProgressView() as view:
        return run(
            root,
            manifest,
            observe=view,
            stop=stop,
            allow_environment=options.allow_environment,
            frozen=options.frozen,
        )


def _where(execution: Execution) -> str:
    """What a run is executed on, and how far that can be had again where several processes share it."""
    threads = f"{execution.threads} thread{'s' if execution.threads > 1 else ''}"
    said = f"{execution.device}, {execution.precision}, {threads}"
    if execution.processes == 1:
        return said
    level = "the same bits on any number" if execution.elastic else "the same bits on as many only"
    return f"{said}, {execution.processes} processes: {level}"


def _show_pooled(root: Path, manifests: Sequence[Manifest]) -> None:
    found = [(manifest, _finished(root, manifest)) for manifest in manifests if manifest.matrix is not None]
    lines = pooled((manifest, record) for manifest, record in found if record is not None)
    if lines:
        print("\n".join(lines))


def _show(root: Path, outcome: Outcome) -> None:
    record = outcome.record
    print()
    print("\n".join([*rows_view.rows(record), *scores_view.scores(record)]))
    if lines := changed(root, record):
        say(["", *lines])
    print()
    print("\n".join([*scores_view.verdict(record), _written(outcome)]))
    print()


def _written(outcome: Outcome) -> str:
    state = "written" if outcome.written else "stands"
    if not outcome.written and outcome.remade:
        state = f"stands; {', '.join(outcome.remade)} made anew with the same digests"
    return f"record   {outcome.path} ({short(outcome.record.digest)}, {state})"
