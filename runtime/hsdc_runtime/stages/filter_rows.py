"""Stage `filter` of a data run: which rows are kept, each other one counted under a name, and the split of each."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hsdc_runtime.making.assign import beyond, drawn, leaks, ranks
from hsdc_runtime.making.filters import Passing, named, passing, written
from hsdc_runtime.making.kept import DROPPED, Columns, Layout, batches_of, placed
from hsdc_runtime.making.likeness import keys
from hsdc_runtime.work import Interrupted, Made, Work
from hsdc_schemas.digests import canonical
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.making import DataExperiment, DrawnSplits, GivenSplits, SourceSplits
from hsdc_schemas.records import shown
from hsdc_schemas.stages import typed

ELSEWHERE = "another split"
SHOWN = 10
_SHAPES = {"any": {"fields": {"id": {}}, "columns": {"id": "id"}}}
_FILLER = {"kind": "data", "outputs": {"rows": {"kind": "rows"}}}


def filter_rows(work: Work) -> Made:
    """One byte for each row that was read: the number of its split, 255 where it is not kept; and why it is not."""
    corpus = {"shapes": _SHAPES, **work.experiment["corpus"]}
    whole = typed(DataExperiment, {**_FILLER, **work.experiment, "corpus": corpus})
    needs = work.needs["read"]
    layout, path = Layout.read(needs["layout"].path), needs["rows"].path
    seen = _Seen(whole, layout, _whole_sources(whole, layout, path))
    for rows in batches_of(path):
        if work.stop():
            raise Interrupted("stopped while filtering rows")
        seen.add(rows)
        work.progress(seen.rows, seen.rows, {})
    splits = _assigned(whole, layout, path, seen)
    counts = [int((splits == number).sum()) for number in range(len(whole.split_names))]
    kept = dict(zip(whole.split_names, counts, strict=True))
    sources = _accounts(layout, seen)
    files = {"splits": work.folder / "splits.bin", "counts": work.folder / "counts.json"}
    files["splits"].write_bytes(splits.tobytes())
    files["counts"].write_bytes(canonical({"names": list(kept), "sources": sources}) + b"\n")
    return Made(files, {"kept": kept, "sources": sources})


def _accounts(layout: Layout, seen: _Seen) -> dict[str, dict[str, Any]]:
    """What became of the records of each source: read = kept + filtered + rejected."""
    found = {}
    for (name, counts), filtered in zip(layout.sources.items(), seen.filtered, strict=True):
        kept = counts["kept"] - filtered.total()
        found[name] = {**counts, "kept": kept, "filtered": dict(sorted(filtered.items()))}
    return found


class _Seen:
    """What is remembered of rows when they have passed, no more than the rest of the stage asks for."""

    def __init__(self, whole: DataExperiment, layout: Layout, taken_whole: frozenset[str]) -> None:
        self._whole, place = whole, layout.names.index
        self._rules: list[tuple[str, int, Passing]] = [
            (named(rule), place(rule.column), passing(rule)) for rule in whole.filters
        ]
        draw = whole.splits if isinstance(whole.splits, DrawnSplits) else None
        self._source_of = layout.source_of(sum(counts["kept"] for counts in layout.sources.values()))
        self._split = [_split_of(whole, name, taken_whole, place) for name in layout.sources]
        leakage = whole.leakage
        self._leak = place(leakage.column)
        self._exact, self._similar = leakage.exact != "allow", leakage.similar != "allow"
        self._id = place(whole.id)
        self._stratify = [place(column) for column in draw.stratify] if draw is not None else []
        self._unit = place(draw.group) if draw is not None and draw.group is not None else None
        self._by = place(whole.sample.stratify) if whole.sample is not None and whole.sample.stratify else None
        self._draw = draw
        self.rows = 0
        self.splits, self.keys, self.texts, self.blank = bytearray(), array("q"), list[str](), list[int]()
        self.ranks, self.draws = array("Q"), array("Q")
        self.strata, self.units, self.sampled = _Codes(), _Codes(), _Codes()
        self.filtered: list[Counter[str]] = [Counter() for _ in layout.sources]

    def add(self, rows: list[Columns]) -> None:
        """Look at some rows, in their order."""
        kept = list(range(len(rows)))
        gone: dict[int, str] = {}
        for name, place, passes in self._rules:
            verdicts = passes([rows[at][place] for at in kept])
            gone.update((at, name) for at, passed in zip(kept, verdicts, strict=True) if not passed)
            kept = [at for at, passed in zip(kept, verdicts, strict=True) if passed]
        self._take(rows, gone)
        if self._exact or self._similar:
            self.blank += [self.rows + at for at, row in enumerate(rows) if row[self._leak] in (None, "")]
            texts = [written(row[self._leak]) for row in rows]
            self.keys.extend(keys(texts) if self._exact else ())
            self.texts.extend(texts if self._similar else ())
        if self._draw is not None:
            by = self._id if self._unit is None else self._unit
            self.ranks.frombytes(ranks(self._draw.seed, [written(row[by]) for row in rows]).tobytes())
            if self._stratify:
                self.strata.extend([tuple(written(row[place]) for place in self._stratify) for row in rows])
            if self._unit is not None:
                self.units.extend([written(row[self._unit]) for row in rows])
        if self._whole.sample is not None:
            self.draws.frombytes(ranks(self._whole.sample.seed, [row[self._id] for row in rows]).tobytes())
            if self._by is not None:
                self.sampled.extend([written(row[self._by]) for row in rows])
        self.rows += len(rows)

    def _take(self, rows: list[Columns], gone: Mapping[int, str]) -> None:
        """The split of each row that the filters left; one that is drawn is 0 for now."""
        sources = self._source_of[self.rows : self.rows + len(rows)]
        bounds = [0, *(np.flatnonzero(np.diff(sources)) + 1).tolist(), len(rows)] if len(rows) else [0]
        for start, end in pairwise(bounds):
            source = int(sources[start])
            splits, filtered = self._split[source](rows[start:end]), self.filtered[source]
            for at, name in gone.items():
                if start <= at < end:
                    splits[at - start] = DROPPED
                    filtered[name] += 1
            elsewhere = splits.count(DROPPED) - sum(start <= at < end for at in gone)
            if elsewhere:
                filtered[ELSEWHERE] += elsewhere
            self.splits += splits

    def drop(self, splits: np.ndarray, found: np.ndarray, name: str) -> None:
        """Take rows out, and count them under a name."""
        found = found & (splits != DROPPED)
        splits[found] = DROPPED
        for source, count in zip(*np.unique(self._source_of[found], return_counts=True), strict=True):
            self.filtered[int(source)][name] += int(count)


class _Codes:
    """A column as numbers of its distinct values."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        self._codes = array("i")

    def extend(self, values: list[Any]) -> None:
        known = self._known
        self._codes.extend([known.setdefault(value, len(known)) for value in values])

    def codes(self, rows: int) -> np.ndarray:
        """The number of each row's value; all the same where nothing was asked for."""
        return np.frombuffer(self._codes, dtype=np.int32) if self._codes else np.zeros(rows, dtype=np.int32)


def _split_of(
    whole: DataExperiment, source: str, taken_whole: frozenset[str], place: Callable[[str], int]
) -> Callable[[list[Columns]], bytearray]:
    """The numbers of the splits of a source's rows."""
    names, own = whole.split_names, whole.corpus.sources[source].split
    match whole.splits:
        case GivenSplits(column=column, names=given) if source not in taken_whole:
            at = place(column)
            number = {value: names.index(name) for value, name in given.items() if own in (None, name)}
            return lambda rows: bytearray(number.get(written(row[at]), DROPPED) for row in rows)
        case GivenSplits() | SourceSplits():
            fixed = bytes([names.index(own or "all")])
            return lambda rows: bytearray(fixed * len(rows))
        case _:
            return lambda rows: bytearray(len(rows))


def _whole_sources(whole: DataExperiment, layout: Layout, path: Path) -> frozenset[str]:
    """Sources none of whose rows is of the split that they are declared for: an error, or taken whole.

    A source that is declared for none is an error where no row of it is of any.
    """
    given = whole.splits
    if not isinstance(given, GivenSplits):
        return frozenset()
    own = {name: whole.corpus.sources[name].split for name in layout.sources}
    found, names, at = {name: Counter[str]() for name in own}, list(own), layout.names.index(given.column)
    source_of, number = layout.source_of(sum(counts["kept"] for counts in layout.sources.values())).tolist(), 0
    for rows in batches_of(path):
        for row in rows:
            found[names[source_of[number]]][written(row[at])] += 1
            number += 1
    without = [name for name in names if not any(given.names.get(v) in _wanted(own[name], given) for v in found[name])]
    whole_ones = frozenset(name for name in without if own[name] and given.on_missing == "use_all")
    faults = []
    for name in without:
        if name in whole_ones:
            continue
        told = ", ".join(f"{shown(value)} ({count:,})" for value, count in found[name].most_common(5)) or "nothing"
        which = f"its split '{own[name]}'" if own[name] else "a split that is made"
        message = f"no row of '{name}' is of {which}; its column '{given.column}' holds {told}"
        hint = "mend 'names' under 'splits'"
        hint += ", or write 'on_missing: use_all' to take every row" if own[name] else ""
        faults.append(Diagnostic("E618", Exit.NO, message, None, hint))
    if faults:
        raise HsdcError(faults)
    return whole_ones


def _wanted(own: str | None, given: GivenSplits) -> frozenset[str]:
    """The splits that rows of a source may be of."""
    return frozenset(given.names.values() if own is None else (own,))


def _assigned(whole: DataExperiment, layout: Layout, path: Path, seen: _Seen) -> np.ndarray:
    """The split of every row, when all have been seen: draws, texts that stand in two splits, the sample."""
    splits = np.frombuffer(bytes(seen.splits), dtype=np.uint8).copy()
    if isinstance(whole.splits, DrawnSplits):
        kept = np.flatnonzero(splits != DROPPED)
        units = seen.units.codes(seen.rows)[kept] if whole.splits.group is not None else None
        places = np.frombuffer(seen.ranks, dtype=np.uint64)[kept] if len(seen.ranks) else np.zeros(0, np.uint64)
        shares = tuple(whole.splits.shares[name] for name in whole.split_names)
        splits[kept] = drawn(shares, places, seen.strata.codes(seen.rows)[kept], units)
    leakage = whole.leakage
    values = np.frombuffer(seen.keys, dtype=np.int64) if len(seen.keys) else np.zeros(0, np.int64)
    compared = splits.copy()
    compared[seen.blank] = DROPPED  # what holds no text has none in common
    same, near = leaks(leakage, values, seen.texts, compared)
    view = _View(path, layout.names.index(whole.id), layout.names.index(leakage.column), whole.split_names)
    faults = view.faults(same, splits, "is that of") if leakage.exact == "raise" else []
    if leakage.similar == "raise":
        faults += view.faults(near, splits, f"is like that, by {leakage.similarity:g} or more, of")
    if faults:
        raise HsdcError(faults)
    seen.drop(splits, same >= 0, f"{leakage.column} in a later split")
    seen.drop(splits, near >= 0, f"{leakage.column} nearly in a later split")
    if whole.sample is not None and seen.rows:
        draws = np.frombuffer(seen.draws, dtype=np.uint64)
        outside = beyond(whole.sample.rows, draws, seen.sampled.codes(seen.rows), splits)
        seen.drop(splits, outside, "outside the sample")
    return splits


@dataclass(frozen=True)
class _View:
    """Rows again, to name some of them."""

    path: Path
    id: int
    column: int
    names: tuple[str, ...]

    def faults(self, found: np.ndarray, splits: np.ndarray, what: str) -> list[Diagnostic]:
        """The first of some rows whose text may not be where it is, each with that of a later split; how many more."""
        places = np.flatnonzero(found >= 0).tolist()
        pairs = {place: int(found[place]) for place in places[:SHOWN]}
        rows = dict(placed(self.path, dict.fromkeys((*pairs, *pairs.values())))) if pairs else {}
        hint = "group by what the rows share under 'splits', or write 'drop' under 'leakage'"

        def called(number: int) -> str:
            return f"row {shown(rows[number][self.id])} in '{self.names[splits[number]]}'"

        told = [
            f"the text of {called(one)} {what} {called(other)}: {shown(written(rows[one][self.column]))}"
            for one, other in pairs.items()
        ]
        if len(places) > SHOWN:
            told.append(f"of {len(places) - SHOWN:,} more rows the text {what} a row in a later split")
        return [Diagnostic("E617", Exit.NO, message, None, hint) for message in told]
