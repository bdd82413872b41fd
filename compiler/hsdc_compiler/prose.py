"""Changes of spec files that change no value: titles, notes, comments, order, and what nothing uses."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hsdc_compiler.parse import parse
from hsdc_schemas.errors import HsdcError

KEYS = ("title", "notes", "why", "license")


@dataclass(frozen=True)
class Cosmetic:
    """A file whose prose changed: each key before and after; no key where comments, order or layout changed."""

    path: str
    prose: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Idle:
    """A file whose values changed, or that came or went, without a resolved value that follows."""

    path: str
    how: str


def texts(
    old: Mapping[str, bytes], new: Mapping[str, bytes], touched: Collection[str]
) -> tuple[tuple[Cosmetic, ...], tuple[Idle, ...]]:
    """Cosmetic changes, and changes without effect, of specs; in the files `touched` a changed value is written."""
    cosmetic, idle = [], []
    for path in sorted({*old, *new}):
        if old.get(path) == new.get(path) or not path.endswith(".yaml"):
            continue
        if _unix(old.get(path, b"")) == _unix(new.get(path, b"")):  # git may end lines otherwise on another system
            continue
        if path not in old or path not in new:
            if path.count("/") > 1 and path not in touched:
                idle.append(Idle(path, "added" if path in new else "removed"))
            continue
        before, after = _plain(path, old[path]), _plain(path, new[path])
        if before is None or after is None:
            continue
        found = _prose(before, after)
        same = _values(before) == _values(after)
        if found or same:
            cosmetic.append(Cosmetic(path, found))
        if not same and path not in touched:
            idle.append(Idle(path, "changed"))
    return tuple(cosmetic), tuple(idle)


def _unix(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _plain(path: str, data: bytes) -> dict[str, Any] | None:
    try:
        value = parse(path, data).plain()
    except HsdcError:
        return None
    return value if isinstance(value, dict) else None


def _prose(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    pairs = [(key, str(before.get(key, "")), str(after.get(key, ""))) for key in KEYS]
    return tuple(pair for pair in pairs if pair[1] != pair[2])


def _values(value: Mapping[str, Any]) -> str:
    """All but the prose, so that true, 1 and 1.0 are three values and the order of keys is none."""
    return json.dumps({key: item for key, item in value.items() if key not in KEYS}, sort_keys=True)
