"""`hsdc diff` as people and programs meet it: text, Markdown that no value can steer, JSON, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hsdc.__main__ import main
from hsdc.commands.diff import revisions
from hsdc.diff_view import LIMIT, code, markdown
from hsdc_compiler.diff import diff
from hsdc_compiler.sides import read_sides
from tests.repository import ROWS, Campaign, derived

HOSTILE = "@all `x` ``y`` | <img src=x> [a](http://b.c) #1 **b** </details> \u202e \u2028 ![i](j)"


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    made = Campaign(tmp_path / "campaign")
    monkeypatch.chdir(made.root)
    return made


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    exit_code = main(["diff", *arguments])
    said = capsys.readouterr()
    return exit_code, said.out, said.err


def outside_code(text: str) -> str:
    """Markdown without its code spans, by the rule for them: a run of backticks up to the next run as long."""
    return re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", text)


def test_text_groups_what_is_inherited(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.replace("specs/run1.yaml", "gamma: 2.5", "gamma: 2.7")
    commit = campaign.git("rev-parse", "--short=12", "HEAD")
    assert call(capsys) == (
        0,
        f"""the working tree against HEAD ({commit}), profile demo

run1
  value  heads.tone.loss.gamma  2.5 → 2.7  specs/run1.yaml:12  own change
  run again: train, predict, calibrate, thresholds, score; reused: prepare
  also run2, run3, run4: inherited from run1; the same stages

4 runs: 4 changed, 0 unchanged
""",
        "",
    )


def test_runs_that_change_alike_share_a_block(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "id,text,tone\na1,The door.,cold\na2,In!,warm\na3,Out!,warm\n"
    campaign.write("data/corpus/train.csv", rows)
    _, out, _ = call(capsys)
    assert "\nrun1, run2, run3, run4\n  input  dataset.train  " in out
    assert f"3 rows, {len(rows)} bytes  specs/datasets/corpus.yaml:5  input bytes\n" in out
    assert "  run again: prepare, train, predict, calibrate, thresholds, score\n" in out


def test_exit_codes(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--exit-code")[0] == 0
    campaign.replace("specs/run1.yaml", "title: The first", "title: Another")
    assert call(capsys, "--exit-code")[0] == 0
    campaign.replace("specs/run4.yaml", "3.0e-5", "4.0e-5")
    assert (call(capsys, "--exit-code")[0], call(capsys)[0]) == (1, 0)
    assert call(capsys, "nowhere")[0] == 2
    assert call(capsys, "HEAD..main..x")[0] == 2
    assert call(capsys, "f" * 40)[0] == 4
    good = campaign.git("rev-parse", "HEAD")
    campaign.replace("specs/run2.yaml", "epochs: 5", "epochs: -5")
    exit_code, out, err = call(capsys)
    assert (exit_code, "not compared" in out, "removed" in out) == (2, True, False)
    assert "the working tree has faults; the comparison is incomplete:" in err
    assert "specs/run2.yaml:6" in err
    bad = campaign.commit()
    exit_code, out, err = call(capsys, f"{bad}..{good}")
    assert (exit_code, "2 not compared" in out, "the comparison is incomplete" in err) == (0, True, True)
    assert call(capsys, f"{bad}..{good}", "--exit-code")[0] == 1


def test_outside_a_repository(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    (campaign.root / ".git").rename(campaign.root.parent / "elsewhere")
    exit_code, out, err = call(capsys)
    assert (exit_code, out, err.startswith("error[E451] ")) == (4, "", True)


def test_ranges() -> None:
    assert revisions("main") == ("main", None, False)
    assert revisions("main...topic") == ("main", "topic", True)
    assert revisions("main..") == ("main", "HEAD", False)
    assert revisions("...topic") == ("HEAD", "topic", True)


def test_json_is_versioned_and_stable(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.replace("specs/run4.yaml", "{training: {learning_rate: 3.0e-5}}", "{head: {dropout: 0.4}}")
    first, second = (call(capsys, "--json")[1] for _ in range(2))
    assert first == second
    value = json.loads(first)
    assert (value["version"], value["differs"], value["complete"], value["new"]["commit"]) == (1, True, True, None)
    assert value["unchanged"] == ["run1", "run2", "run3"]
    [run] = value["runs"]
    assert run["changes"][0] == {
        "kind": "value",
        "path": "head.dropout",
        "before": 0.2,
        "after": 0.4,
        "before_place": "specs/run1.yaml:8",
        "after_place": "specs/run4.yaml:6",
        "cause": {"kind": "own", "name": "run4"},
    }
    assert run["stages"]["reused"] == ["prepare"]
    campaign.replace("specs/run1.yaml", "{kind: focal, gamma: 2.5}", "{kind: cross_entropy}")
    gamma = [
        c for r in json.loads(call(capsys, "--json")[1])["runs"] for c in r["changes"] if c["path"].endswith("gamma")
    ]
    assert all("after" not in change and change["before"] == 2.5 for change in gamma)
    assert gamma


def test_values_are_inert_in_markdown_and_on_a_terminal(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    quoted = json.dumps(HOSTILE)
    campaign.replace("specs/run1.yaml", "title: The first", f"title: {quoted}")
    label = HOSTILE.replace("all", "some")
    campaign.replace("specs/run1.yaml", "labels: [cold, warm]", f"labels: [cold, warm, {json.dumps(label)}]")
    campaign.write("data/corpus/train.csv", f"{ROWS}a3,Out!,{label}\n")
    campaign.replace("specs/run4.yaml", "why: To see.", 'why: "a\\nb\\u001b[31m"')
    _, out, _ = call(capsys, "--markdown")
    bare = outside_code(out)
    for sign in ("@", "`", "<img", "](", "#1", "</details> ", "**b", "http", "|"):
        assert sign not in bare
    assert bare.count("</details>") == bare.count("<details>") == 1
    assert "@some `x` ``y`` | <img src=x>" in out
    _, text, _ = call(capsys)
    for found in (out, text):
        assert "\u202e" not in found
        assert "\u2028" not in found
        assert "\x1b" not in found
        assert "a\nb" not in found


@pytest.mark.parametrize("value", ["`", "``", " ", "", "a`", "`a", "a``b`c", "\n", "x" * 500, "\\`"])
def test_a_code_span_holds_whatever_it_is_given(value: str) -> None:
    found = code(value)
    assert outside_code(found) == ""
    assert "\n" not in found
    assert len(found) < 300


def test_markdown_stays_within_its_limit(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(150):
        name = f"run{1000 + number}"
        campaign.write(f"specs/{name}.yaml", derived(name, "run1", f"{{training: {{seed: {number}}}}}", 0))
    sides = read_sides(campaign.root, "HEAD", None, "demo")
    found = diff(*sides, "demo")
    whole = markdown(found)
    assert len(whole) <= LIMIT
    assert whole.count("(added") == 150
    short = markdown(found, 6_000)
    assert len(short) <= 6_000
    counted = re.search(r"\n(\d+) of 150 runs shown", short)
    assert counted is not None
    assert 0 < int(counted[1]) == short.count("(added") < 150
    for number in range(150):
        campaign.replace(f"specs/run{1000 + number}.yaml", "seed:", "seeds:")
    exit_code, out, _ = call(capsys, "--markdown")
    assert (exit_code, len(out) <= LIMIT) == (2, True)
    assert "`E201`" in out
    assert re.search(r"\d+ of 150 shown", out)
