"""Which runs each spec stands for."""

from __future__ import annotations

from pathlib import Path

from hsdc_compiler.expand import expand
from hsdc_compiler.project import Project
from hsdc_schemas.errors import HsdcError


def run_names(root: Path) -> dict[str, tuple[str, ...]]:
    """Every spec of a run and the runs that it stands for: itself, or those of its matrix."""
    project = Project(root)
    names = {}
    for name in project.runs:
        try:
            made = expand(project.run(name), lambda _: None)
        except HsdcError:  # to be said by whoever compiles it
            made = []
        names[name] = tuple(run.name for run in made) or (name,)
    return names
