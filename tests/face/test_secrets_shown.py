"""A secret that somebody wrote into a spec: no command shows it, and none that writes specs takes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hsdc.__main__ import main
from tests.repository import Campaign, derived

SECRET = "sk-proj-" + "0123456789abcdefghijklmno"


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    made = Campaign(tmp_path / "campaign")
    monkeypatch.chdir(made.root)
    return made


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
@pytest.mark.parametrize("command", [["diff"], ["show", "run1"], ["explain", "run1"], ["compile", "--check"]])
def test_a_secret_is_not_shown(
    campaign: Campaign, capsys: pytest.CaptureFixture[str], command: list[str], form: list[str]
) -> None:
    if form == ["--markdown"] and command != ["diff"]:
        pytest.skip("no such form")
    path = campaign.root / "specs/run1.yaml"
    path.write_text(re.sub(r"labels: \[.*?\]", f"labels: [cold, warm, {SECRET}]", path.read_text()))
    main([*command, *form])
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert "(an API key)" in said.out + said.err


@pytest.mark.parametrize(
    "call",
    [
        ("new", "x", "--from", "run1", "--set", "training.epochs=2", "--why", f"as {SECRET} says"),
        ("set", "child", f"why=as {SECRET} says"),
    ],
    ids=lambda call: call[0],
)
def test_a_secret_is_not_written_into_a_spec(
    campaign: Campaign, capsys: pytest.CaptureFixture[str], call: tuple[str, ...]
) -> None:
    (campaign.root / "specs/child.yaml").write_text(derived("child", "run1", "{training: {epochs: 5}}"))
    before = {path: path.read_bytes() for path in campaign.root.rglob("*.yaml")}
    assert main(list(call)) == 3
    said = capsys.readouterr()
    assert "error[E810]" in said.err
    assert SECRET not in said.out + said.err
    assert {path: path.read_bytes() for path in campaign.root.rglob("*.yaml")} == before
