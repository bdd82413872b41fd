"""Reading a campaign from git objects: what is refused, what is missing, and that nothing is executed or written."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hsdc_compiler import git
from hsdc_compiler.diff import Diff, diff
from hsdc_compiler.git import Repository
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.sides import read_sides
from hsdc_schemas.errors import Exit, HsdcError
from tests.repository import Campaign


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path / "campaign")


def compare(campaign: Campaign, old: str = "HEAD", new: str | None = None, *, apart: bool = False) -> Diff:
    return diff(*read_sides(campaign.root, old, new, "demo", apart=apart), "demo")


def runs(found: Diff) -> set[str]:
    return {run.run for run in found.runs}


def test_merge_base_and_direct_comparison(campaign: Campaign) -> None:
    campaign.git("checkout", "-q", "-b", "topic")
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    campaign.commit()
    campaign.git("checkout", "-q", "main")
    campaign.replace("specs/run3.yaml", "dropout: 0.3", "dropout: 0.35")
    campaign.commit()
    assert runs(compare(campaign, "main", "topic", apart=True)) == {"run4"}
    assert runs(compare(campaign, "main", "topic")) == {"run3", "run4"}
    assert runs(compare(campaign, "topic")) == {"run3", "run4"}


def test_two_commits_are_compared_whatever_the_working_tree_holds(campaign: Campaign) -> None:
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    campaign.commit()
    campaign.write("specs/run3.yaml", "hsdc: [")
    (campaign.root / "specs/run1.yaml").unlink()
    (campaign.root / "specs/run1.yaml").mkdir()
    assert runs(compare(campaign, "HEAD~1", "HEAD")) == {"run4"}
    (campaign.root / "specs/run2.yaml").unlink()
    os.mkfifo(campaign.root / "specs/run2.yaml")
    assert runs(compare(campaign, "HEAD~1", "HEAD")) == {"run4"}


def test_links_in_a_tree_are_refused(campaign: Campaign, tmp_path: Path) -> None:
    good = campaign.git("rev-parse", "HEAD")
    (tmp_path / "secret.csv").write_text("id,text,tone\nb1,Secret,cold\nb2,Hidden,warm\n")
    (campaign.root / "data/corpus/test.csv").unlink()
    (campaign.root / "data/corpus/test.csv").symlink_to(tmp_path / "secret.csv")
    link = campaign.commit()
    found = compare(campaign, good, link)
    assert ({fault.code for fault in found.new.faults}, found.runs) == ({"E455"}, ())
    (campaign.root / "data/corpus").rename(campaign.root / "data/real")
    (campaign.root / "data/corpus").symlink_to("real")
    assert {fault.code for fault in compare(campaign, good, campaign.commit()).new.faults} == {"E455"}
    (campaign.root / "specs/run4.yaml").unlink()
    (campaign.root / "specs/run4.yaml").symlink_to("run1.yaml")
    found = compare(campaign, good, campaign.commit())
    assert [(fault.code, fault.place and fault.place.path) for fault in found.new.faults] == [
        ("E455", "specs/run4.yaml")
    ]
    assert found.not_compared == ("run1", "run2", "run3", "run4")


def test_nothing_of_a_repository_is_executed_or_written(campaign: Campaign, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    script = tmp_path / "script.sh"
    script.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    script.chmod(0o755)
    for key in (
        "core.fsmonitor",
        "core.pager",
        "filter.x.smudge",
        "filter.x.clean",
        "diff.x.textconv",
        "core.sshCommand",
    ):
        campaign.git("config", key, str(script))
    campaign.write(".gitattributes", "*.csv filter=x diff=x\n*.yaml filter=x diff=x\n")
    hooks = campaign.root / ".git/hooks"
    for name in ("post-checkout", "post-index-change", "reference-transaction"):
        (hooks / name).write_text(script.read_text())
        (hooks / name).chmod(0o755)
    index = (campaign.root / ".git/index").read_bytes()
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    assert runs(compare(campaign)) == {"run4"}
    assert not mark.exists()
    assert (campaign.root / ".git/index").read_bytes() == index


def test_a_project_in_a_folder_of_the_repository(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path / "outer/inner")
    (campaign.root / ".git").rename(tmp_path / "outer/.git")
    campaign.commit()
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    assert runs(compare(campaign)) == {"run4"}


@pytest.mark.parametrize(
    ("revision", "code", "exit_"),
    [
        ("nowhere", "E452", Exit.SPEC),
        ("--output=x", "E452", Exit.SPEC),
        ("HEAD~9", "E452", Exit.SPEC),
        ("HEAD:specs", "E452", Exit.SPEC),
        ("a" * 40, "E453", Exit.ENVIRONMENT),
    ],
)
def test_revisions_that_are_none(campaign: Campaign, revision: str, code: str, exit_: Exit) -> None:
    with pytest.raises(HsdcError) as caught:
        Repository(campaign.root).commit(revision)
    assert [(item.code, item.exit) for item in caught.value.diagnostics] == [(code, exit_)]


def test_a_shallow_clone_says_how_to_mend_it(campaign: Campaign, tmp_path: Path) -> None:
    campaign.git("checkout", "-q", "-b", "topic")
    campaign.commit()
    campaign.git("checkout", "-q", "main")
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    campaign.commit()
    campaign.git(
        "clone", "-q", "--depth", "1", "--no-single-branch", f"file://{campaign.root}", str(tmp_path / "shallow")
    )
    for call in ({"old": "HEAD~1"}, {"old": "origin/topic", "new": "HEAD", "apart": True}):
        with pytest.raises(HsdcError) as caught:
            read_sides(tmp_path / "shallow", call["old"], call.get("new"), "demo", apart=bool(call.get("apart")))
        assert caught.value.exit is Exit.ENVIRONMENT
        assert "git fetch --unshallow" in caught.value.diagnostics[0].hint


def test_a_partial_clone_is_not_completed_behind_ones_back(campaign: Campaign, tmp_path: Path) -> None:
    campaign.git("config", "uploadpack.allowFilter", "true")
    first = campaign.git("rev-parse", "HEAD")
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    campaign.commit()
    clone = tmp_path / "partial"
    campaign.git("clone", "-q", "--filter=blob:none", f"file://{campaign.root}", str(clone))
    before = sorted(path.name for path in (clone / ".git/objects/pack").iterdir())
    with pytest.raises(HsdcError) as caught:
        read_sides(clone, first, None, "demo")
    assert [(item.code, item.exit) for item in caught.value.diagnostics] == [("E453", Exit.ENVIRONMENT)]
    assert sorted(path.name for path in (clone / ".git/objects/pack").iterdir()) == before


def test_too_large_for_git(campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsdc_compiler.side_inputs.MOST_INPUT", 40)
    found = compare(campaign, "HEAD", "HEAD")
    assert {fault.code for fault in found.new.faults} == {"E456"}
    monkeypatch.setattr(git, "MOST_OUTPUT", 10)
    with pytest.raises(HsdcError, match="lists more"):
        compare(campaign)


def test_paths_that_a_tree_may_not_hold_are_left_out(campaign: Campaign) -> None:
    blob = campaign.git("rev-parse", "HEAD:specs/run1.yaml")
    text = f"100644 blob {blob}\t..\\evil.yaml\n"
    made = os.fsencode(text)
    tree = subprocess.run(["git", "mktree"], input=made, cwd=campaign.root, capture_output=True, check=True).stdout
    top = f"040000 tree {tree.decode().strip()}\tspecs\n".encode()
    whole = subprocess.run(["git", "mktree"], input=top, cwd=campaign.root, capture_output=True, check=True).stdout
    commit = campaign.git("commit-tree", whole.decode().strip(), "-m", "made up")
    found = compare(campaign, commit)
    assert found.old.named == frozenset()


@pytest.mark.parametrize(("source", "codes"), [("../tiny", {"E402"}), ("/etc", {"E402"}), (".", set()), ("a:b", set())])
def test_sources_that_leave_the_project_are_not_followed(campaign: Campaign, source: str, codes: set[str]) -> None:
    campaign.replace("specs/models/tiny.yaml", "file:models/tiny", f"file:{source}")
    campaign.commit()
    found = compare(campaign, "HEAD", "HEAD")
    assert {fault.code for fault in found.new.faults} == codes
    assert bool(found.notes) == (not codes)


@pytest.mark.parametrize("committed", [True, False])
def test_local_sources_under_version_control_are_not_followed(campaign: Campaign, committed: bool) -> None:
    own = campaign.root / ".hsdc/sources.toml"
    own.parent.mkdir(exist_ok=True)
    (campaign.root / "elsewhere").mkdir()
    (campaign.root / "elsewhere/test.csv").write_bytes((campaign.root / "data/corpus/test.csv").read_bytes())
    own.write_text(f'[local]\nelsewhere = "{campaign.root}/elsewhere"\n')
    for path in (campaign.root / "specs/datasets").glob("*.yaml"):
        path.write_text(path.read_text().replace("file:data/corpus/test.csv", "local:elsewhere/test.csv"))
    if committed:
        campaign.git("add", "-f", ".hsdc/sources.toml")
    found = compile_project(campaign.root)
    assert [fault.code for fault in found.diagnostics] == (["E419"] if committed else [])


MODELS = {
    "weights": 'kind: pretrained\nsource: "local:elsewhere"\n',
    "endpoint": 'kind: endpoint\nurl: "local:elsewhere"\nserved: big\n',
}


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_local_models_under_version_control_are_not_followed(campaign: Campaign, model: str, committed: bool) -> None:
    root = campaign.root
    (root / ".hsdc").mkdir(exist_ok=True)
    (root / ".hsdc/sources.toml").write_text(
        f'[local]\nelsewhere = "{root}/models/tiny"\n[endpoints]\nelsewhere = "http://127.0.0.1:8000/v1"\n'
    )
    (root / "specs/models/own.yaml").write_text(f"hsdc: 1\nmodel: own\n{MODELS[model]}")
    (root / "specs/asked.yaml").write_text(
        "hsdc: 1\nrun: asked\nkind: prompt\ndataset: {use: corpus}\nmodel: {use: own}\n"
        'prompt: {user: "{{ text }}", format: {kind: label}}\ntask: {target: tone, labels: [cold, warm]}\n'
        "answer: {method: generate}\ngeneration: {max_tokens: 8}\n"
    )
    if committed:
        campaign.git("add", "-f", ".hsdc/sources.toml")
    found = compile_project(root, ["asked"])
    assert [fault.code for fault in found.diagnostics] == (["E419"] if committed else [])
