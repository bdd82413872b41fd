"""Checkpoints that a crash spoilt: recorded and passed over; training goes on from a complete one, to the same bits."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from apart import left, start, wait_for
from uninterrupted import checkpoints, is_the_uninterrupted_one

from hsdc_runtime.ledger import Ledger


def flipped(path: Path) -> None:
    weights = path / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-7] ^= 16
    weights.write_bytes(data)


def cut(path: Path) -> None:
    weights = path / "optimizer.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def half(path: Path) -> None:
    (path / "digests.json").unlink()
    (path / "state.json").unlink()


def other_state(path: Path) -> None:
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "waited": state["waited"] + 1}))


DAMAGES = {damage.__name__: damage for damage in (flipped, cut, half, other_state)}


@pytest.fixture(scope="module")
def killed(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose run was killed in training, with two checkpoints."""
    root = tmp_path_factory.mktemp("killed") / "project"
    shutil.copytree(compiled, root)
    spec = root / "specs/base.yaml"
    spec.write_text(spec.read_text().replace("  seed: 42", "  keep_checkpoints: 2\n  seed: 42"))
    process = start(root, "compile")
    assert left(process) == 0
    process = start(root, "run", "base")
    wait_for(lambda: len(checkpoints(root)) == 2, process)
    process.kill()
    left(process)
    assert len(checkpoints(root)) >= 2
    return root


def again(killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc) -> tuple[Path, Callable[[], str]]:
    """A copy of the killed project, and what says the rest of the run when it goes on."""
    root = Path(shutil.copytree(killed, tmp_path / "project"))
    monkeypatch.chdir(root)

    def go_on() -> str:
        answer = hsdc("run", "base")
        assert answer.code == 0, answer.err
        return answer.err

    return root, go_on


def epochs(said: str) -> list[int]:
    """The epochs that were trained, of what a run said."""
    return [int(number) for number in re.findall(r" epoch (\d+)/", said)]


@pytest.fixture(scope="module")
def rest(killed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """The killed project when nothing was damaged: finished, and the epochs that it went on with."""
    root = Path(shutil.copytree(killed, tmp_path_factory.mktemp("rest") / "project"))
    assert left(start(root, "run", "base")) == 0
    said = (root / "output.txt").read_text()
    assert "set aside" not in said
    return root, epochs(said)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", ["the newest", "all"])
def test_a_damaged_checkpoint(
    killed: Path, rest: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc, damage: str, which: str
) -> None:
    root, go_on = again(killed, tmp_path, monkeypatch, hsdc)
    spoilt = sorted(checkpoints(root))[-1 if which == "the newest" else 0 :]
    for path in spoilt:
        DAMAGES[damage](path)
    said = go_on()
    finished, went_on = rest
    first = went_on[0] - len(spoilt) if which == "the newest" else 1
    assert epochs(said) == list(range(first, went_on[-1] + 1))
    assert said.count("set aside") == len(spoilt)
    noted = [entry for entry in Ledger(root).entries() if entry["event"] == "set aside"]
    assert sorted(entry["output"] for entry in noted) == [f"checkpoint {path.name}" for path in spoilt]
    kept = sorted((root / ".hsdc/store/quarantine").iterdir())
    assert [path.name.split(".")[1] for path in kept] == [path.name for path in spoilt]
    assert hsdc("run", "base").err.count("set aside") == 0
    is_the_uninterrupted_one(root, finished)


def test_one_that_a_killed_process_passed_over_is_recorded_once(
    killed: Path, rest: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc
) -> None:
    root, go_on = again(killed, tmp_path, monkeypatch, hsdc)
    newest = sorted(checkpoints(root))[-1]
    newest.rename(newest.with_name(f"{newest.name}.damaged-1"))
    go_on()
    assert sum(entry["event"] == "set aside" for entry in Ledger(root).entries()) == 1
    is_the_uninterrupted_one(root, rest[0])


def test_half_a_checkpoint_that_has_no_name_yet(
    killed: Path, rest: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc
) -> None:
    root, go_on = again(killed, tmp_path, monkeypatch, hsdc)
    newest = sorted(checkpoints(root))[-1]
    part = newest.with_name(".step-000000999.part")
    part.mkdir()
    shutil.copy(newest / "weights.safetensors", part)
    finished, went_on = rest
    assert epochs(go_on()) == went_on
    assert sum(entry["event"] == "set aside" for entry in Ledger(root).entries()) == 0
    is_the_uninterrupted_one(root, finished)
