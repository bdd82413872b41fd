"""What notebooks use: compile a project, and read manifests and records as typed values."""

from __future__ import annotations

from pathlib import Path

from hsdc_compiler.compilation import Compilation
from hsdc_compiler.pipeline import DEFAULT_PROFILE
from hsdc_compiler.pipeline import compile_project as _compile
from hsdc_compiler.project import find_root
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import manifest_path, record_path
from hsdc_schemas.record import Record


def compile_project(*runs: str, root: Path | None = None, profile: str = DEFAULT_PROFILE) -> Compilation:
    """Compile in memory; nothing is written. Raises HsdcError where a call is wrong, else look at `.diagnostics`."""
    return _compile(root or find_root(Path.cwd()), runs, profile=profile)


def load_manifest(run: str, root: Path | None = None, profile: str = DEFAULT_PROFILE) -> Manifest:
    """The manifest of a run, its digest checked."""
    path = manifest_path(profile, run)
    return load_sealed((root or find_root(Path.cwd())) / path, path, Manifest)


def load_record(run: str, root: Path | None = None, profile: str = DEFAULT_PROFILE) -> Record:
    """The record of a run, its digest checked."""
    path = record_path(profile, run)
    return load_sealed((root or find_root(Path.cwd())) / path, path, Record)
