"""A disk that is full, fails or is read-only: exit 4 and why, nothing half done, the same bits once it is mended."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from injection import Call, Traced, disk, read_only, resize, traced
from uninterrupted import is_the_uninterrupted_one

from hsdc_runtime.ledger import LEDGER, Ledger
from hsdc_schemas.digests import write_atomically

ROOM = "size=64m,nr_inodes=5000"
FORCED = {  # what is forced to the disk in a run, in the order of the first time
    "a line of the ledger": r"ledger\.jsonl",
    "an object": r"/work/.*/weights\.safetensors",
    "the folder of an object": r"/objects/..",
    "an action": r"/actions/\..*\.part",
    "the folder of actions": r"/actions",
    "weights of a checkpoint": r"/checkpoints/.*\.part/weights\.safetensors",
    "the folder of checkpoints": r"/checkpoints/[0-9a-f]{32}",
    "a record": r"/demo/\.base\.record\.json.*\.part",
    "the folder of records": r"/generated/demo",
}


@pytest.fixture(scope="module")
def calls(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Call, ...]:
    """Every fsync of a run that nothing happens to."""
    import shutil

    root = tmp_path_factory.mktemp("traced") / "project"
    shutil.copytree(compiled, root)
    found = traced(root, "run", "base")
    assert found.code == 0, found.said
    return found.calls


def said_once(said: str, reason: str) -> None:
    lines = [line for line in said.splitlines() if line.startswith("error[")]
    assert len(lines) == 1, said
    assert lines[0].startswith("error[E433] ")
    assert reason in lines[0]
    assert "Traceback" not in said


@pytest.mark.parametrize("what", FORCED)
def test_what_a_disk_fails_to_keep_is_not_published(
    fresh: Path, finished: Path, hsdc, calls: tuple[Call, ...], what: str
) -> None:
    kind = re.compile(f".*{FORCED[what]}")
    number = next(place for place, call in enumerate(calls, 1) if kind.fullmatch(call.path))
    found = traced(fresh, "run", "base", fault=f"error=EIO:when={number}")
    assert [place for place, call in enumerate(found.calls, 1) if call.injected] == [number]
    assert kind.fullmatch(found.calls[number - 1].path)
    assert found.code == 4, found.said
    said_once(found.said, os.strerror(errno.EIO))
    assert not _again(found, number), "what failed was tried again"
    assert not (fresh / "generated/demo/base.record.json").exists()
    events = [entry["event"] for entry in Ledger(fresh).entries()]
    stages = sum(event == "stage finished" for event in events)
    published = len(list((fresh / ".hsdc/store/actions").glob("*.json")))
    assert "run finished" not in events
    assert stages == published
    assert not list(fresh.rglob(".*.part"))
    assert hsdc("run", "base").code == 0
    is_the_uninterrupted_one(fresh, finished)


def _again(found: Traced, number: int) -> list[Call]:
    """The calls after the one that failed that were for the same file, whose name is not given twice."""
    return [call for call in found.calls[number:] if call.path == found.calls[number - 1].path]


@pytest.mark.parametrize("options", ["size=16k", "size=160k", "size=600k", "size=900k", "nr_inodes=12", "nr_inodes=40"])
def test_no_room_for_the_store(fresh: Path, finished: Path, hsdc, options: str) -> None:
    with disk(fresh / ".hsdc", options):
        with pytest.raises(OSError, match="No space left"):  # the disk is as small as it is meant to be
            _fill(fresh / ".hsdc/filling")
        _empty(fresh / ".hsdc/filling")
        answer = hsdc("run", "base")
        assert answer.code == 4, answer.err
        said_once(answer.err, os.strerror(errno.ENOSPC))
        assert not (fresh / "generated/demo/base.record.json").exists()
        assert hsdc("verify", "--store").code == 0
        resize(fresh / ".hsdc", ROOM)
        assert hsdc("run", "base").code == 0
        is_the_uninterrupted_one(fresh, finished)


def _fill(folder: Path) -> None:
    """Write 2 MB into 100 files, more than the finished store has of both."""
    folder.mkdir()
    for number in range(100):
        (folder / str(number)).write_bytes(bytes(20_000))


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_no_room_for_the_ledger(project: Path, hsdc) -> None:
    with disk(project / ".hsdc", "size=4m"):
        filling = project / ".hsdc/filling"
        with pytest.raises(OSError, match="No space left"):
            filling.write_bytes(bytes(5 << 20))
        for _ in range(40):  # the last page of the ledger has room for some lines
            before = (project / LEDGER).read_bytes()
            answer = hsdc("run", "base")
            if answer.code != 0:
                break
        assert answer.code == 4
        said_once(answer.err, os.strerror(errno.ENOSPC))
        after = (project / LEDGER).read_bytes()
        assert after.startswith(before)
        assert after.endswith(b"\n")
        Ledger(project).entries()
        filling.unlink()
        assert hsdc("run", "base").code == 0
        assert len(Ledger(project).entries()) > after.count(b"\n")


def test_no_room_for_a_manifest(fresh: Path, hsdc) -> None:
    whole = {path.name: path.read_bytes() for path in (fresh / "generated/demo").iterdir()}
    for path in (fresh / "generated/demo").iterdir():
        path.unlink()
    with disk(fresh / "generated", "size=32k"):
        answer = hsdc("compile")
        assert answer.code == 4
        said_once(answer.err, os.strerror(errno.ENOSPC))
        there = {path.name: path.read_bytes() for path in (fresh / "generated/demo").iterdir()}
        assert there.items() < whole.items()
        resize(fresh / "generated", ROOM)
        assert hsdc("compile").code == 0
        assert {path.name: path.read_bytes() for path in (fresh / "generated/demo").iterdir()} == whole


def test_no_room_for_what_is_only_remembered(fresh: Path, hsdc) -> None:
    with disk(fresh / ".hsdc", "size=4k,nr_inodes=2"):
        assert not list((fresh / ".hsdc").rglob("*.json"))
        assert hsdc("compile", "--rehash").code == 0
        assert hsdc("compile", "--check").code == 0


def test_a_store_that_cannot_be_written_to(project: Path, hsdc) -> None:
    before = _content(project)
    with read_only(project):
        with pytest.raises(OSError, match="Read-only file system"):
            (project / ".hsdc/new").touch()
        answer = hsdc("run", "base")
        assert answer.code == 4
        said_once(answer.err, os.strerror(errno.EROFS))
        assert "make it writable" in answer.err
        assert hsdc("run", "warmer").code == 4
        for question in (["verify", "base"], ["verify", "--store"], ["compile", "--check"], ["ls"], ["show", "base"]):
            answer = hsdc(*question)
            assert (answer.code, answer.err) == (0, ""), question
    assert _content(project) == before
    assert hsdc("run", "base").code == 0


def _content(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def _failing(monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool]) -> None:
    """An fsync that fails for some calls; what it said once, it does not take back."""
    made = iter(range(1, 1000))
    real = os.fsync

    def fsync(handle: int) -> None:
        if when(next(made)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("call", [1, 2])
def test_a_file_that_was_not_there_is_not_there_after_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    _failing(monkeypatch, lambda number: number == call)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_atomically(tmp_path / "made", b"content")
    assert caught.value.filename == str(tmp_path / "made" if call == 1 else tmp_path)
    assert not list(tmp_path.iterdir())
    write_atomically(tmp_path / "made", b"content")
    assert (tmp_path / "made").read_bytes() == b"content"


def test_a_line_that_the_disk_failed_is_cut_off_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path)
    ledger.append("counted", number=0)
    before = ledger.path.read_bytes()
    with monkeypatch.context() as patched:
        _failing(patched, lambda number: number == 1)
        with pytest.raises(OSError, match="Input/output error"):
            ledger.append("counted", number=1)
    assert ledger.path.read_bytes() == before
    ledger.append("counted", number=2)
    assert [entry["number"] for entry in ledger.entries()] == [0, 2]
