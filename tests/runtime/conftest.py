"""One finished run of a small project for the whole session, and a copy of it for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_project import build

from hsdc.__main__ import main


@dataclass(frozen=True)
class Answer:
    """What the command said."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """One thread, and no test leaves its determinism switches to the next."""
    import torch

    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its manifests, nothing of which was run."""
    root = tmp_path_factory.mktemp("compiled") / "project"
    root.mkdir()
    build(root)
    before = Path.cwd()
    os.chdir(root)
    try:
        assert main(["compile"]) == 0
    finally:
        os.chdir(before)
    return root


@pytest.fixture(scope="session")
def finished(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the record of `base`."""
    root = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(compiled, root)
    before = Path.cwd()
    os.chdir(root)
    try:
        assert main(["run", "base"]) == 0
    finally:
        os.chdir(before)
    return root


@pytest.fixture
def fresh(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the compiled project, as the working directory."""
    return _copy(compiled, tmp_path, monkeypatch)


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project in which `base` is finished, as the working directory."""
    return _copy(finished, tmp_path, monkeypatch)


def _copy(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = target / "project"
    shutil.copytree(source, root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def hsdc(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command, in this process."""

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(list(arguments))
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return call
