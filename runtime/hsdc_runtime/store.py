"""The content-addressed store: objects by the SHA-256 of their bytes, actions by stage key.

An object is written to a temporary file, fsynced and renamed into place, and its folder fsynced. Whoever takes an
object gets one whose bytes were hashed again; a damaged one is moved to the quarantine and counts as missing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsdc_schemas.digests import (
    PREFIX,
    canonical,
    digest_file,
    force,
    from_json,
    rename_durably,
    sync_folder,
    write_atomically,
)
from hsdc_schemas.manifest import sealed
from hsdc_schemas.record import Artifact
from hsdc_schemas.secrets import require_no_secrets

STORE = ".hsdc/store"


@dataclass(frozen=True)
class Action:
    """What a stage with some key made: its outputs, and what it said of itself."""

    stage: str
    key: str
    outputs: dict[str, Artifact]
    facts: dict[str, Any]
    seconds: float
    cpu_seconds: float


class Damaged(Exception):  # noqa: N818 - named for what it tells
    """A stored object is missing, or its bytes are not the ones that its name promises."""


class Store:
    """Objects and actions below `.hsdc/store` of a project."""

    def __init__(self, root: Path) -> None:
        self.folder = root / STORE
        self.objects = self.folder / "objects"
        self.actions = self.folder / "actions"
        self.quarantine = self.folder / "quarantine"
        self.responses = self.folder / "responses"  # of endpoints, by request

    def path(self, digest: str) -> Path:
        """Where an object is, or would be."""
        name = digest.removeprefix(PREFIX)
        return self.objects / name[:2] / name[2:]

    def put(self, file: Path) -> tuple[str, int]:
        """Move a finished file into the store; its object digest and size in bytes."""
        with file.open("rb+") as handle:
            force(handle.fileno(), file)
        digest, size = digest_file(file)
        target = self.path(digest)
        if not self._intact(digest):
            target.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o444)
            sync_folder(self.objects)
            rename_durably(file, target)
        return digest, size

    def take(self, digest: str) -> Path:
        """The path of an intact object; raises Damaged, after setting aside what is there."""
        try:
            return self.look(digest)
        except Damaged:
            if self.path(digest).exists():
                self.set_aside(self.path(digest), digest.removeprefix(PREFIX))
            raise

    def look(self, digest: str) -> Path:
        """The path of an intact object; raises Damaged, and touches nothing."""
        path = self.path(digest)
        if not path.exists():
            raise Damaged("it is not in the store")
        if not self._intact(digest):
            raise Damaged("its bytes have changed")
        return path

    def _intact(self, digest: str) -> bool:
        path = self.path(digest)
        return path.is_file() and digest_file(path)[0] == digest

    def set_aside(self, path: Path, name: str) -> None:
        """Move what is damaged to the quarantine, where it is looked at by nobody but people."""
        self.quarantine.mkdir(parents=True, exist_ok=True)
        target = self.quarantine / name
        count = 0
        while target.exists():
            count += 1
            target = self.quarantine / f"{name}.{count}"
        path.replace(target)
        sync_folder(self.quarantine)

    def action(self, key: str) -> Action | None:
        """What is known of a stage key; an entry that cannot be read, or was changed, counts as unknown."""
        try:
            value = from_json(self._action_path(key).read_bytes())
            if sealed(value) != value or value["key"] != key:
                return None
            outputs = {name: Artifact.model_validate(item) for name, item in value["outputs"].items()}
            times = value["seconds"], value["cpu_seconds"]
            return Action(value["stage"], value["key"], outputs, value["facts"], *times)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def record_action(self, action: Action) -> None:
        """Note what a stage made, once all its objects are in the store. Raises HsdcError (E810) for a secret."""
        body = {
            "stage": action.stage,
            "key": action.key,
            "outputs": {name: artifact.model_dump() for name, artifact in action.outputs.items()},
            "facts": action.facts,
            "seconds": action.seconds,
            "cpu_seconds": action.cpu_seconds,
        }
        data = canonical(sealed(body)) + b"\n"
        require_no_secrets(f"what {action.stage} says of itself", data)
        write_atomically(self._action_path(action.key), data)

    def _action_path(self, key: str) -> Path:
        return self.actions / f"{key.removeprefix(PREFIX)}.json"

    def work_folder(self, key: str) -> Path:
        """An empty folder for the outputs of a stage that is about to run."""
        folder = self.folder / "work" / key.removeprefix(PREFIX)[:32]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def checkpoints(self, key: str, run: str = "") -> Path:
        """The folder of the resumable checkpoints of a stage, or of a run's own; it outlives a killed run."""
        folder = self.folder / "checkpoints" / f"{key.removeprefix(PREFIX)[:32]}{run and '.'}{run}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
