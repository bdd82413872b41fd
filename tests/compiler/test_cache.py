"""What is known of input files: read once, again when they change, large ones several at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hsdc_compiler import cache
from hsdc_compiler.cache import InputCache
from hsdc_schemas import digests
from hsdc_schemas.digests import digest_bytes


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"f{number}" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * (10 + number))
    return paths


@pytest.mark.parametrize("large", [1, 12, 1 << 20])
def test_several_files_at_once(tmp_path: Path, files: list[Path], large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "LARGE", large)
    found = InputCache(tmp_path).digests(files)
    assert found == [(digest_bytes(path.read_bytes()), path.stat().st_size) for path in files]


def test_an_unchanged_file_is_not_read_and_a_changed_one_is(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = InputCache(tmp_path)
    before = first.digests(files)
    first.save()
    os.utime(tmp_path / cache.FILE, ns=(2**62, 2**62))  # younger than every file
    read: list[Path] = []
    monkeypatch.setattr(digests, "digest_file", lambda path: read.append(path) or ("sha256:again", 1))
    assert InputCache(tmp_path).digests(files) == before
    assert read == []
    files[2].write_bytes(b"other")
    assert InputCache(tmp_path).digests(files)[2] == ("sha256:again", 1)
    assert read == [files[2]]
    assert InputCache(tmp_path, rehash=True).digests(files) == [("sha256:again", 1)] * 5


def test_a_file_as_young_as_the_cache_is_read_again(tmp_path: Path, files: list[Path]) -> None:
    first = InputCache(tmp_path)
    first.digests(files)
    first.save()
    os.utime(tmp_path / cache.FILE, ns=(0, files[0].stat().st_ctime_ns))
    assert all(InputCache(tmp_path).known(path) is None for path in files)
