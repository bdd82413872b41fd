"""`hsdc show`: the resolved run as YAML, each line with its origin."""

from __future__ import annotations

import argparse
from pathlib import Path

from hsdc.origins import DEFAULT, Layer, Origins, resolve
from hsdc.output import inert, say, say_json
from hsdc.yaml_view import lines
from hsdc_compiler.project import find_root


def execute(options: argparse.Namespace) -> int:
    """Show one run."""
    found = resolve(find_root(Path.cwd()), options.run, options.profile)
    if options.json:
        head = {"version": 1, "run": found.name, "profile": found.profile, "title": found.title}
        values = dict(found.values)
        execution = values.pop("execution")
        say_json({**head, "experiment": values, "execution": execution})
    else:
        title = f": {inert(found.title)}" if found.title else ""
        say([f"# {found.name}, profile {found.profile}{title}", *_body(found)])
    return 0


def _body(found: Origins) -> list[str]:
    return lines(found.values, lambda path: inert(_comment(found.layers(path))))


def _comment(layers: list[Layer]) -> str:
    winner = layers[-1]
    if winner.op == DEFAULT:
        return DEFAULT
    if winner.op == "ref":
        target = next((layer.place for layer in layers[-2:-1] if layer.op != "ref"), "")
        return f"{winner.place}, by $ref from {target}" if target else f"{winner.place}, by $ref"
    return winner.place
