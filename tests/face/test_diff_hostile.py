"""`hsdc diff` of what a stranger sends, and of repositories as one finds them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hsdc.__main__ import main
from hsdc.diff_view import text
from hsdc_compiler.diff import diff
from hsdc_compiler.sides import read_sides
from tests.repository import Campaign, derived

PROMPT = """\
hsdc: 1
run: asked
kind: prompt
dataset: {use: corpus}
model: {kind: pretrained, source: "file:models/tiny"}
prompt:
  user: "{{ text }}"
  format: {kind: label}
  system: |
    Be careful.
    ```
    @everyone <img src=x onerror=alert(1)> </details>
    ````
    [a](javascript:b)
    ~~~
    Be quick.
task: {target: tone, labels: [cold, warm]}
answer: {method: rank}
"""


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    made = Campaign(tmp_path / "campaign")
    monkeypatch.chdir(made.root)
    return made


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    exit_code = main(["diff", *arguments])
    said = capsys.readouterr()
    return exit_code, said.out, said.err


def tokens(found: list[Token]) -> Iterator[Token]:
    for token in found:
        yield token
        yield from tokens(token.children or [])


def test_a_line_of_a_prompt_ends_no_code_block(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.write("specs/asked.yaml", PROMPT)
    campaign.commit()
    for old in ("Be careful.", "@everyone", "[a](javascript:b)", "Be quick."):
        campaign.replace("specs/asked.yaml", f"    {old}", f"    Say {old}")
        found = list(tokens(MarkdownIt("commonmark").parse(call(capsys, "--markdown")[1])))
        assert sum(token.type == "fence" for token in found) == 1
        assert not [token for token in found if token.type in ("html_inline", "html_block", "link_open", "code_block")]
        plain = "".join(token.content for token in found if token.type == "text")
        assert "everyone" not in plain
        assert "Be" not in plain
        campaign.commit()


def test_a_matrix_is_compared_beside_a_fault_elsewhere(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    grid = "matrix: {axes: {training.seed: [1, 2]}, replicate: [training.seed]}\n"
    campaign.write("specs/grid.yaml", derived("grid", "run1", "{}", 0, grid))
    good = campaign.commit()
    campaign.replace("specs/run4.yaml", "3.0e-5", "many")
    campaign.write("specs/late.yaml", derived("late", "run1", "{training: {epochs: none}}"))
    value = json.loads(call(capsys, "--json")[1])
    assert value["not_compared"] == ["late", "run4"], "and a new run that does not compile is named"
    assert value["unchanged"] == ["grid.seed-1", "grid.seed-2", "run1", "run2", "run3"]
    campaign.git("checkout", "-q", "--", "specs/run4.yaml")
    campaign.replace("specs/grid.yaml", "[1, 2]", "[1, -2]")
    value = json.loads(call(capsys, good, "--json")[1])
    assert value["not_compared"] == ["grid.seed-1", "grid.seed-2", "late"]


def test_a_repository_without_a_commit(tmp_path: Path, campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.git("checkout", "-q", "--orphan", "fresh")
    for revisions in ((), ("HEAD~1",), ("main...",)):
        exit_code, out, err = call(capsys, *revisions)
        assert (exit_code, out) == (2, "")
        assert "nothing is committed yet" in err
    assert call(capsys, "main")[0] == 0


def test_an_input_that_nobody_knows_has_no_digest(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.replace("specs/models/tiny.yaml", "file:models/tiny", "file:models/elsewhere")
    campaign.commit()
    exit_code, out, _ = call(capsys, "HEAD~1..HEAD")
    assert exit_code == 0
    assert " → not known " in out
    [change] = [
        c for c in json.loads(call(capsys, "HEAD~1..HEAD", "--json")[1])["runs"][0]["changes"] if c["kind"] == "input"
    ]
    assert change["after"] == {"source": "file:models/elsewhere", "digest": None, "rows": None, "bytes": None}


def test_an_object_that_is_missing_ends_with_4_on_either_side(
    campaign: Campaign, capsys: pytest.CaptureFixture[str]
) -> None:
    oid = campaign.git("rev-parse", "HEAD:data/corpus/test.csv")
    campaign.write("data/corpus/test.csv", "id,text,tone\na1,The door is shut.,cold\na2,In!,warm\n")
    campaign.commit()
    (campaign.root / ".git/objects" / oid[:2] / oid[2:]).unlink()
    for revisions in ("HEAD~1", "HEAD~1..HEAD", "HEAD..HEAD~1"):
        exit_code, out, err = call(capsys, revisions)
        assert (exit_code, "4 not compared" in out, "error[E453]" in err) == (4, True, True)


def test_a_link_that_is_no_spec_and_a_submodule(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    (campaign.root / "specs/README.md").symlink_to("../.gitignore")
    campaign.commit()
    assert call(capsys, "HEAD~1..HEAD")[0] == 0
    commit = campaign.git("rev-parse", "HEAD")
    campaign.git("update-index", "--add", "--cacheinfo", f"160000,{commit},specs/prompts")
    campaign.git("commit", "-q", "-m", "a submodule")
    exit_code, _, err = call(capsys, "HEAD~1..HEAD")
    assert (exit_code, "a submodule in HEAD" in err, "specs/prompts:1" in err) == (2, True, True)


def test_line_ends_alone_are_nothing(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    path = campaign.root / "specs/run1.yaml"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert "cosmetic" not in call(capsys)[1]
    path.write_bytes(path.read_bytes().replace(b"title: The first", b"title: Another"))
    assert "specs/run1.yaml: title: The first → Another" in call(capsys)[1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("width", "most"), [("60", 60), ("200", 200)])
def test_a_narrow_terminal_has_places_below(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch, width: str, most: int
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("NO_COLOR", "1")
    campaign.replace("specs/run1.yaml", "{kind: focal, gamma: 2.5}", "{kind: cross_entropy}")
    found = diff(*read_sides(campaign.root, "HEAD", None, "demo"), "demo")
    lines = text(found, Terminal())
    assert max(len(line) for line in lines if line.startswith(("  value", "      "))) <= most
    [row] = [number for number, line in enumerate(lines) if line.startswith("  value  heads.tone.loss.gamma ")]
    shown = " ".join(lines[row : row + (2 if most == 60 else 1)]).split()
    assert shown[2:] == [
        "2.5",
        "→",
        "(absent)",
        "was",
        "specs/run1.yaml:12," if most == 60 else "specs/run1.yaml:12",
        "own",
        "change",
    ]


def test_an_added_run_has_no_budget_before(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.write("specs/run5.yaml", derived("run5", "run2", "{head: {dropout: 0.5}}", 2))
    assert "  factors within budget: 1 of 2, specs/run5.yaml:4\n" in call(capsys)[1]
