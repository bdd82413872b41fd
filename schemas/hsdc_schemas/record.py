"""The record: what happened. Written by the run, never edited; every figure is derived from the counts in it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from hsdc_schemas.fields import Model
from hsdc_schemas.scores import Counts, Interval


class Artifact(Model):
    """An output of a stage: the digest of its content, and the stored object that holds it."""

    digest: str
    object: str
    bytes: int


class StageRecord(Model):
    """What a stage made, whether it was executed for this record, and what that took.

    Where rows are of clusters, the `facts` of the stage `score` have `clusters`, how many are drawn, and `intervals`,
    from variant to metric to `low`, `high`, `method` and `reason`. Counts do not tell them: they follow from its output
    `answers`, whose clusters are drawn as a whole with a seed that follows from the rows.
    """

    name: str
    key: str
    executed: bool
    outputs: dict[str, Artifact]
    seconds: float
    cpu_seconds: float
    facts: dict[str, Any]


class RowCounts(Model):
    """Rows of a split: read = kept + filtered + rejected."""

    read: int
    kept: int
    filtered: dict[str, int]
    rejected: dict[str, int]


class Difference(Model):
    """The first place where a reproduction differs."""

    stage: str
    output: str
    tensor: str | None
    field: str | None = None
    expected: str
    found: str


Verdict: TypeAlias = Literal["identical", "within tolerance", "diverged", "inconclusive"]
Level: TypeAlias = Literal["bitwise across processes", "bitwise", "numeric", "statistical", "not comparable"]


class Reproduction(Model):
    """The verdict on a claim: digests against the record of another run, and the figure that was reported."""

    run: str
    record: str
    executed: tuple[str, ...]
    verdict: Verdict
    level: Level = "not comparable"
    limits: tuple[str, ...] = ()
    difference: Difference | None
    largest_tensor: float | None = None
    largest_figure: float | None = None
    environment: tuple[str, ...]
    reported: Literal["within", "outside", "not comparable", "not claimed", "undefined"]
    metric: str | None
    found: float | None
    claimed: float | None
    within: float | None
    reason: str


class GateVerdict(Model):
    """What a gate came to: the figure with its interval, and whether so many rows can tell it from the bound."""

    gate: str
    outcome: Literal["pass", "fail", "undecided"]
    value: float | None
    low: float | None
    high: float | None
    resolved: bool
    note: str


class Environment(Model):
    """The environment that was observed, and the settings that decide bits; what an old record lacks is unknown."""

    python: str
    platform: str
    machine: str
    processor: str
    cores: int
    device: str
    device_model: str = ""
    precision: str = ""
    attention: str = ""
    optimizer: str = ""
    threads: int = 0
    processes: int = 0
    elastic: bool = False
    packages: dict[str, str]
    differs: dict[str, str]


class Record(Model):
    """A finished run. `scores` maps a variant (raw, calibrated, tuned) to a slice to a head to its confusion counts."""

    hsdc: Literal[1]
    schema_version: Literal[1]
    run: str
    profile: str
    manifest: str
    experiment_digest: str
    started: str
    finished: str
    seconds: float
    peak_memory_bytes: int
    environment: Environment
    rows: dict[str, RowCounts]
    stages: tuple[StageRecord, ...]
    scores: dict[str, dict[str, dict[str, Any]]]
    gates: tuple[GateVerdict, ...] = ()
    reproduction: Reproduction | None
    digest: str


def counts_of(record: Record) -> dict[str, Counts]:
    """The counts of every variant, the one that is meant where none is named first; with the intervals that are held.

    Raises ValueError or KeyError where the scores of the record are none.
    """
    said = next((stage.facts for stage in record.stages if stage.name == "score"), {})
    order = said.get("variants") or sorted(record.scores, key=lambda name: (name != "raw", name))
    policy, held = said.get("unparseable", "wrong"), said.get("intervals", {})
    intervals = {
        variant: {name: Interval(**found) for name, found in figures.items()} for variant, figures in held.items()
    }
    return {variant: Counts.from_json(record.scores[variant], policy, intervals.get(variant)) for variant in order}
