"""What leaves hsdc: a new folder, whole or not at all, of what a finished run has in the store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hsdc_runtime.run import finished_record
from hsdc_runtime.store import Damaged, Store
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.record import Artifact, Record

CARD = "README.md"


def require_finished(root: Path, manifest: Manifest) -> Record:
    """The record of a run; HsdcError (E550) where it has none of this manifest."""
    record = finished_record(root, manifest)
    if record is None:
        raise fail("E550", Exit.SPEC, f"'{manifest.run}' is not finished", None, f"hsdc run {manifest.run}")
    return record


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder to write into, which takes its name when all is written; HsdcError (E551) where something is there."""
    if to.exists():
        raise fail("E551", Exit.SPEC, f"'{to.name}' is there already", None, "name a folder that is not there yet")
    to.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    try:
        yield part
        part.chmod(0o755)
        part.rename(to)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def outputs(record: Record, name: str) -> Mapping[str, Artifact]:
    """What a stage of a run made."""
    return next(stage.outputs for stage in record.stages if stage.name == name)


def stored(root: Path, record: Record, stage: str, name: str) -> Path:
    """Where what a stage made is in the store; HsdcError (E436) where it is not, or is damaged."""
    try:
        return Store(root).take(outputs(record, stage)[name].object)
    except Damaged as damaged:
        hint = f"hsdc run {record.run}"
        raise fail("E436", Exit.ENVIRONMENT, f"{stage} of '{record.run}': {name}: {damaged}", None, hint) from None
