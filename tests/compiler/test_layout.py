"""One layout for specs: where lines go, that comments go with them, and that nothing changes its meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hsdc_compiler.layout import layout
from hsdc_compiler.parse import parse
from hsdc_schemas.errors import HsdcError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "specs").rglob("*.yaml"))

MESSY = """\
# yaml-language-server: $schema=../schemas/spec.schema.json

# about the run
run: messy   
change:
    # first child
    training:   # tr
        epochs:   4   # many
                      # aligned
        # trailing of training
    # of the next one
    heads:
        sentiment:
            labels:
            -   a     # one
                      # more of one
            - b: {use: x,
                   y: 0.10}
              c: "long
                text"


# why so
why: >-
      long text
      goes on
        deeper

hsdc: 1 
mystery: 3
budget: 2 # two
# provisional

extends: run4
# the end

"""  # noqa: W291
NEAT = """\
# yaml-language-server: $schema=../schemas/spec.schema.json

hsdc: 1
# about the run
run: messy

extends: run4
budget: 2 # two
# provisional

# why so
why: >-
  long text
  goes on
    deeper
mystery: 3
change:
  # first child
  training:   # tr
    epochs:   4   # many
                  # aligned
    # trailing of training
  # of the next one
  heads:
    sentiment:
      labels:
        - a     # one
                # more of one
        - b: {use: x,
               y: 0.10}
          c: "long
            text"
# the end
"""


def test_layout_before_and_after() -> None:
    assert layout("specs/messy.yaml", MESSY.encode()).decode() == NEAT
    assert layout("specs/messy.yaml", b"\xef\xbb\xbf" + MESSY.replace("\n", "\r\n").encode()).decode() == NEAT
    assert layout("specs/messy.yaml", NEAT.encode()).decode() == NEAT


def test_layout_of_components_follows_their_schema() -> None:
    text = "blank: mask\nformat: csv\nid: id\n# which\ndataset: d\nhsdc: 1\ntitle: T\n"
    expected = "hsdc: 1\n# which\ndataset: d\ntitle: T\nformat: csv\nid: id\nblank: mask\n"
    assert layout("specs/datasets/d.yaml", text.encode()).decode() == expected


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_specs_are_in_the_layout(path: Path) -> None:
    assert layout(path.relative_to(ROOT).as_posix(), path.read_bytes()) == path.read_bytes()


@pytest.mark.parametrize(
    "text", ["a: |+\n  x\n\nhsdc: 1\n", "hsdc: 1\na: |2\n    x\n  y\n", "hsdc: 1\na: |\n  x \n\n   \n  y\n"]
)
def test_blanks_that_are_text_stay(text: str) -> None:
    after = layout("x", text.encode())
    assert parse("x", after).plain() == parse("x", text.encode()).plain()


@pytest.mark.parametrize("text", ["hsdc: 1\na: |\n  x", "a: |\n  x\u2028  y\n", "hsdc: 1\nb: x # \x85\n"])
def test_what_would_change_its_meaning_is_refused(text: str) -> None:
    with pytest.raises(HsdcError) as caught:
        layout("x", text.encode())
    assert caught.value.diagnostics[0].code == "E007"


HOSTILE = ["a: &x [1]\nb: *x\n", "a: !!python/name:os.system x\n", "a: 1\n---\nb: 2\n", "\t: 1"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_file_is_refused_by_the_reader_of_specs(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsdc_compiler.layout.compose", pytest.fail)
    with pytest.raises(HsdcError):
        layout("x", text.encode())


@st.composite
def blocks(draw: st.DrawFn, column: int = 0, depth: int = 0) -> str:
    """A block mapping as text, indented at random, with comments and blank lines in odd places."""
    lines = []
    for key in draw(st.lists(st.sampled_from(["run", "why", "hsdc", "change", "x", "model"]), unique=True, min_size=1)):
        lines += [" " * column + text for text in draw(st.lists(st.sampled_from(["", "# c", "  # deep"]), max_size=2))]
        step = draw(st.integers(1, 5))
        kind = draw(st.sampled_from(["scalar", "flow", "text", "list", "block", "none"]))
        note = draw(st.sampled_from(["", " # note", "   # far"]))
        inner = " " * (column + step)
        if kind == "block" and depth < 3:
            lines += [f"{' ' * column}{key}:{note}", draw(blocks(column + step, depth + 1)).rstrip("\n")]
        elif kind == "list":
            dash = draw(st.sampled_from([" " * column, inner]))
            gap = " " * draw(st.integers(1, 4))
            lines += [
                f"{' ' * column}{key}:{note}",
                f"{dash}-{gap}a{note}",
                f"{dash}-{gap}b: 1",
                f"{dash} {gap}c: 2{note}",
            ]
        elif kind == "text":
            sign = draw(st.sampled_from(["|", ">-", "|+", ">"]))
            lines += [
                f"{' ' * column}{key}: {sign}",
                f"{inner}one  ",
                f"{inner}  two # no comment",
                "",
                f"{inner}three",
            ]
        elif kind == "flow":
            lines += [f"{' ' * column}{key}: {{a: 0.10,{note}", f"{inner}b: [x, 'y']}}{note}"]
        else:
            lines += [f"{' ' * column}{key}:{' 2.50e-5' if kind == 'scalar' else ''}{note}"]
    return "\n".join(lines) + "\n"


@settings(max_examples=150, deadline=None)
@given(blocks())
def test_layout_keeps_meaning_comments_and_itself(text: str) -> None:
    once = layout("specs/x.yaml", text.encode())
    assert parse("x", once).plain() == parse("x", text.encode()).plain()
    assert layout("specs/x.yaml", once) == once
    assert _words(once.decode()) == _words(text)


def _words(text: str) -> list[str]:
    return sorted(line.strip() for line in re.sub("- +", "- ", text).splitlines() if line.strip())


def test_the_parser_in_pure_python_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = layout("specs/messy.yaml", MESSY.encode())
    monkeypatch.setattr("hsdc_compiler.edit.LOADER", yaml.SafeLoader)
    monkeypatch.setattr("hsdc_compiler.layout.LOADER", yaml.SafeLoader)
    assert layout("specs/messy.yaml", MESSY.encode()) == expected
