"""What a run shares with another, and what a change makes anew: no more and no less."""

from __future__ import annotations

from pathlib import Path

from tiny_project import digests, edit, record, spec

COARSER = "budget: 1\nchange: {evaluation: {thresholds: {steps: 5}}}\n"


def executed(found: dict) -> list[str]:
    return [stage["name"] for stage in found["stages"] if stage["executed"]]


def keys(found: dict) -> dict[str, str]:
    return {stage["name"]: stage["key"] for stage in found["stages"]}


def test_a_derived_run_shares_the_prepared_rows(project: Path, hsdc) -> None:
    assert hsdc("run", "warmer").code == 0
    parent, child = record(project, "base"), record(project, "warmer")
    assert executed(child) == ["train", "predict", "calibrate", "thresholds", "score"]
    assert keys(child)["prepare"] == keys(parent)["prepare"]
    assert digests(child)["prepare"] == digests(parent)["prepare"]
    assert all(keys(child)[name] != keys(parent)[name] for name in executed(child))
    assert digests(child)["train"]["weights"] != digests(parent)["train"]["weights"]


def test_a_derived_run_with_other_thresholds_executes_what_reads_them(project: Path, hsdc) -> None:
    spec(project, "coarser", COARSER)
    assert hsdc("compile").code == 0
    assert hsdc("run", "coarser").code == 0
    found = record(project, "coarser")
    assert executed(found) == ["thresholds", "score"]
    assert digests(found)["train"] == digests(record(project, "base"))["train"]


def test_a_superseded_run_executes_only_what_its_change_reaches(project: Path, hsdc) -> None:
    path = project / "generated/demo/base.record.json"
    before = path.read_bytes()
    edit(project, "base", "steps: 9", "steps: 5")
    assert hsdc("compile").code == 3
    assert hsdc("run", "base").code == 1  # the manifest is stale
    assert path.read_bytes() == before
    assert hsdc("compile", "--supersede").code == 0
    assert hsdc("run", "base").code == 0
    assert executed(record(project, "base")) == ["thresholds", "score"]


def test_prose_makes_nothing_anew(project: Path, hsdc) -> None:
    assert hsdc("run", "warmer").code == 0
    paths = [project / f"generated/demo/{run}.record.json" for run in ("base", "warmer")]
    before = [path.read_bytes() for path in paths]
    edit(project, "base", "The run that the others come from", "Another title")
    edit(project, "warmer", "Larger steps.", "Because.")
    assert hsdc("compile").code == 0
    answer = hsdc("run", "base", "warmer")
    assert answer.code == 0
    assert answer.err.count("reused") == 12
    assert "started" not in answer.err
    assert [path.read_bytes() for path in paths] == before


def test_two_profiles_that_mean_the_same_work_share_it(project: Path, hsdc) -> None:
    assert hsdc("compile", "--profile", "plain").code == 0
    assert hsdc("run", "base", "--profile", "plain").code == 0
    found = record(project, "base", "plain")
    assert executed(found) == []
    assert digests(found) == digests(record(project, "base"))
    assert found["manifest"] != record(project, "base")["manifest"]


def test_the_runs_of_a_matrix_by_its_name_and_by_their_own(fresh: Path, hsdc) -> None:
    (fresh / "specs/sweep.yaml").write_text(
        "hsdc: 1\nrun: sweep\nextends: base\nbudget: 0\nmatrix: {axes: {training.seed: [13, 14]}, replicate: [seed]}\n"
    )
    assert hsdc("compile").code == 0
    assert hsdc("run", "sweep.seed-13").code == 0
    answer = hsdc("run", "sweep")
    assert answer.code == 0, answer.err
    assert answer.out.count("scores of sweep.seed-") == 2
    assert (fresh / "generated/demo/sweep.seed-14.record.json").is_file()
    assert "pooled over replicates" in answer.out
    assert answer.out.splitlines()[-3].split()[:4] == ["sweep", "–", "2", "overall"]
    assert hsdc("run", "sweep.seed-15").code == 2
    assert hsdc("run").code == 0
