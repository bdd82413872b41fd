"""The declared inputs, hashed again before anything is allocated: what is not what was locked is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hsdc_schemas.digests import digest_file, short
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.manifest import Input, Manifest
from hsdc_schemas.model_files import model_files
from hsdc_schemas.sources import locate_file, locate_model


@dataclass(frozen=True)
class Located:
    """Where the inputs are on this machine: a file per split with its digest, and the model's folder."""

    splits: dict[str, Path]
    digests: dict[str, str]
    model: Path


def verify_inputs(manifest: Manifest, root: Path) -> Located:
    """Locate and hash every input; all that is missing or changed is named at once, exit 4."""
    faults: list[Diagnostic] = []
    splits: dict[str, Path] = {}
    model = root
    for item in manifest.inputs:
        try:
            if item.name == "model":
                spec = manifest.experiment.model
                model = locate_model(root, item.source, item.revision, spec.folder)
                faults += _compare(item, [(name, model / name) for name in model_files(model)])
            else:
                path = locate_file(root, item.source)
                splits[item.name.removeprefix("dataset.")] = path
                faults += _compare(item, [(item.files[0].path, path)])
        except HsdcError as error:
            faults += error.diagnostics
    if faults:
        raise HsdcError(faults)
    return Located(splits, {split: manifest.input(f"dataset.{split}").digest for split in splits}, model)


def _compare(item: Input, found: Iterable[tuple[str, Path]]) -> list[Diagnostic]:
    locked = {file.path: file.digest for file in item.files}
    faults = []
    for name, path in found:
        expected = locked.pop(name, None)
        shown = item.source if item.name != "model" else f"{item.source}: {name}"
        if expected is None:
            faults.append(_fault(f"{shown} was not there when the run was locked ({item.name})"))
            continue
        digest, _ = digest_file(path)
        if digest != expected:
            faults.append(_fault(f"{shown} is not what was locked ({item.name}): {short(expected)} → {short(digest)}"))
    return faults + [_fault(f"{item.source}: {name} is gone ({item.name})") for name in locked]


def _fault(message: str) -> Diagnostic:
    hint = "put the locked file back, or lock the new one: hsdc compile"
    return Diagnostic("E415", Exit.ENVIRONMENT, message, None, hint)
