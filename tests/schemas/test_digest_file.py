"""Digests of files: each byte read once, several large ones at a time, small ones one after the other."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

import pytest

from hsdc_schemas import digests
from hsdc_schemas.digests import ONE_READ, digest_each, digest_file

SIZES = [0, 1, 1000, ONE_READ - 1, ONE_READ, ONE_READ + 1, 3 * ONE_READ + 5]


@pytest.mark.parametrize("size", SIZES)
def test_the_digest_is_that_of_the_bytes(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert digest_file(tmp_path / "f") == (f"sha256:{hashlib.sha256(data).hexdigest()}", size)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel counts bytes read in /proc")
@pytest.mark.parametrize("size", SIZES)
def test_each_byte_is_read_once(tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(bytes(size))
    counted = Path("/proc/self/io")
    before = counted.read_text()
    digest_file(tmp_path / "f")
    after = counted.read_text()
    assert int(after.split()[1]) - int(before.split()[1]) - len(before) == size


@pytest.mark.parametrize("told", [0, 5, 2000, ONE_READ, 2 * ONE_READ])
def test_a_file_that_is_not_as_long_as_it_was_is_read_whole(
    tmp_path: Path, told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(1000)
    (tmp_path / "f").write_bytes(data)
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda handle: os.stat_result((*real(handle)[:6], told, *real(handle)[7:])))
    assert digest_file(tmp_path / "f") == (f"sha256:{hashlib.sha256(data).hexdigest()}", 1000)


def test_no_handle_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(ONE_READ + 1))
    lowest = os.open(tmp_path, os.O_RDONLY)
    os.close(lowest)
    digest_file(tmp_path / "f")
    with pytest.raises(IsADirectoryError):
        digest_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        digest_file(tmp_path / "g")
    again = os.open(tmp_path, os.O_RDONLY)
    os.close(again)
    assert again == lowest


def test_large_files_are_read_at_the_same_time_and_small_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "LARGE", 10)
    sizes = [10, 3, 11, 9, 0]
    paths = [tmp_path / f"f{number}" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(path.name.encode()[:1] * size)
    expected = [digest_file(path) for path in paths]
    together, where = threading.Barrier(2, timeout=20), {}

    def noted(path: Path) -> tuple[str, int]:
        where[path] = threading.get_ident()
        if path.stat().st_size >= 10:
            together.wait()  # breaks where the other one is not being read meanwhile
        return digest_file(path)

    monkeypatch.setattr(digests, "digest_file", noted)
    assert digest_each(paths, sizes) == expected
    assert {where[path] for path in paths[1::2]} | {where[paths[4]]} == {threading.get_ident()}
    assert len({where[paths[0]], where[paths[2]], threading.get_ident()}) == 3


def test_one_large_file_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "LARGE", 10)
    (tmp_path / "f").write_bytes(bytes(50))
    seen: list[int] = []
    monkeypatch.setattr(digests, "digest_file", lambda path: seen.append(threading.get_ident()) or ("", 0))
    digest_each([tmp_path / "f"], [50])
    assert seen == [threading.get_ident()]
