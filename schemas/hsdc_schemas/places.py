"""Where manifests and records are in a project: what writes them and what reads them agree here."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hsdc_schemas.digests import short, sync_folder

if TYPE_CHECKING:
    from hsdc_schemas.record import Record

GENERATED = "generated"


def manifest_path(profile: str, run: str) -> str:
    """Where a manifest is, relative to the root."""
    return f"{GENERATED}/{profile}/{run}.lock.json"


def record_path(profile: str, run: str) -> str:
    """Where a record is, relative to the root."""
    return f"{GENERATED}/{profile}/{run}.record.json"


def signature_path(profile: str, run: str) -> str:
    """Where the signatures over a manifest and its record are, relative to the root."""
    return f"{GENERATED}/{profile}/{run}.sig.json"


def set_record_aside(root: Path, record: Record) -> str:
    """Move a record to `superseded/`, under its digest: what was measured is never written over. Its path from now."""
    path = root / record_path(record.profile, record.run)
    kept = f"{GENERATED}/{record.profile}/superseded/{record.run}.{short(record.digest)}.record.json"
    (root / kept).parent.mkdir(exist_ok=True)
    path.replace(root / kept)
    with suppress(FileNotFoundError):  # signatures over it go with it
        (root / signature_path(record.profile, record.run)).replace(root / kept.replace(".record.json", ".sig.json"))
    sync_folder(path.parent)
    return kept
