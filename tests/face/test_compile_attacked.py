"""`hsdc compile` where files were deleted, linked, garbled or named by nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_compile_command import finished, hsdc, project, replaced

__all__ = ["project"]  # the fixture


def test_a_manifest_that_was_deleted_protects_its_record_no_less(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hsdc(capsys, "compile")[0] == 0
    record = finished(project, "warmer")
    lock = project / "generated/demo/warmer.lock.json"
    lock.unlink()
    assert hsdc(capsys, "compile")[0] == 0  # the same manifest again
    lock.unlink()
    replaced(project / "specs/warmer.yaml", "max_grad_norm: 1.0", "max_grad_norm: 2.0")
    code, _, err = hsdc(capsys, "compile")
    assert (code, "E804" in err) == (3, True)
    assert record.exists()
    assert not lock.exists()


def test_a_tree_with_a_linked_folder_is_never_said_to_be_unchanged(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "specs/datasets").rename(project / "corpora")
    (project / "specs/datasets").symlink_to("../corpora")
    for _ in range(3):
        code, out, _ = hsdc(capsys, "compile")
        assert code == 0
        assert "nothing has changed" not in out
    for component in (project / "corpora").glob("*.yaml"):
        component.write_text("# moved by a line\n" + component.read_text())
    assert hsdc(capsys, "compile", "--check")[0] == 1


def test_garbage_in_the_caches_costs_time_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for garbage in ("[" * 100_000, '{"files": [1], "facts": 2}', "\x00", "{}"):
        for name in ("inputs.json", "compiled-demo.json"):
            path = project / ".hsdc/cache" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(garbage)
        assert hsdc(capsys, "compile")[0] == 0


def test_names_that_no_one_can_read(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.close(os.open(os.fsencode(project / "specs") + b"/\xff.yaml", os.O_CREAT | os.O_WRONLY))
    code, _, err = hsdc(capsys, "compile")
    assert (code, "E003" in err) == (2, True)
