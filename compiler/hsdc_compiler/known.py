"""What is known of the last compilation of all runs: what each was made from, and what came of it.

A run stands where every spec, component, input and manifest that it has to do with is as that compilation left it.
Losing this costs only time; whatever is in doubt is compiled again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hsdc_compiler.compilation import Compilation
from hsdc_compiler.node import Path as KeyPath
from hsdc_compiler.stamp import Seen, Stat, own_code

FILE = ".hsdc/cache/runs-{}.json"


class Settled(msgspec.Struct, frozen=True, array_like=True):
    """A run as it was compiled."""

    parent: str | None
    factors: tuple[KeyPath, ...]
    budget: int | None
    equal_to: str | None
    method: str | None
    digest: str
    experiment_digest: str
    sources: tuple[str, ...]
    runs: tuple[str, ...]
    makers: tuple[str, ...]
    inputs: int  # which of the lists of inputs
    quiet: bool  # no warning is about one of its sources


class Known(msgspec.Struct, frozen=True):
    """A compilation: hsdc itself, what was seen of all files that were read and written, and the runs."""

    code: str
    everywhere: tuple[str, ...]
    sources: dict[str, Seen]
    inputs: dict[str, Stat]
    outputs: dict[str, Stat]
    lists: tuple[tuple[str, ...], ...]
    runs: dict[str, Settled]


def known_bytes(compilation: Compilation, outputs: Mapping[str, Stat]) -> bytes | None:
    """What is known after a compilation of all runs that is on disk; None where it cannot be told run by run."""
    trace = compilation.trace
    warned = {item.place.path if item.place else "" for item in compilation.diagnostics}
    if trace is None or warned & {"", *trace.everywhere}:
        return None
    lists: dict[tuple[str, ...], int] = {}
    runs = {
        run.name: Settled(
            run.parent,
            run.factors,
            run.budget,
            run.equal_to,
            run.method,
            run.digest,
            run.experiment_digest,
            run.made.sources,
            run.made.runs,
            run.made.makers,
            lists.setdefault(run.made.inputs, len(lists)),
            warned.isdisjoint(run.made.sources),
        )
        for run in compilation.runs
    }
    sources, inputs = dict(trace.sources), dict(trace.inputs)
    found = Known(trace.code, trace.everywhere, sources, inputs, dict(outputs), tuple(lists), runs)
    return msgspec.json.encode(found)


def read_known(root: Path, profile: str) -> tuple[Known, int] | None:
    """What is known of a project in a profile, and since when; None where that is nothing, or of another hsdc."""
    try:
        with (root / FILE.format(profile)).open("rb") as file:
            since = os.fstat(file.fileno()).st_mtime_ns
            found = msgspec.json.decode(file.read(), type=Known)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
    return (found, since) if found.code == own_code() else None
