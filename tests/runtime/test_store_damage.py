"""A store that lost or spoilt something: what is gone is made anew, with the same digests, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_project import action_file, record, spec, stored

from hsdc_runtime.store import Damaged, Store

OUTPUTS = [("train", "weights"), ("train", "history"), ("prepare", "rows"), ("predict", "logits"), ("score", "scores")]


def flip(path: Path, at: int | None = None) -> None:
    """Change one bit of a file that may be read-only."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def the_run_is_made_good(project: Path, hsdc, stages: list[str]) -> str:
    """Run `base` again: the stages are made anew, the others reused, the record is not touched; what stderr said."""
    path = project / "generated/demo/base.record.json"
    before = path.read_bytes()
    answer = hsdc("run", "base")
    assert answer.code == 0, answer.err
    assert [line.split()[0] for line in answer.err.splitlines() if " started: " in line] == stages
    assert answer.err.count("reused") == 6 - len(stages)
    assert path.read_bytes() == before
    assert f"stands; {', '.join(stages)} made anew with the same digests" in answer.out
    assert hsdc("run", "base").err.count("reused") == 6
    return answer.err


@pytest.mark.parametrize(("stage", "output"), OUTPUTS)
def test_an_object_that_is_gone_is_made_anew(project: Path, hsdc, stage: str, output: str) -> None:
    path = stored(project, record(project, "base"), stage, output)
    before = path.read_bytes()
    path.unlink()
    said = the_run_is_made_good(project, hsdc, [stage])
    assert "set aside" in said
    assert f"{output}: it is not in the store" in said
    assert path.read_bytes() == before


@pytest.mark.parametrize(("stage", "output"), OUTPUTS)
def test_an_object_with_a_flipped_bit_is_set_aside(project: Path, hsdc, stage: str, output: str) -> None:
    path = stored(project, record(project, "base"), stage, output)
    before = path.read_bytes()
    flip(path)
    damaged = path.read_bytes()
    said = the_run_is_made_good(project, hsdc, [stage])
    assert f"{output}: its bytes have changed" in said
    assert path.read_bytes() == before
    assert [file.read_bytes() for file in (project / ".hsdc/store/quarantine").iterdir()] == [damaged]


def test_several_damages_are_mended_at_once(project: Path, hsdc) -> None:
    found = record(project, "base")
    flip(stored(project, found, "train", "weights"), at=0)
    stored(project, found, "calibrate", "calibration").unlink()
    the_run_is_made_good(project, hsdc, ["train", "calibrate"])


def _changed_scores(entry: bytes) -> bytes:
    value = json.loads(entry)
    value["facts"]["scores"]["raw"]["all"]["stance"]["counts"][0][0] += 1
    return json.dumps(value).encode()


GARBAGE = {
    "empty": lambda entry: b"",
    "cut": lambda entry: entry[: len(entry) // 2],
    "no text": lambda entry: b"\xff\x00" + entry,
    "a list": lambda entry: b"[]",
    "null": lambda entry: b"null",
    "nothing in it": lambda entry: b"{}",
    "outputs as a list": lambda entry: b'{"outputs": []}',
    "deep": lambda entry: b"[" * 100_000,
    "other counts": _changed_scores,
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_an_entry_that_cannot_be_trusted_counts_as_unknown(project: Path, hsdc, kind: str) -> None:
    path = action_file(project, record(project, "base"), "score")
    path.write_bytes(GARBAGE[kind](path.read_bytes()))
    assert "nothing is stored under its key" in the_run_is_made_good(project, hsdc, ["score"])


def test_the_entry_of_another_key_counts_as_unknown(project: Path, hsdc) -> None:
    found = record(project, "base")
    action_file(project, found, "score").write_bytes(action_file(project, found, "calibrate").read_bytes())
    the_run_is_made_good(project, hsdc, ["score"])


CONFLICT = b"<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n"


@pytest.mark.parametrize(("content", "code"), [(None, "E503"), (b"{}\n", "E503"), (b"", "E503"), (CONFLICT, "E502")])
@pytest.mark.parametrize("kind", ["lock", "record"])
def test_a_damaged_manifest_or_record_is_refused(
    project: Path, hsdc, kind: str, content: bytes | None, code: str
) -> None:
    path = project / f"generated/demo/base.{kind}.json"
    if content is None:
        flip(path)
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    answer = hsdc("run", "base", "--frozen")
    assert answer.code == 1
    assert f"error[{code}] generated/demo/base.{kind}.json" in answer.err
    assert path.read_bytes() == before
    answer = hsdc("run", "base")
    assert answer.code == 1
    assert path.read_bytes() == before


def test_an_object_is_not_stored_twice_nor_lost_by_that(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = []
    for _ in range(2):
        file = tmp_path / "made"
        file.write_bytes(b"content")
        names.append(store.put(file))
    assert names[0] == names[1]
    assert names[0][1] == 7
    assert store.take(names[0][0]).read_bytes() == b"content"
    assert not store.take(names[0][0]).stat().st_mode & 0o222
    flip(store.path(names[0][0]))
    file.write_bytes(b"content")
    assert store.put(file) == names[0]  # what is damaged gives way to what is whole
    assert store.take(names[0][0]).read_bytes() == b"content"


def test_what_is_damaged_twice_is_kept_twice(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for content in (b"first damage", b"second damage"):
        file = tmp_path / "made"
        file.write_bytes(b"content")
        name, _ = store.put(file)
        store.path(name).chmod(0o644)
        store.path(name).write_bytes(content)
        with pytest.raises(Damaged, match="changed"):
            store.take(name)
        with pytest.raises(Damaged, match="not in the store"):
            store.take(name)
    assert sorted(file.read_bytes() for file in store.quarantine.iterdir()) == [b"first damage", b"second damage"]


def test_a_damaged_object_under_frozen_is_refused(project: Path, hsdc) -> None:
    flip(stored(project, record(project, "base"), "train", "weights"))
    answer = hsdc("run", "base", "--frozen")
    assert answer.code == 4
    assert "E436" in answer.err
    assert "weights: its bytes have changed" in answer.err
    assert hsdc("run", "base").code == 0


def test_a_row_longer_than_the_model_has_positions(fresh: Path, hsdc) -> None:
    config = fresh / "model/config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "max_position_embeddings": 4}))
    assert hsdc("compile").code == 0
    answer = hsdc("run", "base")
    assert answer.code == 2
    assert "set encoder.max_length to 4 at most" in answer.err


@pytest.mark.parametrize("junk", ["{}\n", "<<<<<<< ours\n"])
def test_a_record_that_is_junk_stops_its_own_run_only(project: Path, hsdc, junk: str) -> None:
    (project / "specs/far.yaml").unlink()  # `again` is compared with `base`
    for name in ("warmer", "other_seed"):
        (project / f"specs/{name}.yaml").unlink()
    spec(project, "zero", "budget: 1\nchange: {evaluation: {cross_slices: false}}\n")
    assert hsdc("compile").code == 0
    path = project / "generated/demo/base.record.json"
    path.write_text(junk)
    answer = hsdc("run")
    assert answer.code == 1
    code = "E502" if junk.startswith("<") else "E503"
    assert answer.err.count(f"error[{code}] generated/demo/base.record.json") == 2, "of base and of again"
    assert (project / "generated/demo/zero.record.json").exists()
    assert not (project / "generated/demo/again.record.json").exists()
    assert path.read_text() == junk
    answer = hsdc("run", "--json", "base", "zero")
    assert answer.code == 1
    said = json.loads(answer.out)
    assert [item["run"] for item in said["records"]] == ["zero"]
    assert [item["code"] for item in said["diagnostics"]] == [code]
