"""A fresh project: it compiles at once and in its layout, overwrites nothing, and says what it lacks."""

from __future__ import annotations

import errno
import json
from importlib import metadata
from pathlib import Path

import pytest

from hsdc.__main__ import main
from hsdc.commands import init
from hsdc.toy_model import toy_files

W012 = (
    "warning[W012] there is no locks/runtime.txt, so manifests do not lock the packages that stages run with; "
    "write the versions of the environment that runs: pip freeze >locks/runtime.txt\n"
)


def hsdc(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_fresh_project_compiles_without_a_message(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cpu" if name == "torch" else version(name))
    code, out, err = hsdc(capsys, "init", "trial")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "next: cd trial && hsdc compile && hsdc run"
    first = files(folder / "trial")
    assert {path for path in first if path.startswith("specs/")} == {
        line.removeprefix("written: ") for line in out.splitlines() if "specs/" in line
    }
    assert b".hsdc/" in first[".gitignore"]
    assert b"generated/** -text\n" in first[".gitattributes"]
    assert b"\ntorch==2.13.0\n" in first["locks/runtime.txt"]
    monkeypatch.chdir(folder / "trial")
    assert hsdc(capsys, "compile")[::2] == (0, "")
    for check in (("compile", "--check"), ("fmt", "--check"), ("schema", "--check")):
        assert hsdc(capsys, *check)[::2] == (0, ""), check
    manifest = json.loads(Path("generated/demo/first.lock.json").read_bytes())
    assert {item["name"] for item in manifest["inputs"]} == {
        *("dataset.train", "dataset.validation", "dataset.test", "model")
    }
    assert all(item["rows"] == {"train": 96}.get(item["name"][8:], 32) for item in manifest["inputs"] if item["rows"])
    monkeypatch.chdir(folder)
    code, out, _ = hsdc(capsys, "init", "other", "--json")
    assert (code, set(json.loads(out)["written"])) == (0, set(first))
    assert files(folder / "other") == first, "the same everywhere"


def test_it_overwrites_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".gitignore").write_text("own\n")
    code, out, _ = hsdc(capsys, "init")
    assert code == 0
    assert out.splitlines()[-2:] == [
        ".gitignore was there already: let git ignore .hsdc/",
        "next: hsdc compile && hsdc run",
    ]
    assert (folder / ".gitignore").read_text() == "own\n"
    before = files(folder)
    code, out, err = hsdc(capsys, "init")
    assert (code, out, err) == (2, "", "error[E009] specs is there already; choose another folder\n")
    assert files(folder) == before
    (folder / "half/models/toy").mkdir(parents=True)
    (folder / "half/models/toy/config.json").write_text("mine")
    code, _, err = hsdc(capsys, "init", "half")
    assert (code, err) == (2, "error[E009] half/models/toy/config.json is there already; choose another folder\n")
    assert set(files(folder / "half")) == {"models/toy/config.json"}


def test_without_the_runtime_it_locks_nothing_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    code, out, _ = hsdc(capsys, "init")
    assert (code, "pip install 'hsdc[runtime]'" in out) == (0, True)
    for arguments in ((), (), ("--check",)):
        code, _, err = hsdc(capsys, "compile", *arguments)
        assert (code, err) == (0, W012), "every time: nothing else would remind"
    (folder / "locks").mkdir()
    (folder / "locks/runtime.txt").write_text("torch==2.13.0\n")
    assert hsdc(capsys, "compile")[::2] == (0, "")


def test_the_toy_is_the_same_everywhere_and_knows_its_words() -> None:
    made = toy_files(["zebra", "apple", "apple", "a"])
    assert made == toy_files(["apple", "a", "zebra"])
    words = json.loads(made["tokenizer.json"])["model"]["vocab"]
    assert list(words)[-2:] == ["apple", "zebra"]
    assert json.loads(made["config.json"])["vocab_size"] == len(words) == len({*words.values()})


def test_half_a_project_is_taken_away_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, written = init.write_atomically, []

    def full(path: Path, data: bytes, *, durable: bool) -> None:
        if len(written) == 6:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write(path, data, durable=durable)

    monkeypatch.setattr(init, "write_atomically", full)
    code, out, err = hsdc(capsys, "init", "trial")
    assert (code, out) == (4, "")
    assert err.startswith("error[E433] No space left on device: trial/")
    assert files(folder) == {}
    monkeypatch.setattr(init, "write_atomically", write)
    assert hsdc(capsys, "init", "trial")[0] == 0
