"""One finished fine-tune for all tests, and a copy of the compiled project for those that change it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hsdc.__main__ import main
from tests.finetune.project import write


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """One thread, and no test leaves its determinism switches to the next."""
    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write(tmp_path_factory.mktemp("compiled") / "project")
    return inside(root, lambda: main(["compile"]) == 0 and root)


@pytest.fixture(scope="session")
def finished(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(compiled, tmp_path_factory.mktemp("finished") / "project"))
    return inside(root, lambda: main(["run", "tune"]) == 0 and root)


def inside(root: Path, call: Callable[[], Any]) -> Any:
    before = Path.cwd()
    os.chdir(root)
    try:
        found = call()
        assert found
        return found
    finally:
        os.chdir(before)


@pytest.fixture
def fresh(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = Path(shutil.copytree(compiled, tmp_path / "project"))
    monkeypatch.chdir(root)
    return root
