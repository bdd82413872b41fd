"""What a stage gets and gives: its section, its inputs, what earlier stages made; named files and facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsdc_runtime.inputs import Located
from hsdc_runtime.watch import Watch


class Interrupted(Exception):  # noqa: N818 - it is no error
    """A run stopped where it was asked to; run again to go on."""


class Busy(Exception):  # noqa: N818 - it is no error
    """Another process is working on the same stage."""


@dataclass(frozen=True)
class Output:
    """What an earlier stage made: an intact file, and the digest of its content."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Work:
    """Everything that a stage may see.

    `checkpoints` outlive a killed run and no finished stage; `responses` of endpoints outlive both.
    """

    section: Mapping[str, Any]
    inputs: Located
    needs: Mapping[str, Mapping[str, Output]]
    keys: Mapping[str, str]
    folder: Path
    checkpoints: Path
    responses: Path
    progress: Callable[[int, int, dict[str, Any]], None]
    stop: Callable[[], bool]
    watch: Watch

    @property
    def experiment(self) -> Mapping[str, Any]:
        """The part of the experiment that the stage reads."""
        part: Mapping[str, Any] = self.section.get("experiment", {})
        return part

    @property
    def execution(self) -> Mapping[str, Any]:
        """The part of the execution that the stage reads."""
        part: Mapping[str, Any] = self.section.get("execution", {})
        return part


@dataclass(frozen=True)
class Made:
    """The files a stage wrote, facts about them, and content digests where the file's own is not meant."""

    files: Mapping[str, Path]
    facts: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
