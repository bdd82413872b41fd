"""Two states of a small campaign: which values differ, why, what runs again, and what cannot be told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hsdc_compiler.changes import Change as Stale
from hsdc_compiler.comparison import Cause, Change, RunDiff
from hsdc_compiler.diff import Diff, diff
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.publish import write
from hsdc_compiler.sides import read_sides
from hsdc_compiler.state import read_records
from hsdc_schemas.digests import canonical
from hsdc_schemas.factors import ABSENT
from hsdc_schemas.manifest import sealed
from tests.repository import RUN1, Campaign, derived


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path / "campaign")


def compare(campaign: Campaign, old: str = "HEAD", new: str | None = None, *, apart: bool = False) -> Diff:
    sides = read_sides(campaign.root, old, new, "demo", apart=apart)
    return diff(*sides, "demo", read_records(campaign.root, "demo"))


def by_name(found: Diff) -> dict[str, RunDiff]:
    return {run.run: run for run in found.runs}


def causes(found: Diff) -> dict[str, list[tuple[str, Cause]]]:
    return {run.run: [(change.path, change.cause) for change in run.changes] for run in found.runs}


def finish(campaign: Campaign, run: str) -> str:
    """Write a record that stands on the run's manifest; its digest."""
    manifest = json.loads((campaign.root / f"generated/demo/{run}.lock.json").read_text())
    environment = dict.fromkeys(("python", "platform", "machine", "processor", "device"), "x")
    body = {
        **{"hsdc": 1, "schema_version": 1, "run": run, "profile": "demo", "manifest": manifest["digest"]},
        **{"experiment_digest": manifest["experiment_digest"], "started": "", "finished": "", "seconds": 1.5},
        **{"peak_memory_bytes": 1, "environment": {**environment, "cores": 1, "packages": {}, "differs": {}}},
        **{"rows": {}, "stages": [], "scores": {}, "reproduction": None},
    }
    record = sealed(body)
    (campaign.root / f"generated/demo/{run}.record.json").write_bytes(canonical(record) + b"\n")
    return str(record["digest"])


def test_nothing_changed(campaign: Campaign) -> None:
    found = compare(campaign)
    assert (found.runs, found.cosmetic, found.idle, found.notes) == ((), (), (), ())
    assert found.unchanged == ("run1", "run2", "run3", "run4")
    assert not found.differs


def test_a_change_reaches_grandchildren_and_stops_where_a_child_has_its_own(campaign: Campaign) -> None:
    campaign.replace("specs/run1.yaml", "learning_rate: 2.5e-5", "learning_rate: 1.0e-5")
    found = compare(campaign)
    place = "specs/run1.yaml:17"
    expected = Change("value", "training.learning_rate", 2.5e-5, 1.0e-5, place, place, Cause("own", "run1"))
    assert by_name(found)["run1"].changes == (expected,)
    assert {run.run: run.inherited_from for run in found.runs} == {"run1": "", "run2": "run1", "run3": "run1"}
    assert found.unchanged == ("run4",)
    assert by_name(found)["run3"].again == ("train", "predict", "calibrate", "thresholds", "score")
    assert by_name(found)["run3"].reused == ("prepare",)


def test_an_own_value_that_goes_back_to_the_parents_and_to_the_schema(campaign: Campaign) -> None:
    campaign.write("specs/run2.yaml", derived("run2", "run1", "{head: {dropout: 0.4}}"))
    campaign.replace("specs/run1.yaml", ", dropout: 0.2", "")
    found = by_name(compare(campaign))
    assert causes(compare(campaign))["run2"] == [
        ("head.dropout", Cause("own", "run2")),
        ("training.epochs", Cause("own", "run2")),
    ]
    assert [(c.path, c.before, c.after, c.after_place) for c in found["run1"].changes] == [
        ("head.dropout", 0.2, 0.1, "")
    ]
    epochs = found["run3"].changes[-1]
    assert (epochs.before, epochs.after, epochs.cause) == (5, 3, Cause("inherited", "run2"))
    assert (epochs.before_place, epochs.after_place) == ("specs/run2.yaml:6", "specs/run1.yaml:16")
    assert causes(compare(campaign))["run4"] == [("head.dropout", Cause("inherited", "run1"))]


def test_a_component_and_a_profile_are_the_cause_for_every_run(campaign: Campaign) -> None:
    campaign.replace(
        "specs/datasets/corpus.yaml", "columns: [id, text, tone]", "columns: [id, text, tone]\nblank: mask"
    )
    found = compare(campaign)
    assert causes(found) == {f"run{i}": [("dataset.blank", Cause("component", "corpus"))] for i in range(1, 5)}
    assert by_name(found)["run1"].again[0] == "prepare"
    campaign.commit()
    campaign.write("specs/profiles/demo.yaml", "hsdc: 1\nprofile: demo\nbind: {dataset: {corpus: other}}\n")
    found = compare(campaign)
    assert {cause for run in causes(found).values() for _, cause in run} == {Cause("profile", "demo")}
    shown = {change.path: (change.before, change.after) for change in by_name(found)["run2"].changes}
    assert shown["limits.epochs"] == (1, None)
    assert shown["dataset.splits.test"] == ("file:data/corpus/test.csv", "file:data/other/test.csv")
    assert [change.kind for change in by_name(found)["run3"].changes].count("component") == 1


def test_another_component_is_inherited(campaign: Campaign) -> None:
    campaign.replace("specs/run1.yaml", "dataset: {use: corpus}", "dataset: {use: other}")
    found = compare(campaign)
    assert {cause for _, cause in causes(found)["run1"]} == {Cause("own", "run1")}
    assert {run.inherited_from for run in found.runs} == {"", "run1"}


def test_bytes_of_inputs_are_read_from_git(campaign: Campaign) -> None:
    first = campaign.git("rev-parse", "HEAD")
    campaign.write("data/corpus/test.csv", "id,text,tone\na1,The door is shut.,cold\na2,In!,warm\na3,Out!,cold\n")
    campaign.write("models/tiny/model.safetensors", "\3\0\0\0\0\0\0\0{}\n")
    second = campaign.commit()
    campaign.write("data/corpus/test.csv", "nothing that could be read")
    found = compare(campaign, first, second)
    changes = {change.path: change for change in by_name(found)["run4"].changes}
    assert set(changes) == {"dataset.test", "model"}
    test = changes["dataset.test"]
    assert (test.before["rows"], test.after["rows"], test.cause) == (2, 3, Cause("bytes", "file:data/corpus/test.csv"))
    assert changes["model"].before["bytes"] == changes["model"].after["bytes"]
    assert compare(campaign, first, first).runs == ()


def test_a_rename_is_one_run(campaign: Campaign) -> None:
    campaign.git("mv", "specs/run2.yaml", "specs/longer.yaml")
    campaign.replace("specs/longer.yaml", "run: run2", "run: longer")
    campaign.replace("specs/run3.yaml", "extends: run2", "extends: longer")
    found = by_name(compare(campaign))
    assert (found["longer"].status, found["longer"].was, found["longer"].again) == ("renamed", "run2", ())
    assert [(c.kind, c.before, c.after) for c in found["run3"].changes] == [("parent", "run2", "longer")]
    assert set(found) == {"longer", "run3"}


def test_added_and_removed(campaign: Campaign) -> None:
    (campaign.root / "specs/run4.yaml").unlink()
    campaign.write("specs/run5.yaml", derived("run5", "run2", "{head: {dropout: 0.5}}", 2))
    found = compare(campaign)
    assert {run.run: run.status for run in found.runs} == {"run4": "removed", "run5": "added"}
    new = by_name(found)["run5"]
    assert [(c.path, c.before, c.after, c.after_place) for c in new.changes] == [
        ("head.dropout", 0.2, 0.5, "specs/run5.yaml:6")
    ]
    assert new.budget is not None
    assert (new.budget.after, new.reused) == ("1 of 2", ("prepare",))
    assert found.differs


def test_prose_comments_and_order_are_cosmetic(campaign: Campaign) -> None:
    campaign.replace("specs/run1.yaml", "title: The first", "title: The very first")
    campaign.replace("specs/run1.yaml", "head: {layers: 2, hidden: 32,", "head: {hidden: 32, layers: 2,")
    campaign.replace("specs/run3.yaml", "hsdc: 1\n", "# a comment\nhsdc: 1\n")
    campaign.replace("specs/models/tiny.yaml", "title: Tiny", "title: Tiniest")
    found = compare(campaign)
    assert {item.path: [key for key, *_ in item.prose] for item in found.cosmetic} == {
        "specs/run1.yaml": ["title"],
        "specs/run3.yaml": [],
        "specs/models/tiny.yaml": ["title"],
    }
    assert (found.runs, found.idle, found.differs) == ((), (), False)


def test_what_nothing_uses_is_named_and_a_budget_is_no_difference(campaign: Campaign) -> None:
    campaign.replace("specs/datasets/other.yaml", "columns: [id, text, tone]", "columns: [id, text, tone, more]")
    campaign.replace("specs/run2.yaml", "budget: 1", "budget: 3")
    found = compare(campaign)
    assert [(item.path, item.how) for item in found.idle] == [("specs/datasets/other.yaml", "changed")]
    budget = by_name(found)["run2"].budget
    assert budget is not None
    assert (budget.before, budget.after, budget.after_place) == ("1 of 1", "1 of 3", "specs/run2.yaml:4")
    assert not found.differs


def test_a_claim_and_the_lock_are_shown(campaign: Campaign) -> None:
    campaign.replace("specs/run3.yaml", "why:", "reproduces: {run: run1}\nwhy:")
    campaign.replace("locks/runtime.txt", "numpy==2.4.6", "numpy==2.4.7")
    found = by_name(compare(campaign))
    assert [(c.kind, c.path, c.after_place) for c in found["run3"].changes] == [
        ("claim", "reproduces", "specs/run3.yaml:5"),
        ("package", "numpy", "locks/runtime.txt:2"),
    ]
    assert found["run1"].again[0] == "prepare"


def test_a_record_is_void_when_it_stands_on_the_old_manifest(campaign: Campaign) -> None:
    write(campaign.root, compile_project(campaign.root))
    digest = finish(campaign, "run2")
    finish(campaign, "run4")
    campaign.commit()
    campaign.replace("specs/run2.yaml", "epochs: 5", "epochs: 6")
    found = by_name(compare(campaign))
    assert found["run2"].void is not None
    assert (found["run2"].void.digest, found["run2"].void.path) == (digest, "generated/demo/run2.record.json")
    assert (found["run3"].void, set(found)) == (None, {"run2", "run3"})
    write(campaign.root, compile_project(campaign.root), supersede=True)
    finish(campaign, "run2")
    assert by_name(compare(campaign))["run2"].void is None


def test_a_side_that_does_not_compile_deletes_nothing(campaign: Campaign) -> None:
    good = campaign.git("rev-parse", "HEAD")
    campaign.replace("specs/run2.yaml", "epochs: 5", "epochs: many")
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    bad = campaign.commit()
    found = compare(campaign, good, bad)
    assert found.not_compared == ("run2", "run3")
    assert {run.run: run.status for run in found.runs} == {"run4": "changed"}
    assert [fault.code for fault in found.new.faults] == ["E203", "E203"] or {f.code for f in found.new.faults} == {
        "E203"
    }
    back = compare(campaign, bad, good)
    assert (back.not_compared, set(by_name(back)), back.new.faults) == (("run2", "run3"), {"run4"}, ())
    campaign.write("specs/profiles/demo.yaml", "hsdc: 1\nprofile: demo\nbound: 1\n")
    found = compare(campaign)
    assert (found.runs, found.not_compared) == ((), ("run1", "run2", "run3", "run4"))


def test_over_budget_is_compared_all_the_same(campaign: Campaign) -> None:
    campaign.replace("specs/run2.yaml", "{epochs: 5}", "{epochs: 5, rows_per_step: 8}")
    found = compare(campaign)
    assert [fault.code for fault in found.new.faults] == ["E801"]
    assert by_name(found)["run3"].inherited_from == "run2"
    assert found.not_compared == ()


def test_inputs_outside_git_take_a_manifests_word_or_are_marked(campaign: Campaign, tmp_path: Path) -> None:
    outside = tmp_path / "rows.csv"
    outside.write_text("id,text,tone\na1,The door.,cold\na2,Come!,warm\n")
    campaign.write(".hsdc/sources.toml", f'[local]\nrows = "{outside}"\n')
    campaign.replace("specs/datasets/corpus.yaml", "file:data/corpus/test.csv", "local:rows")
    bare = campaign.commit()
    found = compare(campaign, bare, bare)
    assert found.runs == ()
    assert any("local:rows" in note and "not in git" in note for note in found.notes)
    assert compare(campaign, bare).runs == ()
    write(campaign.root, compile_project(campaign.root))
    locked = campaign.commit()
    outside.write_text("id,text,tone\na1,The door.,warm\na2,Come!,cold\n")
    assert compare(campaign, locked, locked).notes == ()
    changes = by_name(compare(campaign, locked))["run1"].changes
    assert [(change.path, change.cause.kind) for change in changes] == [("dataset.test", "bytes")]
    outside.unlink()
    assert compare(campaign, locked).runs == ()


def test_the_first_specs_are_all_added(campaign: Campaign) -> None:
    campaign.git("rm", "-rq", "specs")
    campaign.commit()
    campaign.git("revert", "-n", "HEAD")
    found = compare(campaign)
    assert ({run.status for run in found.runs}, found.old.faults) == ({"added"}, ())


def test_a_value_that_one_side_lacks(campaign: Campaign) -> None:
    campaign.write("specs/run1.yaml", RUN1.replace("{kind: focal, gamma: 2.5}", "{kind: cross_entropy}"))
    changes = {change.path: change for change in by_name(compare(campaign))["run1"].changes}
    gamma = changes["heads.tone.loss.gamma"]
    assert (gamma.before, gamma.after, gamma.after_place) == (2.5, ABSENT, "")


MADE = """\
hsdc: 1
run: made
kind: data
corpus:
  shapes:
    plain: {fields: {id: {}, text: {}, tone: {}}, columns: {id: id, text: text, tone: tone}}
  sources:
    all: {source: "file:data/corpus/train.csv", format: csv, shapes: [plain]}
splits: {kind: drawn, shares: {train: 0.6, validation: 0.2, test: 0.2}, stratify: [tone]}
leakage: {exact: drop, similar: allow}
outputs: {rows: {kind: rows}}
"""
TAKEN = """\
hsdc: 1
dataset: taken
format: jsonl
splits: {train: "run:made/rows.train", validation: "run:made/rows.validation", test: "run:made/rows.test"}
columns: [id, text, tone]
labels: {tone: tone}
"""


def test_a_run_that_takes_rows_finds_who_makes_them_whatever_else_changes(campaign: Campaign) -> None:
    packages = ("jinja2", "msgspec", "pyarrow", "accelerate", "safetensors", "tokenizers", "transformers")
    campaign.write("locks/runtime.txt", "".join(f"{name}==1.0\n" for name in ("torch", "numpy", *packages)))
    campaign.write("specs/made.yaml", MADE)
    campaign.write("specs/datasets/taken.yaml", TAKEN)
    campaign.write("specs/taker.yaml", derived("taker", "run1", "{dataset: {use: taken}}"))
    campaign.commit()
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    found = compare(campaign)
    assert (list(by_name(found)), found.old.faults, found.not_compared) == (["run4"], (), ())
    campaign.replace("specs/made.yaml", "train: 0.6, validation: 0.2", "train: 0.5, validation: 0.3")
    assert {"made", "taker", "run4"} == {*by_name(compare(campaign))}


def test_a_long_text_is_shown_where_it_begins_to_differ() -> None:
    text = "The policy. " * 40
    line = Stale("value", "prompt.policy", text + "also a joke." + text, text + "even a joke." + text).line()
    assert "The policy. also a joke." in line
    assert "The policy. even a joke." in line
    assert len(line) < 300
    assert Stale("value", "a", "1", "2", "specs/a.yaml:1").line() == "value a: 1 → 2  (specs/a.yaml:1)"
