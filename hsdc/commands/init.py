"""`hsdc init`: a fresh project that compiles at once, with one run, data set, model and profile to be changed."""

from __future__ import annotations

import argparse
import csv
import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from hsdc.output import inert, say, say_json
from hsdc.toy_model import toy_files
from hsdc_schemas.digests import write_atomically
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.export import schemas
from hsdc_schemas.tables import ENCODER

LOCK = "locks/runtime.txt"
GIT = (".gitignore", ".gitattributes")
HEAD = "# What stages run with. Manifests lock these versions, so a change here changes what results stand for.\n"


def execute(options: argparse.Namespace) -> int:
    """Write the project, unless one of its files is there already."""
    root = Path(options.folder)
    project = {**_starter(), **_model(), **schemas(), **_lock()}
    kept = [path for path in GIT if os.path.lexists(root / path)]
    for path in kept:
        del project[path]
    there = ["specs"] if os.path.lexists(root / "specs") else [path for path in project if os.path.lexists(root / path)]
    if there:
        raise HsdcError(
            Diagnostic("E009", Exit.SPEC, f"{inert(str(root / path))} is there already", None, "choose another folder")
            for path in there
        )
    try:
        for path, data in project.items():
            write_atomically(root / path, data, durable=False)
    except OSError:  # no half of a project, which could not be begun again
        for path in project:
            (root / path).unlink(missing_ok=True)
        for folder in sorted((root / "specs").glob("**/"), reverse=True):
            with suppress(OSError):  # there is something else in it
                folder.rmdir()
        raise
    if options.json:
        say_json({"version": 1, "folder": options.folder, "written": list(project)})
    else:
        say(_told(options.folder, project, kept))
    return int(Exit.DONE)


def _starter() -> dict[str, bytes]:
    """The files that ship, by their paths in the new project."""
    return {
        f".{path}" if f".{path}" in GIT else path: item.read_bytes() for path, item in _below(files("hsdc") / "starter")
    }


def _below(folder: Traversable, path: str = "") -> Iterator[tuple[str, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _below(item, f"{path}{item.name}/")
        else:
            yield f"{path}{item.name}", item


def _model() -> dict[str, bytes]:
    """A toy that knows the words of the training rows."""
    rows = csv.DictReader(io.StringIO((files("hsdc") / "starter/data/notes/train.csv").read_text("utf-8")))
    words = {word for row in rows for word in re.findall(r"[a-z]+", row["text"].lower())}
    return {f"models/toy/{name}": data for name, data in toy_files(words).items()}


def _lock() -> dict[str, bytes]:
    """What is installed of the packages that stages use; nothing where none is."""
    found = {}
    for name in sorted({package for stage in ENCODER for package in stage.packages}):
        try:
            found[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    lines = "".join(f"{name}=={version}\n" for name, version in found.items())
    return {LOCK: (HEAD + lines).encode()} if found else {}


def _told(folder: str, project: dict[str, bytes], kept: list[str]) -> list[str]:
    lines = [f"written: {path}" for path in project if path.startswith("specs/")]
    lines.append("written: sample rows in data/, a toy of a model in models/, schemas for editors in schemas/")
    if LOCK not in project:
        lines.append("the extra 'runtime' is not installed, so no package is locked: pip install 'hsdc[runtime]'")
    if GIT[0] in kept:
        lines.append(f"{GIT[0]} was there already: let git ignore .hsdc/")
    if GIT[1] in kept:
        lines.append(f"{GIT[1]} was there already: let git change no byte of data, generated, models and specs (-text)")
    enter = "" if folder == "." else f"cd {inert(folder)} && "
    return [*lines, f"next: {enter}hsdc compile && hsdc run"]
