"""What `hsdc gc` keeps, what it removes, and that it does neither while somebody works."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_project import action_file, edit, record, stored

from hsdc_runtime import locks
from hsdc_runtime.collect import collect
from hsdc_runtime.events import StageProgress
from hsdc_runtime.ledger import Ledger
from hsdc_runtime.run import run
from hsdc_runtime.work import Busy
from hsdc_schemas.manifest import Manifest, load_sealed

STORE = ".hsdc/store"


def held(root: Path) -> set[str]:
    """Every file of the store but its locks and its links to the files of models."""
    files = (path.relative_to(root) for path in (root / STORE).rglob("*") if path.is_file())
    return {str(path) for path in files if path.parts[2] not in ("locks", "models")}


def named(root: Path, found: dict[str, Any]) -> set[str]:
    """The files of the store that a record needs, read off the record alone."""
    files = {action_file(root, found, stage["name"]) for stage in found["stages"]}
    files |= {stored(root, found, stage["name"], name) for stage in found["stages"] for name in stage["outputs"]}
    return {str(path.relative_to(root)) for path in files}


def listed(answer: Any) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def put(root: Path, path: str, content: bytes = b"x" * 100) -> str:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return path


def key(root: Path, run: str, stage: str) -> str:
    manifest = json.loads((root / f"generated/demo/{run}.lock.json").read_bytes())
    return next(item["key"] for item in manifest["stages"] if item["name"] == stage).removeprefix("sha256:")


def test_what_is_needed_is_kept(project: Path, hsdc) -> None:
    before = held(project)
    for arguments in ([], ["--delete"]):
        answer = hsdc("gc", *arguments)
        assert (answer.code, answer.out, answer.err) == (0, "nothing to remove: all that is stored is needed\n", "")
    assert held(project) == before
    assert hsdc("run", "base").err.count("reused") == 6


@pytest.mark.parametrize("gone", ["base.record.json", "base.lock.json"])
def test_a_manifest_or_a_record_alone_keeps_its_work(project: Path, hsdc, gone: str) -> None:
    before, path = held(project), project / "generated/demo" / gone
    content = path.read_bytes()
    path.unlink()
    for other in ("again", "far"):  # they share every key with base
        (project / f"generated/demo/{other}.lock.json").unlink()
    assert hsdc("gc", "--delete").out.startswith("nothing to remove")
    assert held(project) == before
    path.write_bytes(content)
    assert hsdc("verify", "base").code == 0


def test_the_work_of_a_superseded_run_is_removed(project: Path, hsdc) -> None:
    former = record(project, "base")
    edit(project, "base", "seed: 42", "seed: 7")
    assert hsdc("compile", "--supersede").code == 0
    assert hsdc("run", "base").code == 0
    needed, before = named(project, record(project, "base")), held(project)
    gone = named(project, former) - needed
    assert len(gone) >= 10
    said = listed(hsdc("gc", "--json"))
    assert {entry["path"] for entry in said["entries"]} == gone == before - needed
    sizes = {entry["path"]: entry["bytes"] for entry in said["entries"]}
    assert sizes == {path: (project / path).stat().st_size for path in gone}
    assert (said["bytes"], said["deleted"]) == (sum(sizes.values()), False)
    assert "train/weights of base, superseded in profile demo" in {entry["why"] for entry in said["entries"]}
    assert held(project) == before, "a dry run removes nothing"
    answer = hsdc("gc")
    assert answer.out.splitlines()[-1].endswith("that nobody needs; hsdc gc --delete removes them")
    answer = hsdc("gc", "--delete")
    assert (answer.code, answer.out.splitlines()[-1].startswith(f"removed {len(gone)} entries, ")) == (0, True)
    assert held(project) == needed
    assert hsdc("run", "base").err.count("reused") == 6
    assert hsdc("verify", "--store").code == 0
    last = next(entry for entry in reversed(Ledger(project).entries()) if entry["event"] == "collected")
    assert (last["entries"], last["bytes"]) == (len(gone), said["bytes"])


def test_leftovers_are_removed_and_what_can_be_resumed_is_not(project: Path, hsdc) -> None:
    before = held(project)
    kept = put(project, f"{STORE}/checkpoints/{key(project, 'warmer', 'train')[:32]}/step-000000003/state.json")
    kept_too = put(
        project, f"{STORE}/checkpoints/{key(project, 'again', 'train')[:32]}.again/step-000000003/state.json"
    )
    put(project, f"{STORE}/checkpoints/{key(project, 'base', 'train')[:32]}/step-000000003/state.json")
    put(project, f"{STORE}/checkpoints/{'0' * 32}/step-000000003/state.json")
    put(project, f"{STORE}/work/{'1' * 32}/weights.safetensors")
    put(project, f"{STORE}/quarantine/{'2' * 64}")
    put(project, f"{STORE}/objects/33/{'3' * 62}")
    put(project, f"{STORE}/actions/{'4' * 64}.json")
    put(project, f"{STORE}/actions/.{'5' * 64}.json.17.part")
    put(project, ".hsdc/verify/demo.base/.hsdc/store/objects/66/66")
    (project / STORE / "work/out").symlink_to(project / "data")
    said = listed(hsdc("gc", "--json"))
    kinds = [entry["kind"] for entry in said["entries"]]
    assert kinds == ["action"] * 2 + ["object"] + ["checkpoint"] * 2 + ["work"] * 2 + ["quarantine", "verification"]
    assert hsdc("gc", "--delete").code == 0
    assert held(project) == before | {kept, kept_too}
    assert (project / "data/train.csv").is_file(), "a link is not followed"
    assert hsdc("gc").out.startswith("nothing to remove")


def test_a_checkpoint_is_kept_while_the_weights_are_gone(project: Path, hsdc) -> None:
    kept = put(project, f"{STORE}/checkpoints/{key(project, 'base', 'train')[:32]}/step-000000003/state.json")
    stored(project, record(project, "base"), "train", "weights").unlink()
    assert hsdc("gc", "--delete").code == 0
    assert kept in held(project)


def test_nothing_is_removed_while_a_run_is_going(fresh: Path, hsdc) -> None:
    path = "generated/demo/base.lock.json"
    stray = put(fresh, f"{STORE}/objects/33/{'3' * 62}")
    refused: list[str] = []

    def observe(event: object) -> None:
        if isinstance(event, StageProgress) and not refused:
            with pytest.raises(Busy) as caught:
                collect(fresh)
            refused.append(str(caught.value))

    manifest = load_sealed(fresh / path, path, Manifest)
    run(fresh, manifest, observe=observe, stop=lambda: False)
    assert refused == ["another process is working on base"]
    assert stray in held(fresh)
    assert [item.path for item in collect(fresh)] == [stray]


@pytest.mark.parametrize("name", ["run.demo.base.lock", "0123456789abcdef0123456789abcdef.lock", "collect.lock"])
def test_a_lock_that_is_held_makes_it_busy(project: Path, hsdc, name: str) -> None:
    stray = put(project, f"{STORE}/quarantine/{'2' * 64}")
    with (project / STORE / "locks" / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = hsdc("gc", "--delete")
        assert (answer.code, answer.out) == (75, "")
        assert answer.err.startswith("busy: ")
        assert "nothing was removed" in answer.err
        answer = hsdc("gc")
        assert (answer.code, answer.err.startswith("note: ")) == (0, True)
        assert "1 entry, 100 bytes that nobody needs" in answer.out
    assert stray in held(project)
    assert hsdc("gc", "--delete").code == 0
    assert stray not in held(project)


def test_a_run_does_not_start_while_the_store_is_collected(
    project: Path, hsdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    with (project / STORE / "locks/collect.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = hsdc("run", "base")
        assert answer.code == 75
        assert "busy: another process is removing from the store; run again to continue" in answer.err
    assert hsdc("run", "base").code == 0


@pytest.mark.parametrize("name", ["base.record.json", "base.lock.json"])
def test_what_cannot_be_read_may_need_anything(project: Path, hsdc, name: str) -> None:
    stray = put(project, f"{STORE}/quarantine/{'2' * 64}")
    path = project / "generated/demo" / name
    path.write_bytes(path.read_bytes()[:-9])
    for arguments in ([], ["--delete"]):
        answer = hsdc("gc", *arguments)
        assert (answer.code, answer.out, "error[E503]" in answer.err) == (1, "", True)
    assert stray in held(project)


def test_without_manifests_and_records_nothing_is_removed(project: Path, hsdc) -> None:
    before = held(project)
    for path in (project / "generated/demo").iterdir():
        path.unlink()
    answer = hsdc("gc", "--delete")
    assert (answer.code, "error[E521]" in answer.err) == (4, True)
    assert held(project) == before


def test_a_project_without_a_store_has_nothing_to_remove(fresh: Path, hsdc) -> None:
    assert hsdc("gc", "--delete").out.startswith("nothing to remove")
    assert not (fresh / STORE).exists()


def aged(root: Path, path: str, seconds: float) -> str:
    then = time.time() - seconds
    os.utime(root / path, (then, then))
    return path


def test_half_written_files_of_killed_processes_are_removed(project: Path, hsdc) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine, dead = os.getpid(), gone.pid
    left = {
        put(project, f"generated/demo/.base.lock.json.0a1b2c3d.{dead}.part"),
        put(project, f".hsdc/cache/.compiled-demo.json.{dead}.part"),
        put(project, f".hsdc/.ledger.head.{dead}.part"),
        put(project, f"generated/demo/.old.record.json.{mine}.part"),
        str(Path(put(project, f".hsdc/cache/.demo.0a1b2c3d.{dead}.part/run1.lock.json")).parent),
    }
    for path in left:
        aged(project, path, 25 * 3600 if str(mine) in path else 120)
    kept = {
        put(project, f"generated/demo/.young.lock.json.{dead}.part"),  # of another machine, for all that is known
        put(project, f"generated/demo/.base.record.json.{mine}.part"),
        put(project, "generated/demo/notes.part"),
        put(project, f"generated/demo/.base.record.json.{dead}.part.txt"),
    }
    found = listed(hsdc("gc", "--json"))
    assert {item["path"] for item in found["entries"]} == left
    assert {item["kind"] for item in found["entries"]} == {"leftover"}
    assert f".ledger.head.{dead}.part" in hsdc("gc").out
    assert all((project / path).exists() for path in left | kept)
    assert hsdc("gc", "--delete").code == 0
    assert not any((project / path).exists() for path in left)
    assert all((project / path).exists() for path in kept)


def test_nothing_is_removed_where_the_ledger_would_not_note_it(project: Path, hsdc) -> None:
    left = aged(project, put(project, "generated/demo/.base.lock.json.4194305.part"), 120)
    ledger = project / ".hsdc/ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    answer = hsdc("gc", "--delete")
    assert (answer.code, "error[E520]" in answer.err) == (1, True)
    assert (project / left).exists()


def test_half_written_files_where_there_is_no_store(fresh: Path, hsdc) -> None:
    path = aged(
        fresh, put(fresh, "generated/demo/.base.lock.json.4194305.part"), 120
    )  # beyond what Linux numbers processes with
    assert not (fresh / STORE).exists()
    assert [item["path"] for item in listed(hsdc("gc", "--json"))["entries"]] == [path]
    assert hsdc("gc", "--delete").code == 0
    assert not (fresh / path).exists()
    assert not (fresh / STORE).exists()
