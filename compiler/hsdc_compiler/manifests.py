"""The last passes of a compilation: a run's inputs are locked, it is lowered, and its files are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from hsdc_compiler.changes import Change, changes
from hsdc_compiler.committed import committed_manifest, with_committed
from hsdc_compiler.compilation import Compiled, Made
from hsdc_compiler.emit import Emitter
from hsdc_compiler.inherit import Layered, stands_on
from hsdc_compiler.lock import Locked, placed
from hsdc_compiler.lower import Lowered, Lowering
from hsdc_compiler.rules import locked
from hsdc_compiler.session import Checked, Session
from hsdc_schemas.errors import Exit, fail, gravest
from hsdc_schemas.kinds import profile_method
from hsdc_schemas.manifest import Input, Manifest
from hsdc_schemas.places import manifest_path


class Manifests:
    """Makes the manifests of one compilation, each once, and for it those of the runs that make its rows.

    `resolve` adds to `resolved` a run that only others take rows from. With `check_only`, an input that is absent is
    taken from the committed manifest.
    """

    def __init__(
        self,
        session: Session,
        layered: Mapping[str, Layered],
        resolved: Mapping[str, Checked],
        resolve: Callable[[str], object],
        *,
        check_only: bool,
    ) -> None:
        self.session, self.layered, self.resolved, self.resolve = session, layered, resolved, resolve
        self.check_only = check_only
        self._lowering = Lowering(session.profile_name, session.profile.execution, session.packages)
        self._emitter = Emitter(session.project.root, session.profile_name)
        self._done: dict[str, Compiled | None] = {}
        session.locker.made = self._manifest

    def of(self, names: Iterable[str]) -> list[Compiled]:
        """The runs whose inputs could be locked, and those that make rows for them, by name."""
        for name in names:
            self._run(name)
        return [run for name in sorted(self._done) if (run := self._done[name]) is not None]

    def _manifest(self, name: str) -> Manifest | None:
        """The manifest of a run that makes rows; HsdcError where its inputs cannot be locked."""
        found = self._run(name)
        if found is None and name in self.resolved and self.resolved[name].side.experiment.kind == "data":
            message = f"'{name}' makes these rows, and its own inputs cannot be locked"
            raise fail("E421", Exit.ENVIRONMENT, message, None, "mend its fault, which is told as well")
        return None if found is None else found.manifest

    def _run(self, name: str) -> Compiled | None:
        if name not in self.resolved and name in self.layered:  # a run that another one takes rows from
            self.resolve(name)
        if name not in self._done and name in self.resolved:
            self._done[name] = None  # who takes rows from itself finds none
            self._done[name] = self._compiled(self.layered[name], self.resolved[name])
        return self._done.get(name)

    def _compiled(self, run: Layered, found: Checked) -> Compiled | None:
        """Lock, lower and emit; None where an input cannot be locked, which is among the session's faults."""
        experiment, tree, execution = found.side.experiment, found.side.tree, self.session.profile.execution
        lock = self.session.locker.lock(experiment)
        known = self._inputs(found, lock)
        if known is None:
            return None
        inputs, not_read = known
        self.session.faults += locked(experiment, inputs, execution, tree, self.session.locker.modules)
        manifest = self._lowering.lower(found.ready, inputs)
        texts = self._emitter.emit(run.name, manifest.text, manifest.digest, tree, _prose(run))
        stale = tuple(self._emitter.stale(texts))
        declared = run.header.at(("budget",))
        return Compiled(
            name=run.name,
            digest=manifest.digest,
            experiment_digest=manifest.experiment_digest,
            typed=manifest.typed,
            parent=run.parent,
            factors=found.factors,
            budget=declared.value if declared is not None else None,
            equal_to=self._equal_to(found),
            method=profile_method(experiment, execution),
            texts=texts,
            stale=stale,
            changes=self._changes(found, manifest) if stale else (),
            not_read=not_read,
            tree=tree,
            made=self._made(run, found, lock),
        )

    def _inputs(self, found: Checked, lock: Locked) -> tuple[tuple[Input, ...], tuple[str, ...]] | None:
        """A run's inputs, and those of them that only its committed manifest tells; None where one is missing."""
        inputs, faults = lock.inputs, [placed(name, fault, found.side.tree) for name, fault in lock.faults]
        not_read: tuple[str, ...] = ()
        if faults and self.check_only and gravest(faults) is Exit.ENVIRONMENT:
            committed = self._committed(found.ready.name)
            if committed is not None:
                inputs, not_read = with_committed(inputs, committed)
                faults = [] if len(inputs) == len(self.session.locker.names(found.side.experiment)) else faults
        self.session.faults += faults
        return None if faults else (inputs, not_read)

    def _equal_to(self, found: Checked) -> str | None:
        """The parent of a run that comes to the same experiment."""
        parent = self.resolved.get(found.ready.parent or "")
        return found.ready.parent if parent is not None and parent.ready.essence == found.ready.essence else None

    def _changes(self, found: Checked, manifest: Lowered) -> tuple[Change, ...]:
        """How a manifest differs from the committed one."""
        name = found.ready.name
        there = self._emitter.there(manifest_path(self.session.profile_name, name))
        old = self._committed(name) if there else None
        return tuple(changes(old, manifest.typed(), found.side.tree)) if old is not None else ()

    def _committed(self, name: str) -> Manifest | None:
        return committed_manifest(self.session.project.root, self.session.profile_name, name)

    def _made(self, run: Layered, found: Checked, lock: Locked) -> Made:
        ready = found.ready
        slots = ready.components.items()
        components = (path for slot, component in slots for path in self.session.project.paths(slot, component.used))
        claimed = ready.reproduces.run if ready.reproduces is not None else ""
        against = "" if ready.experiment.kind == "data" else ready.experiment.evaluation.against or ""
        runs = (name for name in (*stands_on(run.document), claimed, against) if name)
        return Made((run.document.path, *components), tuple(runs), lock.makers, lock.paths)


def _prose(run: Layered) -> dict[str, str]:
    """What a run says of itself that is no part of its experiment."""
    entries = run.document.node.value
    return {key: str(entries[key].value) for key in ("title", "why", "notes") if key in entries}
