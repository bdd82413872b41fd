"""What is known of input files: read once, again when they change, large ones several at a time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from hsdc_compiler import cache, recheck
from hsdc_compiler.cache import InputCache
from hsdc_schemas import digests
from hsdc_schemas.digests import digest_bytes, digest_file


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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Another hash in place of BLAKE3, whose package need not be installed; the bytes that each call was fed."""
    fed: list[int] = []

    class Quick:
        def __init__(self) -> None:
            self._hash = hashlib.blake2b()

        def update(self, data: bytes) -> None:
            fed.append(len(data))
            self._hash.update(data)

        def hexdigest(self) -> str:
            return self._hash.hexdigest()

    monkeypatch.setattr(recheck, "blake3", lambda: Quick)
    for module in (digests, recheck):
        monkeypatch.setattr(module, "LARGE", 12)
    return fed


def test_a_large_file_that_was_touched_is_rechecked_by_the_faster_hash(
    tmp_path: Path, files: list[Path], quick: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = InputCache(tmp_path)
    before = first.digests(files)
    assert before == [(digest_bytes(path.read_bytes()), path.stat().st_size) for path in files]
    assert sorted(filter(None, quick)) == [12, 13, 14], "the large ones alone, from the same reading"
    first.save()
    hashed: list[Path] = []
    whole = digest_file
    monkeypatch.setattr(recheck, "digest_file", lambda path, *rest: hashed.append(path) or whole(path, *rest))
    for again in (InputCache(tmp_path, rehash=True), InputCache(tmp_path, rehash=True)):
        assert again.digests(files) == before
        again.save()
    assert [path for path in hashed if path.stat().st_size >= 12] == []
    files[3].write_bytes(b"x" * 13)
    found = InputCache(tmp_path, rehash=True).digests(files)
    assert found[3] == (digest_bytes(b"x" * 13), 13), "SHA-256 is what counts"
    assert files[3] in hashed


def test_what_is_kept_of_the_faster_hash_may_be_nonsense(tmp_path: Path, files: list[Path], quick: list[int]) -> None:
    first = InputCache(tmp_path)
    before = first.digests(files)
    first.quick = {str(path): [path.stat().st_size, "0" * 128, "sha256:wrong"] for path in files}
    first.quick[str(files[3])] = [13]
    first.quick[str(files[4])] = 14  # type: ignore[assignment]
    first.save()
    assert InputCache(tmp_path, rehash=True).digests(files) == before
