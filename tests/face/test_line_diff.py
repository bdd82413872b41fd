"""Prompts in `hsdc diff`: texts line by line, one block for a component that others extend, and nothing that steers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsdc.__main__ import main
from hsdc.line_diff import MOST_MATCHED, counts, line_diff
from tests.repository import Campaign

BASE = """\
hsdc: 1
prompt: plain
system: |
  You read posts.
  Be fair.
  Answer with a label.
user: |
  Post: {{ text }}
format: {kind: label}
"""
CHILD = """\
hsdc: 1
prompt: shown
extends: plain
change:
  examples:
    - {text: In!, label: warm}
    - {text: Out!, label: cold}
"""
ASKED = """\
hsdc: 1
run: asked
kind: prompt
dataset: {use: corpus}
model: {use: served}
prompt: {use: plain}
task: {target: tone, labels: [cold, warm], positive: warm}
answer: {method: generate}
generation: {max_tokens: 8}
evaluation: {split: test}
"""
SHOWN = """\
hsdc: 1
run: shown
extends: asked
budget: 1
why: Examples may help.
change:
  prompt: {use: shown}
"""
SERVED = "hsdc: 1\nmodel: served\nkind: endpoint\nurl: http://127.0.0.1:9/v1\nserved: one\n"


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    made = Campaign(tmp_path / "campaign")
    made.write("specs/models/served.yaml", SERVED)
    made.write("specs/prompts/plain.yaml", BASE)
    made.write("specs/prompts/shown.yaml", CHILD)
    made.write("specs/asked.yaml", ASKED)
    made.write("specs/shown.yaml", SHOWN)
    made.commit()
    monkeypatch.chdir(made.root)
    return made


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["diff", *arguments]) == 0
    return capsys.readouterr().out


def test_one_word_of_a_prompt_is_one_line_for_all_who_extend_it(
    campaign: Campaign, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign.replace("specs/prompts/plain.yaml", "Be fair.", "Be kind.")
    assert said(capsys).partition("\n\n")[2] == (
        "asked, shown\n"
        "  value  prompt.system  1 line out, 1 in  specs/prompts/plain.yaml:3  component plain\n"
        "        You read posts.\n"
        "      - Be fair.\n"
        "      + Be kind.\n"
        "        Answer with a label.\n"
        "  run again: render, ask, parse, score; reused: prepare\n"
        "\n"
        "6 runs: 2 changed, 4 unchanged\n"
    )
    found = said(capsys, "--markdown")
    assert "\n\n  ```diff\n    You read posts.\n  - Be fair.\n  + Be kind.\n    Answer with a label.\n  ```\n" in found
    changes = [change for run in json.loads(said(capsys, "--json"))["runs"] for change in run["changes"]]
    assert [change["after"].count("kind") for change in changes] == [1, 1]


def test_an_example_that_is_added_is_one_line(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.write("specs/prompts/shown.yaml", f"{CHILD}    - {{text: Come., label: warm}}\n")
    found = said(capsys)
    assert "value  prompt.examples  0 lines out, 1 in  specs/prompts/shown.yaml:6  component shown\n" in found
    assert "      …\n        {text: Out!, label: cold" in found
    assert found.count("      + {text: Come., label: warm") == found.count("\n      + ") == 1


def test_no_line_steers_a_page_or_a_terminal(campaign: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    campaign.replace("specs/prompts/plain.yaml", "  Be fair.\n", "  ```\n  </details> @all\n  a\tb\u202ec\n")
    markdown, text = said(capsys, "--markdown"), said(capsys)
    inside = markdown.partition("```diff\n")[2].partition("\n  ```\n")[0].splitlines()
    assert inside[1:5] == ["  - Be fair.", "  + ```", "  + </details> @all", "  + a�b�c"]
    assert "\u202e" not in markdown + text


TEXTS = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=2, max_size=9).map("\n".join)


@given(TEXTS, TEXTS)
def test_the_lines_of_a_difference_are_those_of_both_sides(before: str, after: str) -> None:
    lines = line_diff(before, after, str)
    old, new = ([line for sign, line in lines if sign == kind] for kind in "-+")
    assert counts(lines).split()[0] == str(len(old))
    for side, gone in ((before, old), (after, new)):
        rest = iter(side.splitlines())
        assert all(line in rest for line in gone)  # in order
    stand = [line for sign, line in lines if sign == " "]
    assert len(before.splitlines()) - len(old) == len(after.splitlines()) - len(new) >= len(stand)


def test_long_texts_without_a_common_line_take_no_time() -> None:
    before, after = ("\n".join(f"{side}{number % 7}" for number in range(20 * MOST_MATCHED)) for side in "ab")
    began = time.process_time()
    assert len(line_diff(f"{before}\nend", f"{after}\nend", str)) == 40 * MOST_MATCHED + 1
    assert time.process_time() - began < 1
    short = line_diff("x" * 200, "y" * 200, str)
    assert [sign for sign, _ in short] == ["-", "+"]
    assert line_diff("x", "y", str) == line_diff(1, 2, str) == line_diff([1, 2], [3], str) == []
