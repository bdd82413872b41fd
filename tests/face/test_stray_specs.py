"""Files in `specs/` that look like specs and are read by nobody are named, and what to do with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsdc.__main__ import main
from tests.cases.update import HERE, lay

SPEC = """\
hsdc: 1
run: cooler
extends: parent
budget: 1
why: Clip less.
change:
  training: {max_grad_norm: 1.0}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = lay(HERE / "valid/claims", tmp_path / "project")
    monkeypatch.chdir(root)
    return root


def hsdc(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("specs/cooler.yml", "rename it: specs/cooler.yaml"),
        ("specs/mine/cooler.yaml", "runs are at the top of specs: move it there"),
        ("specs/datasets/cooler.yml", "rename it: specs/datasets/cooler.yaml"),
    ],
)
def test_a_file_that_only_looks_like_a_spec_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], path: str, hint: str
) -> None:
    for _ in range(2):
        assert hsdc(capsys, "compile")[::2] == (0, "")
    (project / path).parent.mkdir(exist_ok=True)
    (project / path).write_text(SPEC)
    for _ in range(2):  # also where nothing else has changed
        code, _, err = hsdc(capsys, "compile")
        assert (code, err) == (0, f"warning[W013] {path} is not read; {hint}\n")
    if "datasets" not in path:
        said = f"error[E004] there is no run 'cooler'; {path} is not read: {hint}\n"
        assert hsdc(capsys, "compile", "cooler")[::2] == (2, said)
