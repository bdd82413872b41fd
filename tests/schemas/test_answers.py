"""Files of answers: what is written is read again, whatever else is refused, and counts are those of the rows."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hsdc_schemas.answers import Answer, load_answers, rows_digest, stream_answers, tally, write_answers
from hsdc_schemas.errors import Exit, HsdcError
from tests.schemas.answered import HEADS, held, made_up

OPTIONS = {"heads": HEADS, "variants": ("raw",), "split": "test", "measurement": "rank"}
TWO = {"tone": ("normal", "hate"), "topic": ("a", "b", "c")}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows = made_up(50, unreadable=0.2, clusters=7)
    header = write_answers(tmp_path / "a.jsonl", rows, **OPTIONS, subset="the first 50 rows", unparseable="drop")
    loaded = load_answers(tmp_path / "a.jsonl", "a.jsonl")
    assert loaded.header == header
    assert list(loaded.rows) == rows
    assert (header.rows, header.subset, header.unparseable, header.measurement) == (
        50,
        "the first 50 rows",
        "drop",
        "rank",
    )
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert len(lines) == 51
    assert all(json.dumps(json.loads(line), sort_keys=True, separators=(",", ":")) == line for line in lines[:2])
    write_answers(tmp_path / "b.jsonl", rows, **OPTIONS, subset="the first 50 rows", unparseable="drop")
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


def test_rows_come_one_by_one(tmp_path: Path) -> None:
    write_answers(tmp_path / "a.jsonl", made_up(20), **OPTIONS)
    text = (tmp_path / "a.jsonl").read_text().splitlines()
    (tmp_path / "a.jsonl").write_text("\n".join([*text[:10], "{", *text[11:]]) + "\n")
    _, rows = stream_answers(tmp_path / "a.jsonl", "a.jsonl")
    assert [next(rows).id for _ in range(9)] == [f"r{number}" for number in range(9)]
    with pytest.raises(HsdcError, match="not a file of answers") as caught:
        next(rows)
    assert caught.value.diagnostics[0].place.line == 11


def test_the_digest_is_of_the_rows_in_any_order() -> None:
    rows = [(row.id, row.gold) for row in made_up(30)]
    mixed = random.Random(0).sample(rows, len(rows))
    assert rows_digest(mixed) == rows_digest(rows)
    assert rows_digest(rows[:-1]) != rows_digest(rows)
    assert rows_digest([*rows[:-1], (rows[-1][0], {"tone": None})]) != rows_digest(rows)
    assert rows_digest([("a", {"x": "1"}), ("b", {"x": "2"})]) != rows_digest([("a", {"x": "2"}), ("b", {"x": "1"})])


BROKEN = {
    "an id twice": lambda row: {"id": "r1"},
    "a group twice": lambda row: {"groups": ("lgbtq", "lgbtq")},
    "another head": lambda row: {"gold": {"topic": "a"}},
    "another label": lambda row: {"gold": {"tone": "spam"}},
    "another variant": lambda row: {"answers": {"tuned": {"tone": "hate"}}},
    "an answer of no label": lambda row: {"answers": {"raw": {"tone": "spam"}}},
    "no fault of an unreadable answer": lambda row: {"answers": {"raw": {"tone": None}}},
    "a fault of a readable answer": lambda row: {"faults": {"raw": {"tone": "no_label"}}},
    "chances of another length": lambda row: {"chances": {"raw": {"tone": (1.0,)}}},
    "chances beyond 1": lambda row: {"chances": {"raw": {"tone": (1.5, -0.5)}}},
    "chances that are no whole": lambda row: {"chances": {"raw": {"tone": (0.5, 0.4)}}},
    "chances of another variant": lambda row: {"chances": {"tuned": {"tone": (0.5, 0.5)}}},
}


@pytest.mark.parametrize("what", BROKEN)
def test_rows_that_contradict_themselves_are_neither_written_nor_read(what: str, tmp_path: Path) -> None:
    rows = made_up(5)
    changed = msgspec.structs.replace(rows[3], **BROKEN[what](rows[3]))
    broken = [*rows[:3], changed, rows[4]]
    with pytest.raises(ValueError, match=r"\w"):
        write_answers(tmp_path / "a.jsonl", broken, **OPTIONS)
    write_answers(tmp_path / "a.jsonl", rows, **OPTIONS)
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines()
    lines[4] = msgspec.json.encode(changed)
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(HsdcError) as caught:
        load_answers(tmp_path / "a.jsonl", "a.jsonl")
    fault = caught.value.diagnostics[0]
    assert (fault.code, fault.exit, fault.place.line) == ("E530", Exit.NO, 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1].replace(b'"r4"', b'"r5"')],
        lambda lines: [*lines[:2], lines[2].replace(b'"tone":"hate"}', b'"tone":"normal"}', 1), *lines[3:]],
        lambda lines: [lines[0].replace(b'"hsdc":1', b'"hsdc":2'), *lines[1:]],
        lambda lines: [lines[0].replace(b'{"', b'{"more":1,"', 1), *lines[1:]],
        lambda lines: [lines[0].replace(b'"rank"', b'"Rank it"'), *lines[1:]],
        lambda lines: [lines[0], lines[1].replace(b'{"', b'{"more":1,"', 1), *lines[2:]],
        lambda lines: [lines[0], lines[1].replace(b'"id":"r0"', b'"id":0'), *lines[2:]],
        lambda lines: [lines[0], b"", *lines[1:]],
        lambda lines: [lines[0], b"\xff\xfe", *lines[1:]],
        lambda lines: [],
    ],
)
def test_a_file_that_was_changed_is_refused(change, tmp_path: Path) -> None:
    rows = made_up(5)
    rows[1] = msgspec.structs.replace(rows[1], gold={"tone": "hate"}, answers={"raw": {"tone": "normal"}})
    write_answers(tmp_path / "a.jsonl", rows, **OPTIONS)
    lines = change((tmp_path / "a.jsonl").read_bytes().splitlines())
    (tmp_path / "a.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    with pytest.raises(HsdcError) as caught:
        load_answers(tmp_path / "a.jsonl", "a.jsonl")
    assert [fault.code for fault in caught.value.diagnostics] == ["E530"]


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HsdcError, match="cannot be read") as caught:
        load_answers(tmp_path / "none.jsonl", "none.jsonl")
    assert caught.value.exit is Exit.ENVIRONMENT


@pytest.mark.parametrize(
    "changes",
    [
        {"variants": ()},
        {"variants": ("raw", "raw")},
        {"heads": {}},
        {"heads": {"tone": ("hate",)}},
        {"heads": {"tone": ("hate", "hate")}},
        {"measurement": "by eye"},
    ],
)
def test_headers_that_contradict_themselves_are_refused(changes: dict, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        write_answers(tmp_path / "a.jsonl", [], **{**OPTIONS, **changes})


def test_the_tally_counts_every_row_once_in_each_slice(tmp_path: Path) -> None:
    rows = made_up(300, heads=TWO, unreadable=0.1)
    rows[7] = msgspec.structs.replace(rows[7], gold={"tone": None, "topic": rows[7].gold["topic"]})
    answers = held(tmp_path, rows)
    scores = tally(answers.header, answers.rows, across=True)
    assert set(scores) == {"raw"}
    names = {"all", "group=lgbtq", "group=latino", "group=few", "tone=normal", "tone=hate"}
    assert set(scores["raw"]) == {*names, "topic=a", "topic=b", "topic=c"}
    assert set(scores["raw"]["tone=hate"]) == {"topic"}
    for name, kept in {
        "all": rows,
        "group=lgbtq": [row for row in rows if "lgbtq" in row.groups],
        "tone=hate": [row for row in rows if row.gold["tone"] == "hate"],
    }.items():
        for head, found in scores["raw"][name].items():
            labels = answers.header.heads[head]
            expected = Counter((row.gold[head], row.answers["raw"][head]) for row in kept if row.gold[head])
            assert found["labels"] == list(labels)
            for gold, counts in zip(labels, found["counts"], strict=True):
                columns = [*labels, None][: len(counts)]
                assert counts == [expected[gold, said] for said in columns]
            assert sum(map(sum, found["counts"])) == expected.total()


def test_a_group_and_a_head_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    rows = [
        Answer("a", ("x",), None, {"group": "x", "tone": "p"}, {"raw": {"group": "x", "tone": "p"}}),
        Answer("b", (), None, {"group": "y", "tone": "q"}, {"raw": {"group": "y", "tone": "q"}}),
    ]
    answers = held(tmp_path, rows)
    with pytest.raises(ValueError, match="rename the head"):
        tally(answers.header, answers.rows, across=True)
    assert "group=x" in tally(answers.header, answers.rows)["raw"]
    assert replace(answers, rows=()).rows == ()
