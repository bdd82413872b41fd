"""What the commands that write specs share: reading PATH=VALUE, where they may write, and what a change amounts to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from hsdc_compiler.compilation import Compilation
from hsdc_compiler.edit import PROSE, Written, prose, value_of
from hsdc_compiler.node import Path as KeyPath
from hsdc_compiler.node import dotted
from hsdc_compiler.pipeline import DEFAULT_PROFILE
from hsdc_compiler.project import SPECS, Project
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, fail
from hsdc_schemas.factors import factors

Assignments: TypeAlias = list[tuple[KeyPath, Written]]


def assignments(texts: Sequence[str]) -> Assignments:
    """PATH=VALUE as paths and values, in the order given; raises every malformed one, and paths that clash."""
    faults: list[Diagnostic] = []
    found: dict[KeyPath, Written] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        path = tuple(part.strip() for part in name.split("."))
        if not equals or not all(path):
            hint = "write, for example, training.learning_rate=2e-5"
            faults.append(Diagnostic("E008", Exit.SPEC, f"'{text}' is not of the form PATH=VALUE", None, hint))
            continue
        if clash := next((known for known in found if known[: len(path)] == path[: len(known)]), None):
            message = f"'{dotted(path)}' is set twice"
            if clash != path:
                message = f"'{dotted(clash)}' and '{dotted(path)}' are both set, and one holds the other"
            faults.append(Diagnostic("E008", Exit.SPEC, message, None, "keep one of the two"))
            continue
        try:
            found[path] = prose(path, value) if len(path) == 1 and path[0] in PROSE else value_of(path, value)
        except HsdcError as error:
            faults += error.diagnostics
    if faults:
        raise HsdcError(faults)
    return list(found.items())


def writable(root: Path, path: str) -> Path:
    """The file behind a path of `specs/`, through links that stay there; others are refused."""
    top, folder, real = (Path(os.path.realpath(item)) for item in (root, root / SPECS, root / path))
    if not (folder.is_relative_to(top) and real.is_relative_to(folder)):
        message = f"{path} leads out of {SPECS}/"
        raise fail("E003", Exit.SPEC, message, Place(path, 1), "write the file that it leads to yourself")
    return real


def changed_factors(compilation: Compilation, run: str) -> tuple[KeyPath, ...]:
    """The factors in which a run differs from its parent; of a matrix, those of the run that differs most."""
    most: tuple[KeyPath, ...] = ()
    for name, found in compilation.resolved.items():
        parent = compilation.resolved.get(found.parent or "")
        if parent is not None and (name == run or name.startswith(f"{run}.")):
            most = max(most, tuple(factors(parent.experiment, found.experiment)), key=len)
    return most


def concerning(compilation: Compilation, project: Project, run: str) -> list[Diagnostic]:
    """The diagnostics that a run is concerned by: all but those in runs that it does not descend from."""
    lineage: list[str] = []
    name: object = run
    while isinstance(name, str) and (name := name.partition(".")[0]) in project.runs and name not in lineage:
        lineage.append(name)  # the name of a run that a matrix makes begins with that of its file
        try:
            extends = project.run(name).node.at(("extends",))
        except HsdcError:
            break
        name = extends.value if extends is not None else None
    others = {path for name, path in project.runs.items() if name not in lineage}
    return [found for found in compilation.diagnostics if found.place is None or found.place.path not in others]


def with_hint(diagnostics: Iterable[Diagnostic], hints: dict[str, str]) -> list[Diagnostic]:
    """Diagnostics with the way out that this command offers, by code."""
    return [replace(found, hint=hints.get(found.code, found.hint)) for found in diagnostics]


def compile_command(run: str, profile: str) -> str:
    """The call that locks a run."""
    return f"hsdc compile {run}" + (f" --profile {profile}" if profile != DEFAULT_PROFILE else "")


def in_words(found: tuple[KeyPath, ...], parent: str) -> str:
    """How many factors differ, and which."""
    if not found:
        return f"no factor differs from {parent}"
    count = "1 factor differs" if len(found) == 1 else f"{len(found)} factors differ"
    return f"{count} from {parent}: {', '.join(map(dotted, found))}"
