"""A bit that flips in anything that is stored is noticed; a thousand of them are flipped by `make flips`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from flips import KINDS, Projects, flipped, flips, stop_in_training


@pytest.fixture(scope="module")
def projects(compiled: Path, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Projects:
    folder = tmp_path_factory.mktemp("flips")
    stopped = Path(shutil.copytree(compiled, folder / "stopped"))
    stop_in_training(stopped)
    return Projects(Path(shutil.copytree(finished, folder / "finished")), stopped)


@pytest.mark.parametrize("seed", [1, 2])
def test_flips_are_noticed(projects: Projects, seed: int) -> None:
    done = list(flips(projects, 5 * len(KINDS), seed))
    assert {flip.kind for flip in done} == {*KINDS}
    assert [flip for flip in done if not flip.said] == []


@pytest.mark.parametrize("from_end", [1, 2, 40])
def test_the_end_of_the_ledger_is_not_weaker_than_the_rest(projects: Projects, from_end: int) -> None:
    (path, *_) = KINDS["ledger"].files(projects)
    size = path.stat().st_size
    missed = []
    for bit in range(8 * (size - from_end), 8 * (size - from_end) + 8):
        with flipped(path, bit):
            if not KINDS["ledger"].refusal(projects, path):
                missed.append(bit)
    assert missed == []
