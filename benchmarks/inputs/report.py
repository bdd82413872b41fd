"""What was measured as tables and requirements."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.campaign.measure import Series
from benchmarks.inputs.project import Files
from benchmarks.results import Requirement, Result, Table
from hsdc_schemas.digests import LARGE

Alone = dict[str, list[dict[str, Any]]]
Measured = dict[Files, tuple[Alone, dict[str, Series]]]
BARE, OURS, SAME, TOUCHED = "hashlib.file_digest", "hsdc", "hsdc, unchanged", "hsdc, one touched"
LEAST = 0.9

NOTES = (
    "The files are the shards of a model, random bytes without holes, written just before and so in memory: no disk",
    "is measured. `hsdc` in the first table is the function that hashes a model's folder while compiling, with its",
    "cache read and saved; in one process, in turns with `hashlib.file_digest` in a loop, files one after the other.",
    "Threads count the main one. CPU time is that of all threads, user and system.",
    "",
    "Bytes are the kernel's count of what was read, from disk or memory. In the first table they are of the call",
    "alone; in the second of the whole process, with its interpreter and libraries: no program of the second table",
    "was changed to be counted.",
    "",
    "hsdc knows 20,000 files only as a model's: a data set is one file for each split. Shards of 2,000 bytes are",
    "nobody's, but they go the way of all shards. The commands compile three runs of the campaign, with all that",
    "compiling is; their manifests list every file.",
    "",
    "`dvc add` hashes with MD5, notes every file in its cache and moves it there, linked back (`cache.type hardlink`",
    "spares it the copy that it makes otherwise); hsdc keeps no copy of an input. DVC's start is in its times.",
    "",
    "A file that was touched has a new time and the same bytes: it is read again, whole, and nothing else is.",
)


def result(measured: Measured, missing: tuple[str, ...]) -> Result:
    """Both kinds of files side by side."""
    return Result(
        name="inputs",
        command="python -m benchmarks inputs",
        compared=" and ".join(f"{files.count:,} files of {files.size:,} bytes" for files in measured),
        tables=(_alone(measured), _whole(measured)),
        required=_required(measured),
        figures={
            files.name: {
                "files": asdict(files),
                "alone": ways,
                "whole": {name: [asdict(spent) for spent in one.spent] for name, one in series.items()},
            }
            for files, (ways, series) in measured.items()
        },
        notes=(
            *NOTES,
            *_blake3(measured),
            *(("", *missing) if missing else ()),
        ),
    )


def _blake3(measured: Measured) -> tuple[str, ...]:
    """What BLAKE3 would cost and save, where it was measured."""
    ways, _ = next(iter(measured.values()))
    if "BLAKE3" not in ways:
        return ()
    own, other = (median(one["cpu"] for one in ways[way]) for way in (OURS, "BLAKE3"))
    return (
        "",
        "BLAKE3 is measured on one thread. Digests in manifests are SHA-256, and hsdc is measured without it; with",
        f"the extra `blake3` large files are hashed with both when they are read first, for {other:.2f} CPU s more, so",
        f"that those that were touched and not changed are told by BLAKE3 alone: {own - other:.2f} of {own:.2f} less.",
    )


def _speed(files: Files, rounds: list[dict[str, Any]]) -> float:
    """Bytes for each CPU second, over all rounds."""
    return files.bytes * len(rounds) / sum(one["cpu"] for one in rounds)


def _alone(measured: Measured) -> Table:
    rows = []
    for files, (ways, _) in measured.items():
        for way, rounds in ways.items():
            cpu, clock = (median(one[key] for one in rounds) for key in ("cpu", "clock"))
            per_core = f"{_speed(files, rounds) / 1e9:.2f}" if way not in (SAME, TOUCHED) else ""
            read, threads = (f"{max(one[key] for one in rounds):,}" for key in ("read", "threads"))
            rows.append((files.name, way, f"{cpu:.3f}", f"{clock:.3f}", per_core, read, threads))
    columns = ("files", "way", "CPU s, median", "clock s", "GB per CPU s", "bytes read of them", "threads")
    return Table("Hashing alone", columns, tuple(rows), text=(0, 1))


def _whole(measured: Measured) -> Table:
    rows = []
    for files, (_, series) in measured.items():
        for name, one in series.items():
            span = f"{one.span[0]:.2f} to {one.span[1]:.2f}"
            cells = (f"{one.cpu:.2f}", span, f"{one.system:.2f}", f"{one.read:,}")
            rows.append((files.name, name, *cells))
    columns = ("files", "command", "CPU s, median", "range", "of it system", "bytes read by the process")
    return Table("Whole commands", columns, tuple(rows), text=(0, 1))


def _required(measured: Measured) -> tuple[Requirement, ...]:
    found = []
    for files, (ways, series) in measured.items():
        speed = _speed(files, ways[OURS]) / _speed(files, ways[BARE])
        wanted = f"{files.name}: at least {LEAST:.0%} of the bytes per CPU second of {BARE}"
        found.append(Requirement(wanted, f"{speed:.1%}", speed >= LEAST))
        for what, way, bytes_ in (
            ("every byte is read once", OURS, files.bytes),
            ("nothing of unchanged files is read", SAME, 0),
            ("of one touched file, its bytes alone", TOUCHED, files.size),
        ):
            read = {one["read"] for one in ways[way]}
            found.append(Requirement(f"{files.name}: {what}", ", ".join(f"{n:,}" for n in read), read == {bytes_}))
        threads = {one["threads"] for one in ways[OURS]}
        one_thread = files.size < LARGE
        wanted = f"{files.name}: {'one thread' if one_thread else 'several at a time'}"
        found.append(Requirement(wanted, ", ".join(map(str, threads)), (threads == {1}) == one_thread))
        for state in ("nothing known", "nothing changed"):
            if peer := series.get(f"dvc add, {state}"):
                ours = series[f"hsdc compile, {state}"]
                wanted = f"{files.name}, {state}: less CPU time than dvc add"
                found.append(Requirement(wanted, f"{peer.cpu / ours.cpu:.1f} times less", ours.cpu < peer.cpu))
    return tuple(found)
