"""What `hsdc verify` notices of what was changed or lost, and what it says of a run that is executed again."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from tiny_project import action_file, edit, record, stored

from hsdc_runtime.ledger import HEAD, LEDGER, Ledger
from hsdc_runtime.rerun import AREA, rerun
from hsdc_runtime.run import finished_record
from hsdc_runtime.work import Interrupted
from hsdc_schemas.digests import canonical
from hsdc_schemas.manifest import Manifest, load_sealed, sealed

STAGES = ["prepare", "train", "predict", "calibrate", "thresholds", "score"]
MANIFEST, RECORD = "generated/demo/base.lock.json", "generated/demo/base.record.json"


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and its bytes."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def reseal(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / RECORD
    value = json.loads(path.read_bytes())
    change(value)
    path.write_bytes(canonical(sealed(value)) + b"\n")


def faults(out: str) -> list[list[str]]:
    """State, kind and name of the lines that are not ok."""
    rows = [line.split(maxsplit=3) for line in out.splitlines()]
    return [row[:3] for row in rows if row and row[0] in ("missing", "damaged", "changed")]


@pytest.mark.parametrize("arguments", [["base"], ["--store"]])
def test_what_is_intact_is_ok_and_nothing_is_changed(project: Path, hsdc, arguments: list[str]) -> None:
    before = snapshot(project)
    answer = hsdc("verify", *arguments)
    assert (answer.code, answer.err) == (0, "")
    assert faults(answer.out) == []
    assert answer.out.splitlines()[-1] == {"base": "base: all 16 ok", "--store": "the store: all 22 ok"}[arguments[0]]
    assert snapshot(project) == before


def the_file(project: Path, kind: str) -> Path:
    found = record(project, "base")
    places = {
        "weights": lambda: stored(project, found, "train", "weights"),
        "rows": lambda: stored(project, found, "prepare", "rows"),
        "action": lambda: action_file(project, found, "train"),
        "manifest": lambda: project / MANIFEST,
        "record": lambda: project / RECORD,
        "ledger": lambda: project / LEDGER,
    }
    return places[kind]()


@pytest.mark.parametrize(
    ("kind", "of_the_run"),
    [
        ("weights", ["object", "train/weights"]),
        ("rows", ["object", "prepare/rows"]),
        ("action", None),
        ("manifest", ["manifest", MANIFEST]),
        ("record", ["record", RECORD]),
        ("ledger", ["ledger", LEDGER]),
    ],
)
@pytest.mark.parametrize("part", [3, 2])
def test_a_flipped_bit_is_noticed(project: Path, hsdc, kind: str, of_the_run: list[str] | None, part: int) -> None:
    path = the_file(project, kind)
    flip(path, len(path.read_bytes()) // part)
    before = snapshot(project)
    answer = hsdc("verify", "--store")
    assert answer.code == 1
    assert [row[:2] for row in faults(answer.out)] == [["damaged", of_the_run[0] if of_the_run else "action"]]
    assert answer.out.splitlines()[-1].startswith("the store: 1 damaged, 21 ok")
    if of_the_run is not None:
        answer = hsdc("verify", "base")
        assert answer.code == 1
        assert faults(answer.out) == [["damaged", *of_the_run]]
    assert snapshot(project) == before
    assert answer.err == ""


def test_what_is_absent_is_said_and_contradicts_nothing(project: Path, hsdc) -> None:
    the_file(project, "weights").unlink()
    (project / "data/test.csv").unlink()
    (project / LEDGER).unlink()
    (project / HEAD).unlink()
    answer = hsdc("verify", "base")
    assert answer.code == 0
    expected = [
        ["missing", "object", "train/weights"],
        ["missing", "input", "dataset.test"],
        ["missing", "ledger", LEDGER],
    ]
    assert faults(answer.out) == expected
    assert answer.out.splitlines()[-1] == "base: nothing contradicts; 3 missing, 13 ok"
    assert [row[:2] for row in faults(hsdc("verify", "--store").out)] == [["missing", "action"], ["missing", "ledger"]]


@pytest.mark.parametrize("name", ["data/train.csv", "model/config.json"])
def test_a_changed_input_is_noticed(project: Path, hsdc, name: str) -> None:
    (project / name).write_bytes((project / name).read_bytes() + b"\n")
    answer = hsdc("verify", "base")
    assert answer.code == 1
    assert faults(answer.out) == [["changed", "input", "dataset.train" if "data" in name else "model"]]
    answer = hsdc("verify", "base", "--rerun")
    assert answer.code == 4
    assert "error[E415]" in answer.err


def _other_weights(value: dict[str, Any]) -> None:
    value["stages"][1]["outputs"]["weights"]["digest"] = "sha256:" + "0" * 64


def _other_thresholds(value: dict[str, Any]) -> None:
    value["stages"][4]["outputs"]["thresholds"]["digest"] = "sha256:" + "0" * 64


def _better_scores(value: dict[str, Any]) -> None:
    value["scores"]["raw"]["all"]["stance"]["counts"][0][0] += 5


RESEALED = [
    (_other_weights, ["object", "train/weights"], "its tensors are"),
    (_other_thresholds, ["object", "thresholds/thresholds"], "another digest than its bytes have"),
    (_better_scores, ["record", RECORD], "its scores are not those of the object"),
    (lambda value: value.update(manifest="sha256:" + "1" * 64), ["record", RECORD], "it belongs to manifest 111111"),
    (lambda value: value.update(run="warmer"), ["record", RECORD], "it is the record of warmer"),
    (lambda value: value["stages"][2].update(key="sha256:" + "2" * 64), ["record", RECORD], "other keys"),
]


@pytest.mark.parametrize(("change", "where", "says"), RESEALED)
def test_a_record_that_was_edited_and_sealed_again_is_noticed(
    project: Path, hsdc, change: Callable[[dict[str, Any]], None], where: list[str], says: str
) -> None:
    reseal(project, change)
    answer = hsdc("verify", "base")
    assert answer.code == 1
    assert faults(answer.out) == [["changed", *where]]
    assert says in answer.out
    assert "this record was not written here" in answer.out


def test_a_torn_tail_is_told_from_tampering(project: Path, hsdc) -> None:
    path = project / LEDGER
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"at":"20')
    answer = hsdc("verify", "--store")
    assert answer.code == 0
    assert "a last line of 9 bytes was left half" in answer.out
    assert path.read_bytes() == whole + b'{"at":"20', "it is not cut off"
    lines = whole.splitlines()
    path.write_bytes(b"".join(line + b"\n" for line in [*lines[:4], *lines[5:]]))
    answer = hsdc("verify", "--store")
    assert answer.code == 1
    assert f"{LEDGER}:5: the chain is broken" in answer.out
    path.write_bytes(whole.replace(b"\n", b" \n"))  # even where it says the same
    assert hsdc("verify", "base").code == 1


@pytest.mark.parametrize("kept", [0, 1, -1])
def test_lines_that_were_cut_off_at_the_end_are_noticed(project: Path, hsdc, kept: int) -> None:
    path = project / LEDGER
    path.write_bytes(b"".join(line + b"\n" for line in path.read_bytes().splitlines()[:kept]))
    answer = hsdc("verify", "--store")
    assert answer.code == 1
    assert faults(answer.out) == [["damaged", "ledger", LEDGER]]
    assert "cut off; there were 14" in answer.out
    answer = hsdc("run", "base")
    assert (answer.code, "error[E520]" in answer.err) == (1, True)


def test_a_rerun_that_is_identical(project: Path, hsdc) -> None:
    before = snapshot(project)
    answer = hsdc("verify", "base", "--rerun")
    assert answer.code == 0, answer.err
    assert "verdict  identical: all 6 stages of base" in answer.out
    assert [line.split()[0] for line in answer.err.splitlines() if " started: " in line] == STAGES
    assert "within" not in answer.out
    after = snapshot(project)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name) and "/locks/" not in name}
    assert {LEDGER, HEAD} <= changed <= {LEDGER, HEAD, ".hsdc/ledger.lock"}
    assert not list((project / AREA).iterdir())
    last = Ledger(project).entries()[-1]
    assert (last["event"], last["run"], last["verdict"]) == ("verification finished", "base", "identical")
    assert last["record"] == record(project, "base")["digest"]


def test_a_rerun_with_other_randomness_diverges(project: Path, hsdc, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = import_module("hsdc_runtime.nn.sampling")
    derive = sampling.derive_seed
    monkeypatch.setattr(sampling, "derive_seed", lambda seed, *parts: derive(seed + 1, *parts))
    before = {name: value for name, value in snapshot(project).items() if ".hsdc/store/" in name}
    answer = hsdc("verify", "base", "--rerun", "--json")
    assert answer.code == 1
    said = json.loads(answer.out)
    assert said["exit"] == 1
    assert said["rerun"]["verdict"] == "diverged"
    assert said["rerun"]["executed"] == STAGES
    difference = said["rerun"]["difference"]
    assert (difference["stage"], difference["output"]) == ("train", "weights")
    assert difference["tensor"] == min(load_file(the_file(project, "weights")))
    assert 0 < said["rerun"]["largest"] < 10
    after = snapshot(project)
    assert {name: value for name, value in after.items() if name in before} == before
    assert {name for name in after if ".hsdc/store/" in name and "/locks/" not in name} <= set(before)
    assert Ledger(project).entries()[-1]["difference"] == difference


def test_how_large_a_difference_is(project: Path, hsdc, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = import_module("hsdc_runtime.stages.train")
    learn = stage.learn

    def off(*arguments: Any, **options: Any) -> Any:
        trained = learn(*arguments, **options)
        trained.weights["head_stance.1.bias"][:2] += torch.tensor([0.25, -0.5])
        return trained

    monkeypatch.setattr(stage, "learn", off)
    answer = hsdc("verify", "base", "--rerun")
    assert answer.code == 1
    verdict, level = answer.out.splitlines()[-2:]
    assert level == "level    not comparable; limited by train, weights, tensor head_stance.1.bias"
    assert verdict.startswith("verdict  diverged: first difference in train, weights, tensor head_stance.1.bias (by")
    assert "(by at most 0.5)" in verdict
    the_file(project, "weights").unlink()
    assert "(by how much is not known here)" in hsdc("verify", "base", "--rerun").out


def test_another_environment_is_inconclusive(project: Path, hsdc) -> None:
    def elsewhere(value: dict[str, Any]) -> None:
        value["environment"]["packages"]["torch"] = "0.0.1"
        _other_thresholds(value)

    reseal(project, elsewhere)
    answer = hsdc("verify", "base", "--rerun")
    assert answer.code == 1
    verdict = [line for line in answer.out.splitlines() if line.startswith(("verdict", "  "))]
    assert verdict[0].startswith(
        "verdict  inconclusive: another environment (packages); first difference in thresholds"
    )
    assert verdict[1] == f"  packages: torch 0.0.1 → {torch.__version__}"


def test_a_rerun_that_was_stopped_goes_on(project: Path, hsdc) -> None:
    manifest = load_sealed(project / MANIFEST, MANIFEST, Manifest)
    found = finished_record(project, manifest)
    assert found is not None
    events: list[Any] = []

    def stop() -> bool:
        return any(getattr(event, "figures", {}).get("epoch") == 3 for event in events)

    with pytest.raises(Interrupted):
        rerun(project, manifest, found, observe=events.append, stop=stop)
    assert list((project / AREA).iterdir())
    with (project / ".hsdc/store/locks/verify.demo.base.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = hsdc("verify", "base", "--rerun")
        assert (answer.code, "busy: another process is verifying base" in answer.err) == (75, True)
    answer = hsdc("verify", "base", "--rerun")
    assert answer.code == 0
    assert "verdict  identical" in answer.out
    assert "epoch 1/" not in answer.err
    assert not list((project / AREA).iterdir())


def test_calls(project: Path, hsdc) -> None:
    for arguments in ([], ["base", "--store"], ["--store", "--rerun"]):
        answer = hsdc("verify", *arguments)
        assert (answer.code, "error[E000]" in answer.err) == (2, True)
    answer = hsdc("verify", "bas")
    assert (answer.code, "did you mean 'base'?" in answer.err) == (2, True)
    answer = hsdc("verify", "warmer", "--rerun")
    assert (answer.code, "error[E512]" in answer.err, "hsdc run warmer" in answer.err) == (4, True, True)
    assert faults(hsdc("verify", "warmer").out) == [["missing", "record", "generated/demo/warmer.record.json"]]
    (project / "generated/demo/far.lock.json").unlink()
    answer = hsdc("verify", "far")
    assert (answer.code, "error[E501]" in answer.err) == (4, True)
    edit(project, "base", "seed: 42", "seed: 7")
    assert hsdc("compile", "--supersede").code == 0
    assert hsdc("verify", "base", "--rerun").code == 4
