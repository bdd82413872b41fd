"""Stage `filter` of a data run: which rows are kept, each other one counted under a name, and the split of each."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hsdc_runtime.making.assign import DROPPED, beyond, drawn, leaks, named, passing, rank
from hsdc_runtime.making.likeness import key
from hsdc_runtime.work import Interrupted, Made, Work
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.making import DataExperiment, DrawnSplits, Expect, GivenSplits, Leakage, Sample, SourceSplits
from hsdc_schemas.stages import typed

PULSE = 65536  # rows between two looks at whether to stop
SHOWN = 10

Row = dict[str, Any]


def filter_rows(work: Work) -> Made:
    """One byte for each row that was read: the number of its split, 255 where it is not kept."""
    plan, path = _plan(work.experiment), work.needs["read"]["rows"].path
    seen = _seen(work, plan, path)
    splits = np.frombuffer(seen.splits, dtype=np.uint8).copy()
    if isinstance(plan.splits, DrawnSplits):
        kept = np.flatnonzero(splits != DROPPED)
        units = seen.units.codes[kept] if plan.splits.group is not None else None
        ranks = np.frombuffer(seen.ranks, dtype=np.uint64)[kept]
        splits[kept] = drawn(tuple(plan.splits.shares.values()), ranks, seen.strata.codes[kept], units)
    keys = np.frombuffer(seen.keys, dtype=np.uint64)
    same, near = leaks(plan.leakage, keys, seen.texts, splits)
    _leak(plan.leakage.exact, same, "stands in a later split, too", path, plan)
    _leak(plan.leakage.similar, near, "is nearly that of a row in a later split", path, plan)
    _drop(seen, splits, same, f"{plan.leakage.column} in a later split")
    _drop(seen, splits, near, f"{plan.leakage.column} nearly in a later split")
    if plan.sample is not None:
        ranks = np.frombuffer(seen.draws, dtype=np.uint64)
        _drop(seen, splits, beyond(plan.sample.rows, ranks, seen.drawn_by.codes, splits), "outside the sample")
    counts = {name: int((splits == number).sum()) for number, name in enumerate(plan.names)}
    _expected(plan.expect, counts, splits, path)
    target = work.folder / "splits.bin"
    target.write_bytes(splits.tobytes())
    filtered = {name: dict(sorted(found.items())) for name, found in seen.filtered.items()}
    return Made({"splits": target}, {"names": list(plan.names), "kept": counts, "filtered": filtered})


@dataclass(frozen=True)
class _Plan:
    """What is asked of rows."""

    id: str
    rules: tuple[tuple[str, Callable[[Row], bool]], ...]
    splits: GivenSplits | DrawnSplits | SourceSplits
    names: tuple[str, ...]
    own: Mapping[str, str | None]
    leakage: Leakage
    sample: Sample | None
    expect: Expect


def _plan(experiment: Mapping[str, Any]) -> _Plan:
    filler = {"shapes": {"any": {"fields": {"id": {}}, "columns": {"id": "id"}}}, "outputs": {"rows": {"kind": "rows"}}}
    whole = typed(DataExperiment, {"kind": "data", **filler, **experiment})
    return _Plan(
        whole.id,
        tuple((named(rule), passing(rule)) for rule in whole.filters),
        whole.splits,
        whole.split_names,
        {name: source.split for name, source in whole.sources.items()},
        whole.leakage,
        whole.sample,
        whole.expect,
    )


class _Codes:
    """A column as numbers of its distinct values."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        self._codes = array("i")

    def add(self, value: Any) -> None:
        self._codes.append(self._known.setdefault(value, len(self._known)))

    @property
    def codes(self) -> np.ndarray:
        return np.frombuffer(self._codes, dtype=np.int32)


@dataclass
class _Seen:
    """What is remembered of rows when they have passed, no more than the rest of the stage asks for."""

    splits: bytearray = field(default_factory=bytearray)
    keys: array[int] = field(default_factory=lambda: array("Q"))
    texts: list[str] = field(default_factory=list)
    ranks: array[int] = field(default_factory=lambda: array("Q"))
    draws: array[int] = field(default_factory=lambda: array("Q"))
    units: _Codes = field(default_factory=_Codes)
    strata: _Codes = field(default_factory=_Codes)
    drawn_by: _Codes = field(default_factory=_Codes)
    sources: _Codes = field(default_factory=_Codes)
    filtered: dict[str, Counter[str]] = field(default_factory=dict)


def _seen(work: Work, plan: _Plan, path: Path) -> _Seen:
    seen = _Seen()
    whole = _whole_sources(plan, path)
    draw = plan.splits if isinstance(plan.splits, DrawnSplits) else None
    similar, column = plan.leakage.similar != "allow", plan.leakage.column
    for number, row in enumerate(rows(path)):
        if number % PULSE == 0 and work.stop():
            raise Interrupted("stopped while filtering rows")
        counted = seen.filtered.setdefault(row["source"], Counter())
        why = next((name for name, passes in plan.rules if not passes(row)), None)
        split = DROPPED if why is not None else _split(plan, row, whole)
        if why is not None or split == DROPPED:
            counted[why or "another split"] += 1
        seen.splits.append(split)
        text = str(row[column])
        seen.keys.append(key(text))
        seen.sources.add(row["source"])
        if similar:
            seen.texts.append(text)
        if draw is not None:
            seen.ranks.append(rank(draw.seed, str(row[draw.group or plan.id])))
            seen.strata.add(tuple(row[name] for name in draw.stratify))
            seen.units.add(row[draw.group] if draw.group is not None else 0)
        if plan.sample is not None:
            seen.draws.append(rank(plan.sample.seed, row[plan.id]))
            seen.drawn_by.add(row[plan.sample.stratify] if plan.sample.stratify else 0)
    return seen


def rows(path: Path) -> Iterator[Row]:
    """The rows of a file, one after another."""
    decode = msgspec.json.Decoder().decode
    with path.open("rb", buffering=1 << 20) as file:
        for line in file:
            yield decode(line)


def _split(plan: _Plan, row: Row, whole: frozenset[str]) -> int:
    """The number of a row's split; 0 for now where splits are drawn."""
    match plan.splits:
        case DrawnSplits():
            return 0
        case SourceSplits():
            return plan.names.index(plan.own[row["source"]] or "all")
        case GivenSplits(column=column, names=names):
            own = plan.own[row["source"]]
            if row["source"] in whole and own is not None:
                return plan.names.index(own)
            named_here = names.get(str(row[column]))
            fits = named_here is not None and own in (None, named_here)
            return plan.names.index(named_here) if fits and named_here is not None else DROPPED


def _whole_sources(plan: _Plan, path: Path) -> frozenset[str]:
    """Sources none of whose rows is of the split that they are declared for: an error, or taken whole."""
    if not isinstance(plan.splits, GivenSplits):
        return frozenset()
    found: dict[str, set[str]] = {name: set() for name in plan.own}
    for row in rows(path):
        found[row["source"]].add(str(row[plan.splits.column]))
    whole, faults = set(), []
    for name, own in plan.own.items():
        if own is None or any(plan.splits.names.get(value) == own for value in found[name]):
            continue
        if plan.splits.on_missing == "use_all":
            whole.add(name)
            continue
        told = ", ".join(sorted(found[name])[:5]) or "none"
        message = f"no row of '{name}' is of its split '{own}'; its '{plan.splits.column}' says: {told}"
        hint = "mend 'names' under 'splits', or write 'on_missing: use_all' to take every row"
        faults.append(Diagnostic("E618", Exit.NO, message, None, hint))
    if faults:
        raise HsdcError(faults)
    return frozenset(whole)


def _leak(how: str, found: np.ndarray, what: str, path: Path, plan: _Plan) -> None:
    places = np.flatnonzero(found).tolist()
    if how != "raise" or not places:
        return
    hint = "group by what the rows share under 'splits', or write 'drop' under 'leakage'"
    wanted = set(places[:SHOWN])
    told = [row for number, row in enumerate(rows(path)) if number in wanted]
    faults = [
        Diagnostic(
            "E617",
            Exit.NO,
            f"the text of row '{row[plan.id]}' {what}: '{str(row[plan.leakage.column])[:60]}'",
            None,
            hint,
        )
        for row in told
    ]
    if len(places) > SHOWN:
        faults.append(Diagnostic("E617", Exit.NO, f"{len(places) - SHOWN} more rows are so", None, hint))
    raise HsdcError(faults)


def _drop(seen: _Seen, splits: np.ndarray, found: np.ndarray, name: str) -> None:
    found &= splits != DROPPED
    if not found.any():
        return
    splits[found] = DROPPED
    sources = list(seen.filtered)
    for source, count in zip(*np.unique(seen.sources.codes[found], return_counts=True), strict=True):
        seen.filtered[sources[source]][name] += int(count)


def _expected(expect: Expect, counts: Mapping[str, int], splits: np.ndarray, path: Path) -> None:
    """Hold the result against what it must be; all that differs is named."""
    total = sum(counts.values())
    found = {f"rows of {name}": ({**counts, "all": total}[name], bounds) for name, bounds in expect.rows.items()}
    columns = {*expect.counts, *expect.shares}
    values = {column: Counter[str]() for column in columns}
    if columns:
        for number, row in enumerate(rows(path)):
            if splits[number] != DROPPED:
                for column in columns:
                    values[column][str(row[column])] += 1
    for column, wanted in expect.counts.items():
        found |= {f"rows with {column} {value}": (values[column][value], bounds) for value, bounds in wanted.items()}
    for column, shared in expect.shares.items():
        for value, bounds in shared.items():
            found[f"the share of {column} {value}"] = (values[column][value] / total if total else 0.0, bounds)
    hint = "mend the sources or the filters, or what is expected"
    faults = []
    for what, (value, bounds) in found.items():
        low = float("-inf") if bounds.minimum is None else bounds.minimum
        high = float("inf") if bounds.maximum is None else bounds.maximum
        if not low <= value <= high:
            told = f"{what}: {value:.6g}, expected {_between(bounds.minimum, bounds.maximum)}"
            faults.append(Diagnostic("E619", Exit.NO, told, None, hint))
    if faults:
        raise HsdcError(faults)


def _between(low: float | None, high: float | None) -> str:
    if low is not None and low == high:
        return f"{low:.6g}"
    return " and ".join(
        [*([f"at least {low:.6g}"] if low is not None else []), *([f"at most {high:.6g}"] if high is not None else [])]
    )
