"""Setting values in specs and bringing specs into one layout: what changes, and that nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hsdc_compiler.edit import assign, meaning, place_in_spec, prose, value_of
from hsdc_compiler.parse import parse
from hsdc_schemas.errors import HsdcError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "specs").rglob("*.yaml"))


def _on_one_line(leaf: Any) -> bool:
    lines = {item.mark.line for item in leaf.value} | {leaf.mark.line} if leaf.is_sequence else set[int]()
    nested = leaf.is_sequence and any(item.is_mapping for item in leaf.value)
    return not nested and len(lines) < 2 and "\n" not in str(leaf.value)


LEAVES = [
    (path, keys)
    for path in SHIPPED
    for keys, leaf in parse("x", path.read_bytes()).leaves()
    if keys[0] != "hsdc" and _on_one_line(leaf)
]

LIST = """\
    - a   # first
    -   b: 1
        c: [1,
            2]   # two lines
"""
R_DROP = """\
            alpha: 0.60     # goes with it
            # so does this
            warmup_epochs: 2
"""
HARD = """\
# above, with 'quotes: and' colons   
---
hsdc:   1          # one
# between: a comment with a colon
"run": 'messy'     # quoted both

why: |-   # a text
    first line
      # no comment, but text

    last line
# a comment at the top
notes: >
  folded
  text

extends :  run4
budget:  2.50e+1   # spelt so
change:            # all of it
    head: {  dropout : 0.250 ,   # inside
             layers: 3,}         # after
    training:
        # leading
        learning_rate:    2.50e-5   # aligned
        epochs:
        r_drop:     # a block
            alpha: 0.60     # goes with it
            # so does this
            warmup_epochs: 2
        # trailing
    list:
    - a   # first
    -   b: 1
        c: [1,
            2]   # two lines
    empty: {}
    null_one: ~
# the end
...
"""  # noqa: W291


def put(text: str, path: str, value: str) -> str:
    keys = tuple(path.split("."))
    return assign("specs/x.yaml", text.encode(), keys, value_of(keys, value)).decode()


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        ("change.training.learning_rate", "3.0e-5", "learning_rate:    2.50e-5   #", "learning_rate:    3.0e-5   #"),
        ("change.training.epochs", "0x10", "        epochs:\n", "        epochs: 0x10\n"),
        ("change.head.dropout", "[1,2]", "dropout : 0.250 ,", "dropout : [1, 2] ,"),
        ("change.head.hidden", "'a, b'", "layers: 3,}", "layers: 3, hidden: 'a, b',}"),
        ("change.empty.a.b", "null", "empty: {}", "empty: {a: {b: null}}"),
        ("change.null_one.x", "1", "null_one: ~", "null_one: {x: 1}"),
        ("change.list", "[x]", "list:\n" + LIST, "list: [x]\n"),
        ("change.training.r_drop", "{alpha: 1.0}", "r_drop:     # a block\n" + R_DROP,
         "r_drop: {alpha: 1.0}     # a block\n"),
        ("change.training.seed", "4_2", "warmup_epochs: 2\n", "warmup_epochs: 2\n        seed: 4_2\n"),
        ("change.new.deep.er", "{$append: [x]}", "null_one: ~\n",
         "null_one: ~\n    new:\n      deep:\n        er: {$append: [x]}\n"),
        ("budget", "3", "2.50e+1", "3"),
        ("run", '"other"', "'messy'", '"other"'),
        ("title", "no", "\"run\": 'messy'     # quoted both\n", "\"run\": 'messy'     # quoted both\ntitle: no\n"),
        ("reproduces.run", "run4", "spelt so\n", "spelt so\nreproduces:\n  run: run4\n"),
        ("why", "short", "|-   # a text\n    first line\n      # no comment, but text\n\n    last line\n",
         "short   # a text\n"),
        ("notes", "short", ">\n  folded\n  text\n\n", "short\n\n"),
    ],
)  # fmt: skip
def test_only_the_value_changes(path: str, value: str, old: str, new: str) -> None:
    assert HARD.count(old) == 1
    assert put(HARD, path, value) == HARD.replace(old, new)
    assert put(HARD.replace("\n", "\r\n"), path, value) == HARD.replace(old, new).replace("\n", "\r\n")
    assert put("\ufeff" + HARD, path, value) == "\ufeff" + HARD.replace(old, new)


def test_a_mapping_begins_below_a_key_that_has_nothing() -> None:
    text = "hsdc: 1\nchange:   # nothing yet\n# end\n"
    assert put(text, "change.a.b", "1") == "hsdc: 1\nchange:   # nothing yet\n  a:\n    b: 1\n# end\n"


def test_a_last_line_without_an_end_is_ended() -> None:
    assert put("hsdc: 1\nrun: a", "x", "1") == "hsdc: 1\nrun: a\nx: 1"


@pytest.mark.parametrize(
    ("file", "keys"), LEAVES, ids=lambda item: item.stem if isinstance(item, Path) else ".".join(item)
)
def test_one_leaf_of_a_shipped_spec_changes_one_line(file: Path, keys: tuple[str, ...]) -> None:
    before = file.read_bytes()
    after = assign("x", before, keys, value_of(keys, "7.50e-3"))
    pairs = list(zip(before.split(b"\n"), after.split(b"\n"), strict=True))
    assert sum(old != new for old, new in pairs) == 1
    assert yaml.safe_load(after.replace(b"7.50e-3", b"SEVEN")) == _with(yaml.safe_load(before), keys, "SEVEN")


def _with(tree: Any, keys: tuple[str, ...], value: Any) -> Any:
    return {**tree, keys[0]: _with(tree[keys[0]], keys[1:], value)} if keys else value


@pytest.mark.parametrize("path", ["hsdc.x", "change.list.0", "change.training.learning_rate.x"])
def test_nothing_is_set_below_a_single_value_or_a_list(path: str) -> None:
    with pytest.raises(HsdcError, match="nothing can be set below it") as caught:
        put(HARD, path, "1")
    assert caught.value.diagnostics[0].place is not None


@pytest.mark.parametrize(
    "value", ["", "  ", "*a", "&a 1", "!!python/name:os.system x", "{a: ", "[a]: 1", ".inf", "\udcff"]
)
def test_values_that_are_none_are_refused(value: str) -> None:
    with pytest.raises(HsdcError):
        value_of(("a",), value)


SPELT = ["2e-5", "3.0E-4", "0.10", "0x1F", "1.", "+1", "True", "~", "no", "1_000", "[2e-5, 0.10]", "{$append: ['x']}"]


@pytest.mark.parametrize("text", SPELT)
def test_values_keep_the_spelling_of_their_author(text: str) -> None:
    assert value_of(("a",), text).block == text
    assert value_of(("a",), f"{text}\t# so").flow == text  # a tab, where one of the two libraries would stop


def test_where_a_path_is_written() -> None:
    assert place_in_spec(("training", "epochs"), derived=True) == ("change", "training", "epochs")
    assert place_in_spec(("training", "epochs"), derived=False) == ("training", "epochs")
    assert place_in_spec(("reproduces", "within"), derived=True) == ("reproduces", "within")
    for name in ("run", "hsdc", "change"):
        with pytest.raises(HsdcError):
            place_in_spec((name, "x"), derived=True)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12),
    st.sampled_from(
        ["null", "1e5", "no", "a: b", "a #b", "- a", "? a", "{a", "@x", "'", '"', "0o7", "1_0", "<<", "", " x"]
    ),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c:", "d e", "1"]), min_size=1, max_size=4), values)
def test_any_value_reads_back(keys: list[str], value: Any) -> None:
    path = ("change", "empty", *keys)
    text = (
        yaml.safe_dump(value, allow_unicode=True)
        if not isinstance(value, (str, float))
        else json.dumps(value, ensure_ascii=False)
    )
    written = value_of(path, text)
    found = parse("x", assign("x", HARD.encode(), path, written)).at(path)
    assert found is not None
    assert meaning(found.plain()) == meaning(parse("x", text.encode()).plain())


@settings(max_examples=120, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_for_people_reads_back(text: str) -> None:
    after = assign("x", HARD.encode(), ("title",), prose(("title",), text))
    found = parse("x", after).at(("title",))
    assert found is not None
    assert found.value == text
    assert len(after.splitlines()) == len(HARD.encode().splitlines()) + 1


HOSTILE = ["a: &x [1]\nb: *x\n", "a: !!python/name:os.system x\n", "a: 1\n---\nb: 2\n", "\t: 1"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_file_is_refused_by_the_reader_of_specs(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsdc_compiler.edit.compose", pytest.fail)
    with pytest.raises(HsdcError):
        assign("x", text.encode(), ("a",), value_of(("a",), "1"))


def test_the_parser_in_pure_python_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = put(HARD, "change.training.r_drop", "1")
    monkeypatch.setattr("hsdc_compiler.edit.LOADER", yaml.SafeLoader)
    assert put(HARD, "change.training.r_drop", "1") == expected
