"""A project whose model is large, or of many files, and the same files under DVC."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.campaign.measure import Case, aside, nothing
from benchmarks.campaign.peers import Peers

CONFIG = {"model_type": "bert", "hidden_size": 8}
MODEL = """\
hsdc: 1
model: big
title: Weights of random bytes
source: file:models/big
"""
PROFILE = """\
hsdc: 1
profile: big
title: The campaign on packaged rows and a model of random bytes
bind:
  dataset: {adjudications: sample_adjudications}
  model: {mbert: big}
"""
PIECE = 1 << 24
HEADER = 120  # bytes
RUNS = ("run1", "run2", "run4")


@dataclass(frozen=True)
class Files:
    """How many files, and of how many bytes each."""

    name: str
    count: int
    size: int

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return self.count * self.size

    def write(self, folder: Path) -> None:
        """Write them as the shards of a model; every one differs, and none has holes."""
        folder.mkdir(parents=True)
        piece = random.Random(7).randbytes(min(PIECE, self.size))
        for index in range(self.count):
            with (folder / self.shard(index)).open("wb") as file:
                left = self.size - file.write(self._header())
                while left:
                    left -= file.write(f"{index:08}{left:012}".encode()[:left] + piece[20:left])

    def _header(self) -> bytes:
        """What a file of one tensor begins with, without which no model is locked."""
        length = self.size - 8 - HEADER
        tensor = {"weight": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}}
        return HEADER.to_bytes(8, "little") + json.dumps(tensor).encode().ljust(HEADER)

    def shard(self, index: int) -> str:
        """The name of one."""
        return f"model-{index + 1:05}-of-{self.count:05}.safetensors"


@dataclass(frozen=True)
class Big:
    """A copy of the project with a big model bound to it; the files lie in `folder`."""

    root: Path
    files: Files

    @property
    def folder(self) -> Path:
        """Where the model's files are."""
        return self.root / "models" / "big"

    def make(self) -> None:
        """Write specs and files; of the campaign, the runs that lead to one of the encoder stay."""
        for path in (self.root / "specs").glob("*.yaml"):
            if path.stem not in RUNS:
                path.unlink()
        (self.root / "specs" / "models" / "big.yaml").write_text(MODEL, "utf-8")
        (self.root / "specs" / "profiles" / "big.yaml").write_text(PROFILE, "utf-8")
        self.files.write(self.folder)
        weights = {str(index): self.files.shard(index) for index in range(self.files.count)}
        (self.folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}), "utf-8")
        (self.folder / "config.json").write_text(json.dumps(CONFIG), "utf-8")

    def cases(self) -> list[Case]:
        """Compilations, in the states of their inputs; each leaves what the next one starts from."""

        def scratch() -> None:
            for part in (".hsdc", "generated"):
                aside(self.root / part, self.root / "aside")

        def forget() -> None:
            aside(self.root / "generated", self.root / "aside")

        def touch() -> None:
            forget()
            os.utime(self.folder / self.files.shard(0))

        command = (sys.executable, "-m", "hsdc", "compile", "--profile", "big")
        named = {
            "nothing known": scratch,
            "files known, nothing generated": forget,
            "one file touched": touch,
            "nothing changed": nothing,
        }
        same = "nothing has changed"
        return [
            Case(f"hsdc compile, {name}", command, self.root, os.environ, do, same if do is nothing else "written")
            for name, do in named.items()
        ]


def under_dvc(folder: Path, files: Files, peers: Peers) -> list[Case]:
    """`dvc add` of as many files; its cache takes them by link, which is the least that it can do."""
    if peers.programs is None:
        return []
    dvc = peers.program("dvc")
    files.write(folder / "data")
    environment = {**peers.environment, "DVC_SITE_CACHE_DIR": str(folder / "site")}
    for command in (("init", "--no-scm", "--quiet"), ("config", "cache.type", "hardlink")):
        subprocess.run((dvc, *command), cwd=folder, env=environment, check=True, capture_output=True)

    def scratch() -> None:
        for part in ("data.dvc", "site", ".dvc/cache", ".dvc/tmp"):
            aside(folder / part, folder.parent / "aside")

    def case(name: str, *command: str, says: str = "") -> Case:
        return Case(name, (dvc, *command), folder, environment, scratch if "nothing known" in name else nothing, says)

    return [
        case("dvc add, nothing known", "add", "--quiet", "data"),
        case("dvc add, nothing changed", "add", "--quiet", "data"),
        case("dvc status, nothing changed", "status", says="up to date"),
    ]


def room(folder: Path) -> int:
    """Free bytes of a folder's disk."""
    return shutil.disk_usage(folder).free
