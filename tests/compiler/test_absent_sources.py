"""A data run whose file is absent: the fault is where the file is named, and who takes its rows follows from it."""

from __future__ import annotations

from pathlib import Path

from hsdc_compiler.pipeline import compile_project
from hsdc_schemas.errors import Exit, gravest
from tests.cases.update import lay

CASE = Path(__file__).parents[1] / "cases/valid/data_run"


def test_the_fault_is_at_the_file_and_those_who_take_its_rows_follow(tmp_path: Path) -> None:
    root = lay(CASE, tmp_path / "project")
    (root / "data/validation.csv").unlink()
    found = compile_project(root).diagnostics
    absent = [item for item in found if item.code == "E403"]
    follow = [item for item in found if item.code == "E421"]
    for item in absent:
        assert item.place is not None
        line = (root / item.place.path).read_text("utf-8").splitlines()[item.place.line - 1]
        assert line[item.place.column - 1 :].strip('"').startswith(item.message.split("'")[1])
    assert "specs/made.yaml" in {item.place.path for item in absent if item.place is not None}
    assert follow
    assert all("'made' makes these rows" in item.message for item in follow)
    assert gravest(item for item in found if item.severity == "error") is Exit.ENVIRONMENT
