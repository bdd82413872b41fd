"""The first manifests of a profile are there all at once, or none is; where that cannot be, each is there by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsdc_compiler import publish
from hsdc_compiler.emit import Emitter
from hsdc_compiler.pipeline import compile_project
from hsdc_schemas import digests
from hsdc_schemas.digests import write_folder
from tests.repository import FILES, ROWS

TWO = {"one.json": b"1\n", "two.json": b"2\n"}


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "generated/demo", tmp_path / "aside"


def inside(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_is_written_whole(place: tuple[Path, Path]) -> None:
    folder, aside = place
    assert write_folder(folder, TWO, aside)
    assert inside(folder) == TWO
    assert not list(aside.iterdir())


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_nothing_is_left_of_half_a_folder(
    place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    folder, aside = place
    before = digests.write_whole

    def breaks(handle: int, data: bytes, path: str | Path) -> None:
        before(handle, data[:1], path)
        if data == TWO["two.json"]:
            raise error

    monkeypatch.setattr(digests, "write_whole", breaks)
    if isinstance(error, OSError):
        assert not write_folder(folder, TWO, aside)
    else:
        with pytest.raises(KeyboardInterrupt):
            write_folder(folder, TWO, aside)
    assert not folder.exists()
    assert not list(aside.iterdir())


def test_a_folder_that_has_come_meanwhile_is_let_be(place: tuple[Path, Path]) -> None:
    folder, aside = place
    folder.mkdir(parents=True)
    (folder / "theirs.json").write_bytes(b"3\n")
    assert not write_folder(folder, TWO, aside)
    assert inside(folder) == {"theirs.json": b"3\n"}
    assert not list(aside.iterdir())


def written(root: Path) -> None:
    """A project of a few runs."""
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    for split in ("train", "validation", "test"):
        path = root / f"data/corpus/{split}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ROWS.replace("\na", f"\n{split[:2]}"), "utf-8")


def test_a_history_is_written_down_where_a_file_is_compared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    made: list[object] = []
    before = Emitter.provenance
    monkeypatch.setattr(Emitter, "provenance", lambda *given: made.append(given) or before(*given))
    first = compile_project(tmp_path, check_only=True)
    assert first.runs
    assert all(len(run.stale) == 2 for run in first.runs)
    assert not made
    publish.write(tmp_path, compile_project(tmp_path))
    made.clear()
    again = compile_project(tmp_path, check_only=True)
    assert not any(run.stale for run in again.runs)
    assert len(made) == len(again.runs)
    path = tmp_path / f"generated/demo/{again.runs[0].name}.provenance.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert [run.stale for run in compile_project(tmp_path, check_only=True).runs if run.stale] == [
        (str(path.relative_to(tmp_path)),)
    ]


@pytest.mark.parametrize("way", ["at once", "one by one", "beside others", "by a link"])
def test_every_way_writes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    written(tmp_path)
    folder = tmp_path / "generated/demo"
    folder.parent.mkdir()
    if way == "one by one":
        monkeypatch.setattr(publish, "write_folder", lambda *_: False)
    elif way == "beside others":
        folder.mkdir()
        (folder / "README").write_bytes(b"")
    elif way == "by a link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to("../elsewhere")
    found = compile_project(tmp_path)
    done = publish.write(tmp_path, found)
    expected = {path.rpartition("/")[2]: data for run in found.runs for path, data in run.files.items()}
    assert {name: data for name, data in inside(folder).items() if name != "README"} == expected
    assert sorted(done.written) == sorted(path for run in found.runs for path in run.files)
    assert len(expected) == 8
    assert not list((tmp_path / ".hsdc/cache").glob(".*"))
