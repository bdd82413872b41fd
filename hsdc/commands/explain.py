"""`hsdc explain`: every layer that set a value, or what the code of a message means."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path as FilePath

from hsdc import codes
from hsdc.origins import DROPPED, Layer, Origins, resolve
from hsdc.output import cut, say, say_json
from hsdc.terminal import columns, style
from hsdc.yaml_view import inline
from hsdc_compiler.node import Path, dotted
from hsdc_compiler.project import Project, find_root
from hsdc_schemas.errors import Exit, did_you_mean, fail

WIDEST_VALUE = 60
WIDEST_CELL = 40
WIDEST_PATH = 80


def execute(options: argparse.Namespace) -> int:
    """Explain a code, or the values of a run."""
    if _is_code(options.subject):
        return _explain_code(options)
    found = resolve(find_root(FilePath.cwd()), options.subject, options.profile)
    paths = _chosen(found, options.path)
    if options.json:
        say_json(_as_json(found, paths))
    elif options.path is not None and len(paths) == 1:
        say(_value(found, paths[0]))
    else:
        say(_table(found, paths))
    return 0


def _is_code(subject: str) -> bool:
    """Whether a subject is a code; a run may be called e801, so lower case is one only where no such run is."""
    if re.fullmatch(r"[EW]\d{3}", subject):
        return True
    if not re.fullmatch(r"[ew]\d{3}", subject):
        return False
    start = FilePath.cwd()
    roots = (folder for folder in (start, *start.parents) if (folder / "specs").is_dir())
    root = next(roots, None)
    return root is None or subject not in Project(root).runs


def _explain_code(options: argparse.Namespace) -> int:
    code, pages = options.subject.upper(), codes.pages()
    if options.path is not None:
        raise fail("E000", Exit.SPEC, f"'{code}' is a code and has no values", None, f"hsdc explain {code}")
    if code not in pages:
        family = [known for known in pages if known[:2] == code[:2]]
        hint = f"known of this family: {', '.join(family)}" if family else "docs/codes.md lists all"
        raise fail("E011", Exit.SPEC, f"no message has the code '{code}'", None, hint)
    page = pages[code]
    if options.json:
        say_json({"version": 1, "code": code, "title": page.title, "text": page.text})
    else:
        say([style(f"{code}: {page.title}", "bold", sys.stdout), "", *page.plain()])
    return 0


def _chosen(found: Origins, wanted: str | None) -> list[Path]:
    """The leaves at or below a path; a label may hold a dot, so paths are compared as they are written."""
    if wanted is None:
        return list(found.leaves)
    chosen = [path for path in found.leaves if any(dotted(path[:i]) == wanted for i in range(1, len(path) + 1))]
    if not chosen:
        known = {dotted(path[:i]) for path in found.leaves for i in range(1, len(path) + 1)}
        raise fail("E010", Exit.SPEC, f"'{found.name}' has no value '{cut(wanted, 100)}'", None, _near(wanted, known))
    return chosen


def _near(wanted: str, known: Iterable[str]) -> str:
    names = sorted(known)
    begin = sorted((name for name in names if name.startswith(wanted)), key=len)
    if begin:
        return "did you mean " + " or ".join(f"'{name}'" for name in begin[:3]) + "?"
    hint = did_you_mean(wanted[:200], names)
    if hint.startswith("did"):
        return hint
    last = wanted.rsplit(".", 1)[-1]
    same = [name for name in names if name.rsplit(".", 1)[-1] == last]
    if same:
        return "did you mean " + " or ".join(f"'{name}'" for name in same[:3]) + "?"
    return f"sections: {', '.join(name for name in names if '.' not in name)}"


def _value(found: Origins, path: Path) -> list[str]:
    layers = found.layers(path)
    value = cut(inline(found.leaves[path]), WIDEST_VALUE * 2)
    head = f"{cut(dotted(path), WIDEST_PATH)} = {style(value, 'bold', sys.stdout)}"
    rows = []
    for layer in layers:
        won = style("<- wins", "good", sys.stdout) if layer is layers[-1] else ""
        rows.append((f"  {cut(layer.place, WIDEST_PATH)}", layer.op, _shown(layer), won))
    return [f"{head}   ({found.name}, profile {found.profile})", *columns(rows)]


def _shown(layer: Layer) -> str:
    if layer.op == "unset" or layer.note == DROPPED:
        return "(taken out)"
    value = cut(inline(layer.value), WIDEST_VALUE)
    return f"{value}  ({cut(layer.note, WIDEST_PATH)})" if layer.note else value


def _table(found: Origins, paths: list[Path]) -> list[str]:
    rows = [("  value", "", "set by", "older layers")]
    for path in paths:
        layers = found.layers(path)
        older = [f"{_shown(layer)} {cut(layer.place, WIDEST_PATH)}" for layer in layers[-2::-1] if _counts(layer)]
        shown = cut(inline(found.leaves[path]), WIDEST_CELL)
        place = cut(layers[-1].place, WIDEST_PATH)
        rows.append((f"  {cut(dotted(path), WIDEST_PATH)}", shown, place, "; ".join(older)))
    title = f"{found.name}, profile {found.profile}: {len(paths)} values"
    return [title, *columns(rows)]


def _counts(layer: Layer) -> bool:
    return layer.op not in ("use", "bind")


def _as_json(found: Origins, paths: list[Path]) -> dict[str, object]:
    def written(layer: Layer, winner: bool) -> dict[str, object]:
        place = {"file": layer.file, "line": layer.line} if layer.file else {"file": None, "line": None}
        return {"op": layer.op, **place, "value": layer.value, "note": layer.note, "wins": winner}

    values = []
    for path in paths:
        layers = found.layers(path)
        listed = [written(layer, layer is layers[-1]) for layer in layers]
        values.append({"path": dotted(path), "keys": path, "value": found.leaves[path], "layers": listed})
    return {"version": 1, "run": found.name, "profile": found.profile, "values": values}
