"""Pass 10: everything that is known of a run, as a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import msgspec

from hsdc_compiler.sections import Section
from hsdc_schemas.digests import HOLE, Text, canonical_ready, digest_bytes, ready, template
from hsdc_schemas.factors import essence
from hsdc_schemas.kinds import stages_of
from hsdc_schemas.manifest import (
    SCHEMA_VERSION,
    Component,
    Input,
    Manifest,
    Matrix,
    StagePlan,
    input_digests,
)
from hsdc_schemas.spec import Execution, Experiment, Reproduces
from hsdc_schemas.stages import Stage, for_keys, keyed, pick, section


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """A checked run in one profile, with the sections of its experiment."""

    name: str
    parent: str | None
    experiment: Experiment
    sections: Mapping[str, Section]
    components: Mapping[str, Component]
    reproduces: Reproduces | None
    matrix: Matrix | None

    @property
    def essence(self) -> list[bytes]:
        """The experiment without names and prose: the canonical JSON of each section of its kind."""
        return [section.text for section in self.sections.values()]


class Lowered(msgspec.Struct, frozen=True, gc=False):
    """A manifest as a file: its canonical bytes and the end of a line; typed only where somebody asks."""

    digest: str
    experiment_digest: str
    text: Text
    typed: Callable[[], Manifest]


class _Keyed(msgspec.Struct, frozen=True, gc=False):
    """What of a stage's key all runs share: its template, the stages it needs, and what it reads of each section."""

    stage: Stage
    name: str
    template: bytes
    needs: tuple[str, ...]
    reads: tuple[tuple[str, str], ...]


class _Frame(msgspec.Struct, frozen=True, gc=False):
    """What runs of one kind with the same inputs share of their manifests: all but what fills the holes."""

    kept: object  # whatever the frame is known by the identity of
    stages: tuple[_Keyed, ...]
    sections: tuple[str, ...]
    experiment: bytes
    body: bytes
    whole: bytes
    packages: dict[str, str]


class Lowering:
    """Lowers the runs of one compilation; what they share is written once."""

    def __init__(self, profile: str, execution: Execution, packages: Mapping[str, str]) -> None:
        self.profile, self.execution, self.packages = profile, execution, packages
        self.settings = ready(essence(execution))
        self._frames: dict[tuple[object, ...], _Frame] = {}
        self._manifests: dict[str, Manifest] = {}

    def lower(self, run: Resolved, inputs: tuple[Input, ...]) -> Lowered:
        """The manifest of a run: experiment, inputs, stages with keys, environment, and its own digest."""
        frame, sections = self._frame(run, inputs), run.sections
        keys: dict[str, bytes] = {}
        for item in frame.stages:
            parts = [sections[n].parts.get(paths) or _part(sections[n], paths) for n, paths in item.reads]
            keys[item.name] = _quoted(digest_bytes(item.template % (*map(keys.__getitem__, item.needs), *parts)))
        texts = [sections[name].text for name in frame.sections]
        experiment_digest = digest_bytes(frame.experiment % tuple(texts))
        fills = (
            _components(tuple(run.components.items())),
            *texts,
            _quoted(experiment_digest),
            canonical_ready(run.parent),
            _text(run.matrix),
            _text(run.reproduces),
            canonical_ready(run.name),
            *keys.values(),
        )
        digest = digest_bytes(frame.body % fills)
        text = Text(frame.whole, (fills[0], _quoted(digest), *fills[1:]))
        typed = partial(self._typed, run, inputs, digest, experiment_digest, keys)
        return Lowered(digest, experiment_digest, text, typed)

    def _typed(
        self, run: Resolved, inputs: tuple[Input, ...], digest: str, experiment_digest: str, keys: Mapping[str, bytes]
    ) -> Manifest:
        """The manifest as a value; every part is typed already, and validating them again would be most of the work."""
        if digest in self._manifests:
            return self._manifests[digest]
        frame = self._frame(run, inputs)
        found = self._manifests[digest] = Manifest.model_construct(
            hsdc=1,
            schema_version=SCHEMA_VERSION,
            run=run.name,
            profile=self.profile,
            extends=run.parent,
            experiment=run.experiment,
            experiment_digest=experiment_digest,
            components=dict(run.components),
            execution=self.execution,
            reproduces=run.reproduces,
            matrix=run.matrix,
            inputs=inputs,
            packages=frame.packages,
            stages=tuple(_plan(item.stage, keys[item.name][1:-1].decode()) for item in frame.stages),
            digest=digest,
        )
        return found

    def _frame(self, run: Resolved, inputs: tuple[Input, ...]) -> _Frame:
        stages = stages_of(run.experiment, self.execution)
        known = (type(run.experiment), tuple(map(id, stages)), tuple(map(id, inputs)))
        if known not in self._frames:
            self._frames[known] = self._framed(stages, tuple(sorted(run.sections)), inputs)
        return self._frames[known]

    def _framed(self, stages: tuple[Stage, ...], sections: tuple[str, ...], inputs: tuple[Input, ...]) -> _Frame:
        experiment = dict.fromkeys(sections, HOLE)
        packages = {name: self.packages.get(name, "") for stage in stages for name in stage.packages}
        digests = input_digests(inputs)
        holes = ("components", "experiment_digest", "extends", "matrix", "reproduces", "run")
        body = {
            **dict.fromkeys(holes, HOLE),
            "hsdc": 1,
            "schema_version": SCHEMA_VERSION,
            "profile": self.profile,
            "experiment": experiment,
            "execution": self.settings,
            "inputs": ready(essence(inputs)),
            "packages": packages,
            "stages": [{"name": s.name, "key": HOLE, "needs": s.needs, "outputs": s.outputs} for s in stages],
        }
        return _Frame(
            (stages, inputs),
            tuple(self._keyed(stage, digests, packages) for stage in stages),
            sections,
            template(experiment),
            template(body),
            template({**body, "digest": HOLE}) + b"\n",
            packages,
        )

    def _keyed(self, stage: Stage, digests: Mapping[str, str], packages: Mapping[str, str]) -> _Keyed:
        needs, reads = tuple(sorted(stage.needs)), _read(stage)
        settings = section({"execution": for_keys(self.settings)}, stage.sections)
        part = {**settings, "experiment": {name: HOLE for name, _ in reads}}
        return _Keyed(
            stage, stage.name, template(keyed(stage, part, digests, dict.fromkeys(needs, HOLE), packages)), needs, reads
        )


def _read(stage: Stage) -> tuple[tuple[str, str], ...]:
    """The sections of the experiment that a stage reads, in their order, each with the stage's paths into it."""
    found: dict[str, list[str]] = {}
    for path in stage.sections:
        top, name, *below = path.split(".")
        if top == "experiment":
            found.setdefault(name, []).append(".".join(below))
    return tuple((name, "" if "" in found[name] else " ".join(found[name])) for name in sorted(found))


def _part(of: Section, paths: str) -> bytes:
    """What a stage reads of one section; written once for all runs that share it."""
    found = of.text
    if paths:
        picked: dict[str, Any] = {}
        for path in _split(paths):
            pick(of.ready, path, picked)
        found = canonical_ready(picked)
    of.parts[paths] = found
    return found


@cache
def _split(paths: str) -> tuple[list[str], ...]:
    return tuple(path.split(".") for path in paths.split())


def _plan(stage: Stage, key: str) -> StagePlan:
    return StagePlan.model_construct(name=stage.name, key=key, needs=stage.needs, outputs=stage.outputs)


@cache
def _components(filled: tuple[tuple[str, Component], ...]) -> bytes:
    return canonical_ready({slot: {"named": item.named, "used": item.used} for slot, item in filled})


def _text(value: Any) -> bytes:
    return b"null" if value is None else canonical_ready(ready(essence(value)))


def _quoted(digest: str) -> bytes:
    return b'"%b"' % digest.encode()
