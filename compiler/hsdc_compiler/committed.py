"""What is on disk from before: committed manifests, the records that stand on them, and manifests whose run is gone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hsdc_compiler.changes import Change
from hsdc_compiler.stamp import SUFFIXES
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.manifest import Input, Manifest, load_sealed
from hsdc_schemas.places import GENERATED, manifest_path, record_path

if TYPE_CHECKING:
    from hsdc_schemas.record import Record

KEPT = ("value", "execution", "input", "claim")  # what a finished record stands on


def committed_manifest(root: Path, profile: str, name: str) -> Manifest | None:
    """The manifest of a run as it was committed; None where there is no intact one."""
    path = manifest_path(profile, name)
    try:
        return load_sealed(root / path, path, Manifest)
    except HsdcError:
        return None


def with_committed(inputs: tuple[Input, ...], committed: Manifest) -> tuple[tuple[Input, ...], tuple[str, ...]]:
    """Inputs that were read, and the committed manifest's word for those that are absent here."""
    read = {item.name: item for item in inputs}
    missing = tuple(item for item in committed.inputs if item.name not in read)
    return tuple(read.get(item.name, item) for item in committed.inputs), tuple(item.name for item in missing)


def protected(root: Path, profile: str, name: str, digest: str, changes: Iterable[Change]) -> list[Diagnostic]:
    """A finished record's experiment and inputs stay as they are, until the run gets a new name or is superseded.

    `digest` is that of the run's new manifest.
    """
    values = [change.line() for change in changes if change.kind in KEPT]
    record = finished_record(root, profile, name)
    if record is None or record.manifest == digest:
        return []
    old = committed_manifest(root, profile, name)
    if old is None:
        values = ["its manifest is gone, and this one is another"]
    elif not values or record.manifest != old.digest:
        return []
    message = f"'{name}' has a finished record, and this would change what it stands on: {values[0]}"
    hint = "give the change a new name (extends: …), or say hsdc compile --supersede"
    return [Diagnostic("E804", Exit.POLICY, message, None, hint)]


def finished_record(root: Path, profile: str, name: str) -> Record | None:
    """The intact record of a run, whatever manifest it stands on."""
    from hsdc_schemas.record import Record  # weight that whoever has no record does without

    path = record_path(profile, name)
    try:
        return load_sealed(root / path, path, Record)
    except HsdcError:
        return None


def orphans(root: Path, profile: str, runs: Iterable[str]) -> tuple[str, ...]:
    """Manifests whose run is gone and that no record stands on."""
    manifests = {name.removesuffix(".lock.json") for name in _listed(root, profile) if name.endswith(".lock.json")}
    gone = sorted(manifests.difference(runs, records(root, profile)))
    return tuple(f"{GENERATED}/{profile}/{name}{suffix}" for name in gone for suffix in SUFFIXES)


def records(root: Path, profile: str) -> frozenset[str]:
    """The runs that have a record."""
    return frozenset(n.removesuffix(".record.json") for n in _listed(root, profile) if n.endswith(".record.json"))


def _listed(root: Path, profile: str) -> list[str]:
    try:
        return os.listdir(root / GENERATED / profile)  # noqa: PTH208 - names alone
    except OSError:
        return []
