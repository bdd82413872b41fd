"""A comparison that leaves alone what the last compilation knows says what one that compiles everything says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hsdc.diff_json import as_json
from hsdc.diff_view import markdown, text
from hsdc_compiler import sides
from hsdc_compiler.compilation import Compiled
from hsdc_compiler.diff import Diff, diff
from hsdc_compiler.known import FILE
from hsdc_compiler.publish import write
from hsdc_compiler.recompile import recompile
from hsdc_compiler.state import read_records
from hsdc_compiler.untouched import untouched
from hsdc_schemas.errors import HsdcError
from tests.compiler.test_diff import MADE, TAKEN, finish
from tests.compiler.test_recompile import ALL, EDITS, FAULTS, MORE, edit, put
from tests.repository import Campaign, derived

PACKAGES = ("torch", "numpy", "jinja2", "msgspec", "pyarrow", "accelerate", "safetensors", "tokenizers", "transformers")
LEFT: list[set[str]] = []  # the runs that each comparison left alone


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    made = Campaign(tmp_path / "campaign")
    for name, content in MORE.items():
        made.write(name, content)
    settle(made)
    made.commit()
    LEFT.clear()

    def noted(*arguments: Any) -> dict[str, Compiled]:
        found = untouched(*arguments)
        LEFT.append(set(found))
        return found

    monkeypatch.setattr(sides, "untouched", noted)
    return made


def settle(campaign: Campaign) -> None:
    """Compile and write; twice, so that everything is older than what is known of it."""
    with suppress(HsdcError):  # a profile that is none
        for _ in range(2):
            write(campaign.root, recompile(campaign.root), supersede=True)


def compare(campaign: Campaign, old: str = "HEAD", new: str | None = None, *, apart: bool = False) -> Diff:
    found = sides.read_sides(campaign.root, old, new, "demo", apart=apart)
    return diff(*found, "demo", read_records(campaign.root, "demo"))


@contextmanager
def forgotten(campaign: Campaign) -> Iterator[None]:
    """Nothing is known of the last compilation."""
    path = campaign.root / FILE.format("demo")
    aside = path.with_name("aside")
    if path.exists():
        path.rename(aside)
    yield
    if aside.exists():
        aside.rename(path)


def said(found: Diff) -> tuple[object, ...]:
    faults = [item.as_json() for side in (found.old, found.new) for item in side.faults]
    return json.dumps(as_json(found)), text(found), markdown(found), faults


def left(campaign: Campaign, *revisions: str | None, apart: bool = False) -> set[str]:
    """Compare with and without what is known; the runs that were left alone."""
    found = said(compare(campaign, *revisions, apart=apart))  # type: ignore[arg-type]
    alone = LEFT[-1]
    with forgotten(campaign):
        assert found == said(compare(campaign, *revisions, apart=apart))  # type: ignore[arg-type]
    assert not LEFT[-1]
    return alone


@pytest.mark.parametrize("name", [*EDITS])
def test_whatever_an_edit_reaches_is_compiled_and_nothing_else(campaign: Campaign, name: str) -> None:
    change, reached = EDITS[name]
    change(campaign.root)
    on_disk = {  # and what stands on a run without a manifest, or is of one spec with it
        "a run that went": {"mixed"},
        "a matrix": {"grid.seed-2"},
        "a manifest": {"again"},
    }
    kept = ALL if name == "a provenance" else ALL - reached - on_disk.get(name, set())
    assert left(campaign) == kept
    if name in ("a root", "rows", "a model's file", "where local data are"):
        before = campaign.git("rev-parse", "HEAD")
        assert left(campaign, before, campaign.commit()) == (ALL if "local" in name else kept)  # in no commit


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_those_of_compiling_everything(campaign: Campaign, name: str) -> None:
    before = campaign.git("rev-parse", "HEAD")
    FAULTS[name](campaign.root)
    left(campaign)
    left(campaign, campaign.commit(), before)


def test_a_misspelt_parent_is_held_against_runs_that_nothing_happened_to(campaign: Campaign) -> None:
    campaign.write("specs/late.yaml", derived("late", "other_rot", "{training: {epochs: 9}}"))
    assert left(campaign) == ALL, "and then all are compiled, to tell which was meant"
    assert compare(campaign).new.faults[0].hint == "did you mean 'other_root'?"


def test_inputs_of_a_commit_are_those_of_the_commit(campaign: Campaign) -> None:
    before = campaign.git("rev-parse", "HEAD")
    edit(campaign.root, "data/other/test.csv", "Come in!", "Come on!")
    settle(campaign)
    assert left(campaign) == ALL - {"other_root", "mixed"}
    (campaign.root / ".gitignore").write_text(".hsdc/\nmodels/\n")
    campaign.git("rm", "-rq", "--cached", "models")
    after = campaign.commit()
    found = left(campaign, before, after)
    assert found == ALL - {"other_root", "mixed"}, "its manifests have the word for a model that is not in the commit"
    campaign.git("rm", "-rq", "--cached", "generated")
    (campaign.root / ".gitignore").write_text(".hsdc/\nmodels/\ngenerated/\n")
    assert not left(campaign, campaign.commit(), None), "nobody has"


def test_a_link_for_a_folder_or_a_spec_is_looked_into(campaign: Campaign, tmp_path: Path) -> None:
    (campaign.root / "specs/datasets").rename(tmp_path / "datasets")
    (campaign.root / "specs/datasets").symlink_to(tmp_path / "datasets")
    assert not left(campaign)
    (campaign.root / "specs/datasets").unlink()
    (tmp_path / "datasets").rename(campaign.root / "specs/datasets")
    assert left(campaign) == ALL
    (campaign.root / "specs/other_root.yaml").rename(campaign.root / "elsewhere.yaml")
    (campaign.root / "specs/other_root.yaml").symlink_to("../elsewhere.yaml")
    assert left(campaign) == ALL - {"other_root"}
    assert not left(campaign, "HEAD", campaign.commit())


def test_what_is_known_of_another_state_is_of_no_use(campaign: Campaign) -> None:
    edit(campaign.root, "specs/run4.yaml", "3.0e-5", "4.0e-5")
    assert left(campaign, campaign.commit()) == ALL - {"run4", "restored", "again"}
    edit(campaign.root, "specs/run4.yaml", "4.0e-5", "-1")
    left(campaign, campaign.commit())
    assert compare(campaign).not_compared, "what is wrong on both sides alike is named on both"


def test_runs_of_one_spec_are_left_together(campaign: Campaign) -> None:
    (campaign.root / "generated/demo/grid.seed-1.lock.json").unlink()
    assert left(campaign) == ALL - {"grid.seed-1", "grid.seed-2"}


def test_who_makes_rows_is_asked_by_who_takes_them(campaign: Campaign) -> None:
    taking(campaign)
    settle(campaign)
    campaign.commit()
    assert left(campaign) == ALL
    edit(campaign.root, "specs/made.yaml", "train: 0.6, validation: 0.2", "train: 0.5, validation: 0.3")
    assert left(campaign) == ALL
    assert {run.run for run in compare(campaign).runs} == {"made", "taker"}


def test_an_unreadable_name_among_components_is_a_fault_of_all(campaign: Campaign) -> None:
    campaign.write("specs/datasets/a\u202eb.yaml", "hsdc: 1\n")
    left(campaign)
    assert compare(campaign).new.faults


def replaced(old: str, new: str, *paths: str) -> Callable[[Campaign], object]:
    return lambda campaign: [edit(campaign.root, path, old, new) for path in paths]


def moved(campaign: Campaign, path: str, name: str) -> None:
    """Rename a run with all that name it."""
    old = Path(path).stem
    (campaign.root / path).rename(campaign.root / f"specs/{name}.yaml")
    for spec in (campaign.root / "specs").glob("*.yaml"):
        spec.write_text(spec.read_text().replace(f": {old}\n", f": {name}\n"))


def linked(campaign: Campaign) -> None:
    path = campaign.root / "specs/again.yaml"
    path.rename(campaign.root / "again.yaml")
    path.symlink_to("../again.yaml")


def local(campaign: Campaign) -> None:
    put(campaign.root / ".hsdc/sources.toml", f'[local]\nrows = "{campaign.root}/data"\n')
    edit(campaign.root, "specs/datasets/other.yaml", "file:data/other/test.csv", "local:rows/other/test.csv")


def taking(campaign: Campaign) -> None:
    put(campaign.root / "locks/runtime.txt", "".join(f"{name}==1.0\n" for name in PACKAGES))
    put(campaign.root / "specs/made.yaml", MADE)
    put(campaign.root / "specs/datasets/taken.yaml", TAKEN)
    put(campaign.root / "specs/taker.yaml", derived("taker", "run1", "{dataset: {use: taken}}"))


MOVES: tuple[Callable[[Campaign], object], ...] = (
    *((lambda campaign, change=change: change(campaign.root)) for change, _ in EDITS.values()),
    *((lambda campaign, change=change: change(campaign.root)) for change in FAULTS.values()),
    lambda campaign: moved(campaign, "specs/run2.yaml", "second"),
    lambda campaign: moved(campaign, "specs/other_root.yaml", "renamed"),
    linked,
    local,
    taking,
    replaced("train: 0.6, validation: 0.2", "train: 0.5, validation: 0.3", "specs/made.yaml"),
    replaced("title: The first", "title: Another", "specs/run1.yaml"),
    replaced("hsdc: 1\n", "# seen\nhsdc: 1\n", "specs/grid.yaml", "specs/run4.yaml"),
    replaced("budget: 1", "budget: 7", "specs/run3.yaml"),
    replaced("use: tiny", "use: idle", "specs/run1.yaml"),
    replaced("use: other", "use: corpus", "specs/other_root.yaml"),
    replaced("extends: run1", "extends: run2", "specs/run4.yaml"),
    replaced("epochs: 1}", "epochs: 1}\nbind: {dataset: {corpus: other}}", "specs/profiles/demo.yaml"),
    replaced("run: run4}", "run: run2}", "specs/again.yaml"),
    lambda campaign: (campaign.root / "specs/run1.yaml").unlink(),
    lambda campaign: (campaign.root / "data/corpus/test.csv").unlink(),
    lambda campaign: (campaign.root / "generated/demo/run4.lock.json").write_text("<<<<<<< ours\n"),
    lambda campaign: finish(campaign, "run2"),
    lambda campaign: finish(campaign, "mixed"),
    lambda campaign: (campaign.root / ".hsdc/cache/inputs.json").unlink(),
)


def steps(campaign: Campaign, seed: int, count: int) -> int:
    """Edits, compilations and commits in any order, each held against any state before; how often runs were left."""
    draw, commits, used = random.Random(seed), [campaign.git("rev-parse", "HEAD")], 0
    whole = {path: path.read_bytes() for path in campaign.root.rglob("*.*") if path.is_file()}
    whole = {path: data for path, data in whole.items() if not {".git", ".hsdc", "generated"} & {*path.parts}}
    for _ in range(count):
        for move in draw.sample(MOVES, draw.randint(1, 3)):
            try:
                move(campaign)
            except (AssertionError, OSError):  # what it changes is gone
                continue
        if draw.random() < 0.4:
            for path, data in draw.sample(sorted(whole.items()), len(whole) * 2 // 3):
                path.unlink(missing_ok=True)
                put(path, data.decode())
        if draw.random() < 0.5:
            settle(campaign)
        if draw.random() < 0.5:
            commits.append(campaign.commit())
        new = draw.choice([None, None, *commits[-3:]])
        used += bool(left(campaign, draw.choice(commits[-4:]), new, apart=new is not None and draw.random() < 0.3))
    return used


@pytest.mark.parametrize("seed", range(2))
def test_any_two_states_compare_as_if_nothing_were_known(campaign: Campaign, seed: int) -> None:
    assert steps(campaign, seed, 8)
