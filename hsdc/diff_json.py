"""A difference of two sides for programs."""

from __future__ import annotations

from typing import Any

from hsdc_compiler.comparison import RunDiff
from hsdc_compiler.diff import Diff
from hsdc_compiler.sides import Side
from hsdc_schemas.factors import ABSENT


def as_json(diff: Diff) -> dict[str, Any]:
    """The difference as JSON values; a side that does not have a value leaves out `before` or `after`."""
    return {
        "version": 1,
        "profile": diff.profile,
        "differs": diff.differs,
        "complete": not diff.not_compared,
        "old": _side(diff.old),
        "new": _side(diff.new),
        "runs": [_run(run) for run in diff.runs],
        "unchanged": list(diff.unchanged),
        "not_compared": list(diff.not_compared),
        "cosmetic": [
            {"path": item.path, "prose": [{"key": k, "before": b, "after": a} for k, b, a in item.prose]}
            for item in diff.cosmetic
        ],
        "without_effect": [{"path": item.path, "how": item.how} for item in diff.idle],
        "notes": list(diff.notes),
    }


def _side(side: Side) -> dict[str, Any]:
    diagnostics = [item.as_json() for item in side.faults]
    return {"shown": side.shown, "commit": side.commit or None, "diagnostics": diagnostics}


def _run(run: RunDiff) -> dict[str, Any]:
    changes = []
    for change in run.changes:
        sides = {"before": change.before, "after": change.after}
        found: dict[str, Any] = {"kind": change.kind, "path": change.path}
        found |= {key: value for key, value in sides.items() if value is not ABSENT}
        found |= {"before_place": change.before_place or None, "after_place": change.after_place or None}
        changes.append({**found, "cause": {"kind": change.cause.kind, "name": change.cause.name}})
    return {
        "run": run.run,
        "status": run.status,
        "was": run.was or None,
        "extends": run.parent,
        "inherited_from": run.inherited_from or None,
        "changes": changes,
        "budget": {"before": run.budget.before, "after": run.budget.after} if run.budget else None,
        "stages": {"again": list(run.again), "reused": list(run.reused)},
        "void": {"record": run.void.path, "digest": run.void.digest} if run.void else None,
    }
