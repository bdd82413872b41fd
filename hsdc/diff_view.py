"""A difference of two sides for people: text for a terminal, Markdown for a pull request."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TextIO

from hsdc.line_diff import LONGEST, Line, counts, line_diff
from hsdc.output import inert
from hsdc.terminal import columns, style
from hsdc_compiler.comparison import Cause, Change, RunDiff
from hsdc_compiler.diff import Diff
from hsdc_compiler.sides import Side
from hsdc_schemas.digests import short
from hsdc_schemas.factors import ABSENT

LIMIT = 65_536  # characters of a comment on a pull request
MOST_LINES = 100  # changes of one run, in Markdown
MOST_NAMES = 30
Mark = Callable[[str], str]


@dataclass(frozen=True)
class Block:
    """Runs that change alike, and those that only inherit it."""

    runs: tuple[RunDiff, ...]
    also: tuple[RunDiff, ...]


def blocks(diff: Diff) -> list[Block]:
    """The runs of a difference: one block for a change, with all whom it reaches."""
    names = {run.run for run in diff.runs if not run.inherited_from}
    followers: dict[str, list[RunDiff]] = {}
    alike: dict[tuple[object, ...], list[RunDiff]] = {}
    for run in diff.runs:
        if run.inherited_from in names:
            followers.setdefault(run.inherited_from, []).append(run)
        else:
            whole = replace(run, run="", was="", parent=None, void=None)
            key = (repr(whole), run.run if run.status != "changed" or run.budget else "")
            alike.setdefault(key, []).append(run)
    found = []
    for runs in alike.values():
        also = [follower for run in runs for follower in followers.get(run.run, [])]
        found.append(Block(tuple(runs), tuple(also)))
    return found


def summary(diff: Diff) -> str:
    """How many runs do what, in one line."""
    counts = {status: sum(run.status == status for run in diff.runs) for status in ("added", "removed", "renamed")}
    changed = sum(run.status == "changed" and bool(run.changes) for run in diff.runs)
    same = len(diff.unchanged) + sum(run.status == "changed" and not run.changes for run in diff.runs)
    parts = [f"{changed} changed", *(f"{count} {status}" for status, count in counts.items() if count)]
    parts += [f"{same} unchanged"]
    if diff.not_compared:
        parts.append(f"{len(diff.not_compared)} not compared")
    void = sum(run.void is not None for run in diff.runs)
    records = f"; {_count(void, 'finished record')} void" if void else ""
    return (
        f"{_count(len(diff.runs) + len(diff.unchanged) + len(diff.not_compared), 'run')}: {', '.join(parts)}{records}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def text(diff: Diff, stream: TextIO | None = None) -> list[str]:
    """The lines for a terminal."""
    stream = stream or sys.stdout
    lines = [inert(f"{diff.new.shown} against {diff.old.shown}, profile {diff.profile}"), ""]
    for block in blocks(diff):
        lines += [style(_title(block, inert), "bold", stream)]
        changes = block.runs[0].changes
        for change, rows in zip(changes, _rows(changes, stream), strict=True):
            lines += [*rows, *_text(change, stream)]
        lines += [f"  {line}" for line in _notes(block, inert)] + [""]
    for title, items in _rest(diff, inert):
        lines += [title, *(f"  {item}" for item in items), ""]
    return [*lines, summary(diff)]


def _text(change: Change, stream: TextIO) -> Iterator[str]:
    """The lines of a text that changed, for a terminal."""
    styles = {"-": "bad", "+": "good"}
    for sign, line in line_diff(change.before, change.after, shown):
        yield f"      {style(f'{sign} {inert(line)}'.rstrip(), styles.get(sign, 'dim'), stream)}"


def _rows(changes: tuple[Change, ...], stream: TextIO) -> list[list[str]]:
    """A row for each change; on a terminal that is too narrow, where and why stand below."""
    cells = [_row(change) for change in changes]
    whole = columns(cells)
    if not stream.isatty() or max(map(len, whole), default=0) <= shutil.get_terminal_size().columns:
        return [[line] for line in whole]
    below = [f"      {', '.join(filter(None, row[3:]))}" for row in cells]
    return [[line, under] for line, under in zip(columns([row[:3] for row in cells]), below, strict=True)]


def _row(change: Change) -> tuple[str, ...]:
    values = _values(change, lambda value: inert(_cut(value)))
    return f"  {change.kind}", inert(change.path), values, inert(place(change)), _because(change.cause, inert)


def _values(change: Change, mark: Mark) -> str:
    lines = line_diff(change.before, change.after, shown)
    if lines:
        return counts(lines)
    before, after = (mark(shown(value)) for value in (change.before, change.after))
    return f"{before} → {after}"


def place(change: Any) -> str:
    """Where a value is written, on both sides where that differs."""
    sides = (getattr(change, side, None) is ABSENT for side in ("before", "after"))
    places = zip((change.before_place, change.after_place), sides, strict=True)
    before, after = (where or ("" if absent else "schema default") for where, absent in places)
    if not before or before == after:
        return after
    return f"{after} (was {before})" if after else f"was {before}"


def _because(cause: Cause, mark: Mark) -> str:
    words = {"own": "own change", "bytes": "input bytes", "schema": "schema default", "packages": "locked packages"}
    if cause.kind in words:
        return words[cause.kind]
    return f"{'inherited from' if cause.kind == 'inherited' else cause.kind} {mark(cause.name)}"


def _title(block: Block, mark: Mark) -> str:
    run = block.runs[0]
    names = _names(block.runs, mark)
    if run.status == "renamed":
        return f"{names} (renamed from {mark(run.was)})"
    if run.status == "added":
        return f"{names} (added{f', extends {mark(run.parent)}' if run.parent else ''})"
    return f"{names} (removed)" if run.status == "removed" else names


def _notes(block: Block, mark: Mark) -> Iterator[str]:
    """What follows for the runs of a block."""
    run = block.runs[0]
    if run.budget is not None:
        yield _budget(run, mark)
    if run.status != "removed" and (run.changes or run.status != "changed"):
        yield _stages(run)
    yield from _void(block.runs, mark)
    alike: dict[tuple[str, ...], list[RunDiff]] = {}
    for follower in block.also:
        alike.setdefault(follower.again, []).append(follower)
    for runs in alike.values():
        stages = "the same stages" if runs[0].again == run.again else _stages(runs[0])
        yield f"also {_names(runs, mark)}: inherited from {mark(runs[0].inherited_from)}; {stages}"
        yield from (f"{mark(item.run)}: {_budget(item, mark)}" for item in runs if item.budget)
        yield from _void(runs, mark)


def _budget(run: RunDiff, mark: Mark) -> str:
    assert run.budget is not None
    if run.status == "added":
        where = f", {mark(run.budget.after_place)}" if run.budget.after_place else ""
        return f"factors within budget: {run.budget.after or 'none'}{where}"
    where = f", {mark(place(run.budget))}" if run.budget.after_place or run.budget.before_place else ""
    return f"factors within budget: {run.budget.before or 'none'} → {run.budget.after or 'none'}{where}"


def _stages(run: RunDiff) -> str:
    again = f"run again: {', '.join(run.again)}" if run.again else "no stage runs again"
    return again + (f"; reused: {', '.join(run.reused)}" if run.reused and run.again else "")


def _void(runs: Iterable[RunDiff], mark: Mark) -> Iterator[str]:
    records = [run.void for run in runs if run.void is not None]
    if records:
        paths = ", ".join(f"{mark(record.path)} ({short(record.digest)})" for record in records[:MOST_NAMES])
        yield f"void: {paths}{_more(len(records))}"


def _names(runs: Iterable[RunDiff], mark: Mark) -> str:
    names = [run.run for run in runs]
    return ", ".join(mark(name) for name in names[:MOST_NAMES]) + _more(len(names))


def _more(count: int) -> str:
    return f" and {count - MOST_NAMES} more" if count > MOST_NAMES else ""


def _rest(diff: Diff, mark: Mark) -> Iterator[tuple[str, list[str]]]:
    """What changes no value, and what is not known: a title and its lines."""
    cosmetic = []
    for item in diff.cosmetic:
        what = ", ".join(f"{key}: {mark(_cut(old))} → {mark(_cut(new))}" for key, old, new in item.prose)
        cosmetic.append(f"{mark(item.path)}: {what or 'comments, order or layout'}")
    if cosmetic:
        yield "cosmetic only (nothing runs again for it):", cosmetic
    if diff.idle:
        title = f"no resolved value of profile {mark(diff.profile)} follows from:"
        yield title, [f"{mark(item.path)} ({item.how})" for item in diff.idle]
    if diff.not_compared:
        yield "not compared, for one side does not compile:", [mark(name) for name in diff.not_compared]
    if diff.notes:
        yield "inputs:", [mark(note) for note in diff.notes]


def shown(value: Any) -> str:
    """A value on one line."""
    if value is ABSENT:
        return "(absent)"
    if isinstance(value, dict) and "digest" in value and "rows" in value:
        if value["digest"] is None:
            return "not known"
        rows = "" if value["rows"] is None else f", {value['rows']:,} rows"
        size = f", {value['bytes']:,} bytes" if value["bytes"] else ""  # rows that are drawn have no file of their own
        return f"{short(value['digest'])}{rows}{size}"
    if isinstance(value, dict) and set(value) == {"named", "used"}:
        return str(value["named"]) + (f" (bound to {value['used']})" if value["named"] != value["used"] else "")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(shown, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return value if isinstance(value, str) else str(value)


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


def code(value: str) -> str:
    """Text as a code span, in which nothing is Markdown, HTML, a link or a mention."""
    value = _cut(inert(value)) or "(empty)"
    fence = _fence(value, 1)
    pad = " " if value[0] in "` " or value[-1] in "` " else ""
    return f"{fence}{pad}{value}{pad}{fence}"


def markdown(diff: Diff, limit: int = LIMIT) -> str:
    """A comment for a pull request, within a limit of characters; what is left out is counted."""
    title = f"### hsdc diff: {summary(diff)}\n\n{code(diff.new.shown)} against {code(diff.old.shown)}, profile "
    parts = [f"{title}{code(diff.profile)}\n"]
    parts += [_faults(side, limit // 8, bool(diff.not_compared)) for side in (diff.new, diff.old) if side.faults]
    room, dropped, total = limit - sum(map(len, parts)) - 200, 0, 0
    whole = blocks(diff)
    for block in whole:
        count = len(block.runs) + len(block.also)
        part, total = _block(block), total + count
        if dropped or len(part) > room:
            dropped += count
        else:
            parts.append(part)
            room -= len(part)
    for heading, items in _rest(diff, code):
        parts.append(_list(f"\n<details><summary>{_bare(heading)}</summary>\n\n", items, "\n</details>\n", room))
        room -= len(parts[-1])
    if dropped:
        parts.append(f"\n{total - dropped} of {total} runs shown; `hsdc diff` shows all.\n")
    return "".join(parts)


def _bare(heading: str) -> str:
    return heading.replace("`", "").rstrip(":")


def _block(block: Block) -> str:
    lines = []
    changes = block.runs[0].changes
    for change in changes[:MOST_LINES]:
        values = _values(change, code)
        lines.append(
            f"{change.kind} {code(change.path)}: {values}; {code(place(change))}; {_because(change.cause, code)}"
            + _fenced(line_diff(change.before, change.after, shown))
        )
    if len(changes) > MOST_LINES:
        lines.append(f"{MOST_LINES} of {len(changes)} changes shown")
    return "".join([f"\n**{_title(block, code)}**\n\n", *(f"- {line}\n" for line in (*lines, *_notes(block, code)))])


def _fenced(lines: list[Line]) -> str:
    """Lines as a code block of an item of a list; its fence is longer than any run of backticks in it."""
    if not lines:
        return ""
    inside = [f"  {sign} {inert(line)}".rstrip() for sign, line in lines[:MOST_LINES]]
    more = [f"  … {len(lines) - MOST_LINES} lines more"] if len(lines) > MOST_LINES else []
    fence = _fence("\n".join(inside), 3)
    return "\n".join([f"\n\n  {fence}diff", *inside, *more, f"  {fence}"])


def _fence(text: str, least: int) -> str:
    """Backticks that end at nothing in a text."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))


def _list(head: str, items: list[str], tail: str, room: int) -> str:
    kept: list[str] = []
    for item in items:
        if sum(map(len, kept)) + len(item) + len(head) + len(tail) + 60 > room:
            break
        kept.append(f"- {item}\n")
    if len(kept) < len(items):
        kept.append(f"- {len(kept)} of {len(items)} shown\n")
    return "" if room < len(head) + len(tail) + 60 else f"{head}{''.join(kept)}{tail}"


def _faults(side: Side, room: int, incomplete: bool) -> str:
    lines = []
    what = " has faults; the comparison is incomplete" if incomplete else " has faults"
    for fault in side.faults:
        where = f" at {code(f'{fault.place.path}:{fault.place.line}')}" if fault.place else ""
        lines.append(f"{code(fault.code)} {code(fault.message)}{where}")
    return _list(f"\n**{code(side.shown)}{what}**\n\n", lines, "", room)
