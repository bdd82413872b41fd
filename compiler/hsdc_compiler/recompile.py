"""Compile what has changed since the last compilation, and what stands on it; the result is that of compiling all.

Whatever cannot be told for sure, every fault included, is told by compiling all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from hsdc_compiler import stamp
from hsdc_compiler.compilation import NOWHERE, Compilation, Compiled, Made, OnDisk, reached
from hsdc_compiler.known import Known, Settled, read_known
from hsdc_compiler.pipeline import DEFAULT_PROFILE, compile_project
from hsdc_compiler.project import spec_of
from hsdc_compiler.stamp import MARGIN, SUFFIXES, Seen
from hsdc_schemas.errors import Exit
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import GENERATED, manifest_path


def recompile(root: Path, *, profile: str = DEFAULT_PROFILE, check_only: bool = False) -> Compilation:
    """All runs compiled: those that stand as they were left are taken from what is known of them."""
    found = read_known(root, profile)
    standing = _Standing.of(root, profile, *found) if found is not None else None
    if standing is not None:
        settled = standing.settled()
        some = compile_project(root, profile=profile, check_only=check_only, settled=settled)
        if some.trace is not None and some.exit is Exit.DONE:
            return standing.beside(some, settled)
    return compile_project(root, profile=profile, check_only=check_only)


class _Standing:
    """A project beside what is known of its last compilation."""

    def __init__(self, root: Path, profile: str, known: Known, since: int) -> None:
        self.root, self.profile, self.known, self.since = root, profile, known, since
        self.stats = stamp.source_stats(str(root))
        self.outputs = stamp.output_stats(str(root), profile)
        self.sources = {path: now for path, was in known.sources.items() if (now := self._seen(path, was)) is not None}

    @classmethod
    def of(cls, root: Path, profile: str, known: Known, since: int) -> _Standing | None:
        """None where nothing stands: what all runs depend on is another, or cannot be found out."""
        try:
            found = cls(root, profile, known, since)
        except OSError:
            return None
        return found if found.sources.keys() >= set(known.everywhere) else None

    def _seen(self, path: str, was: Seen) -> Seen | None:
        """A source as it is now; None where its content is another."""
        stat = self.stats.get(path)
        if stat is not None and stat == was[:3] and stat[1] < self.since - MARGIN:
            return was
        now = stamp.seen(str(self.root), path)
        return now if now[3] == was[3] else None

    def settled(self) -> dict[str, tuple[str, ...]]:
        """The specs whose runs stand, all of them, and the names of these runs."""
        touched = self._touched()
        specs = defaultdict(list)
        for name in self.known.runs:
            specs[spec_of(name)].append(name)
        return {spec: tuple(names) for spec, names in specs.items() if touched.isdisjoint(names)}

    def _touched(self) -> set[str]:
        """The runs that are to be compiled again."""
        runs = self.known.runs
        above: dict[str, list[str]] = defaultdict(list)
        taking: dict[str, list[str]] = defaultdict(list)
        for name, run in runs.items():
            for other in run.runs:
                above[other].append(name)
            for other in run.makers:
                above[other].append(name)
                taking[other].append(name)
        gone = [name for name in above if name not in runs]
        other_inputs = {i for i, paths in enumerate(self.known.lists) if not all(map(self._input_stands, paths))}
        touched = reached([*gone, *(n for n, run in runs.items() if not self._sources_stand(run))], above)
        touched |= reached([n for n, run in runs.items() if run.inputs in other_inputs], taking)
        touched |= {n for n, run in runs.items() if not (run.quiet and self._outputs_stand(n))}
        return touched | reached(
            touched, {name: run.makers for name, run in runs.items()}
        )  # who are asked what they make

    def _sources_stand(self, run: Settled) -> bool:
        return all(path in self.sources for path in run.sources)

    def _outputs_stand(self, name: str) -> bool:
        return all(self._output_stands(f"{name}{suffix}") for suffix in SUFFIXES)

    def _output_stands(self, name: str) -> bool:
        stat = self.outputs.get(name)
        return stat is not None and stat == self.known.outputs.get(name) and stat[1] < self.since

    def _input_stands(self, path: str) -> bool:
        try:
            return stamp.inputs_stand({path: self.known.inputs[path]}, self.since)
        except (OSError, KeyError):
            return False

    def beside(self, some: Compilation, settled: Mapping[str, Iterable[str]]) -> Compilation:
        """What was compiled, beside the runs that stand."""
        names = (name for names in settled.values() for name in names)
        kept = {name: as_left(self.root, self.profile, self.known, name) for name in names}
        runs = kept | {run.name: run for run in some.runs}
        assert some.trace is not None
        sources = {path: self.sources[path] for run in kept.values() for path in run.made.sources}
        inputs = {path: self.known.inputs[path] for run in kept.values() for path in run.made.inputs}
        trace = some.trace._replace(sources={**sources, **some.trace.sources}, inputs={**inputs, **some.trace.inputs})
        return replace(some, runs=tuple(runs[name] for name in sorted(runs)), trace=trace)


def as_left(root: Path, profile: str, known: Known, name: str) -> Compiled:
    """A run that stands as it was compiled; its manifest is read where it is asked for."""
    run = known.runs[name]
    paths = [f"{GENERATED}/{profile}/{name}{suffix}" for suffix in SUFFIXES]
    path = manifest_path(profile, name)
    return Compiled(
        name,
        run.digest,
        run.experiment_digest,
        partial(load_sealed, root / path, path, Manifest),
        run.parent,
        run.factors,
        run.budget,
        run.equal_to,
        run.method,
        {path: OnDisk(f"{root}/{path}") for path in paths},
        (),
        (),
        (),
        NOWHERE,
        Made(run.sources, run.runs, run.makers, known.lists[run.inputs]),
    )
