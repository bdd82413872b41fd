"""What a change of specs does: two compiled sides to one value that says it, with the cause of every difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from hsdc_compiler.comparison import Comparison, RunDiff
from hsdc_compiler.project import spec_of
from hsdc_compiler.prose import Cosmetic, Idle, texts
from hsdc_compiler.side_inputs import OTHER, OWN, UNKNOWN
from hsdc_compiler.sides import Side, spec_path
from hsdc_compiler.state import Standing


@dataclass(frozen=True)
class Diff:
    """The difference of two sides in one profile."""

    profile: str
    old: Side
    new: Side
    runs: tuple[RunDiff, ...]
    unchanged: tuple[str, ...]
    not_compared: tuple[str, ...]
    cosmetic: tuple[Cosmetic, ...]
    idle: tuple[Idle, ...]
    notes: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether runs, resolved values, inputs or stages differ, or cannot be told to be the same."""
        changed = any(run.changes or run.status != "changed" for run in self.runs)
        return changed or bool(self.not_compared)


def diff(old: Side, new: Side, profile: str, here: Mapping[str, Standing] | None = None) -> Diff:
    """Compare two sides; `here` are the records of the working tree, which may stand on the old side's manifests."""
    pairs, added, removed = _paired(old, new)
    missing = _missing(old, new) - pairs.keys()
    found = Comparison(old, new, profile, pairs)
    same = {name for name in pairs if found.same(name)}
    runs = [found.run(name) for name in sorted(pairs) if name not in same]
    runs += [found.added(name) for name in added if name not in missing]
    runs += [found.removed(name) for name in removed if name not in missing]
    records = here or {}, old.records, new.records
    judged = [replace(run, void=_void(run, old, new, records)) for run in runs]
    shown = tuple(run for run in judged if _shown(run))
    same |= {run.run for run in judged if not _shown(run)}
    touched = {spec_path(name) for name in missing}
    touched |= {place.rpartition(":")[0] for run in shown for place in _places(run)}
    cosmetic, idle = texts(old.files, new.files, touched)
    if old.faults or new.faults:
        idle = ()  # what a faulty run would have made of it is not known
    return Diff(
        profile, old, new, shown, tuple(sorted(same)), tuple(sorted(missing)), cosmetic, idle, tuple(_notes(old, new))
    )


def _shown(run: RunDiff) -> bool:
    """Whether there is something to say of a run."""
    return bool(run.changes or run.budget or run.status != "changed")


def _paired(old: Side, new: Side) -> tuple[dict[str, str], list[str], list[str]]:
    """Runs of the new side with those of the old one that they are; runs that came, runs that went."""
    pairs = {name: name for name in new.runs if name in old.runs}
    came = [name for name in sorted(new.runs) if name not in pairs and not _lost(name, old)]
    went = [name for name in sorted(old.runs) if name not in pairs and not _lost(name, new)]
    for name in tuple(came):
        digest = new.runs[name].experiment_digest
        same = [item for item in went if old.runs[item].experiment_digest == digest]
        same.sort(key=lambda item: old.runs[item].parent != new.runs[name].parent)
        if same:
            pairs[name] = same[0]
            came.remove(name)
            went.remove(same[0])
    return pairs, came, went


def _missing(old: Side, new: Side) -> set[str]:
    """The runs that a side has and cannot say anything of; where no side can, they go by the name of their spec."""
    every = {*old.runs, *new.runs}
    specs = {spec_of(name) for name in every}
    named = {name for side in (old, new) if side.faults for name in side.named}
    return {name for name in every if _lost(name, old) or _lost(name, new)} | (named - specs)


def _lost(name: str, side: Side) -> bool:
    """Whether a side has the run and cannot say what it is."""
    return name not in side.runs and bool(side.faults) and spec_path(name).split("/")[1][:-5] in side.named


def _void(run: RunDiff, old: Side, new: Side, records: tuple[Mapping[str, Standing], ...]) -> Standing | None:
    """The finished record that stands on the old manifest of a run which is not the same any more."""
    if run.status == "added" or not (run.changes or run.status != "changed"):
        return None
    before = {old.runs[run.was].digest}
    before |= {old.manifests[run.was].digest} if run.was in old.manifests else set()
    after = new.runs[run.run].digest if run.run in new.runs else ""
    if any(run.run in found and found[run.run].manifest == after for found in records):
        return None
    return next((found[run.was] for found in records if run.was in found and found[run.was].manifest in before), None)


def _places(run: RunDiff) -> Iterator[str]:
    for change in run.changes:
        yield from (change.before_place, change.after_place)
    if run.budget:
        yield from (run.budget.before_place, run.budget.after_place)


def _notes(old: Side, new: Side) -> Iterator[str]:
    """What is not known of inputs that could not be read; a commit's own manifests are as good as its bytes."""
    for what in sorted({*old.unread, *new.unread}):
        if UNKNOWN in (old.unread.get(what), new.unread.get(what)):
            yield f"{what}: not in git, and no manifest names it; taken to be unchanged while its source is"
            continue
        for side in (old, new):
            if side.unread.get(what) == OTHER:
                yield f"{side.shown}: {what}: not in git; taken to be as on the other side"
            elif side.unread.get(what) == OWN and not side.commit:
                yield f"{side.shown}: {what}: absent here, not read again"
