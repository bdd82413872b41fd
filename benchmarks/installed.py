"""Packages that a benchmark compares hsdc with, in a virtual environment of their own, made once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.workspace import ROOT


def installed(lock: Path, salt: str = "") -> Path:
    """The environment's folder, below the ignored folder `.cache`; its packages are exactly those of the lock.

    OSError or subprocess.SubprocessError where it cannot be made.
    """
    digest = hashlib.sha256(lock.read_bytes() + f"{salt} {sys.version}".encode()).hexdigest()[:12]
    folder = ROOT / ".cache" / f"benchmark-peers-{digest}"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"installing {lock.relative_to(ROOT)} into {folder.relative_to(ROOT)} (once)", flush=True)
        call([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "-qq", "--disable-pip-version-check"]
        call([*pip, "install", "--no-deps", "--requirement", str(lock)])
        (folder / "whole").touch()
    return folder


def call(command: list[str]) -> None:
    """Run a program quietly, without what this process says to Python."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, timeout=600)
