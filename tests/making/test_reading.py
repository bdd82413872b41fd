"""Records of every format: what fits its shape is kept as it stands, what does not is named at its line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from hsdc_runtime.making.files import batches
from hsdc_runtime.making.kept import batches_of
from hsdc_runtime.making.rejections import Rejected
from hsdc_runtime.making.shapes import Fittings
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.making import Shape
from tests.making.bench import PLAIN, Bench, row, write

NAMES = ("id", "text", "label", "score")
SHAPE = Shape.model_validate_json(json.dumps(PLAIN))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = json.dumps(row(1))


def read(path: Path, format: str = "jsonl", shape: Shape = SHAPE) -> tuple[list[Any], list[int], list[tuple[int, str]]]:
    """Rows, where each stands, and where which code was given."""
    rows: list[Any] = []
    places: list[int] = []
    codes: list[tuple[int, str]] = []
    for batch in batches(path, "rows", format, Fittings({"plain": shape}, ["plain"], NAMES), (shape,)):
        rows += batch.rows
        places += batch.places
        codes += [(line, fault.code) for line, fault in batch.rejected]
    return rows, places, codes


@QUICK
@given(
    st.lists(st.tuples(TEXTS, st.sampled_from(["hate", "normal"]), st.floats(allow_nan=False, allow_infinity=False)))
)
def test_all_formats_give_the_same_rows(tmp_path: Path, found: list[tuple[str, str, float]]) -> None:
    texts = ["null", "NA", "None", "nan", "", *(text for text, _, _ in found)]
    labels = ["hate"] * 5 + [label for _, label, _ in found]
    scores = [0.0] * 5 + [score for _, _, score in found]
    rows = [(f"r{n}", *values) for n, values in enumerate(zip(texts, labels, scores, strict=True))]
    dicts = [dict(zip(NAMES, values, strict=True)) for values in rows]
    write(tmp_path, dicts, "a.jsonl")
    (tmp_path / "a.json").write_text(json.dumps(dicts, indent=1, ensure_ascii=False), "utf-8")
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        table = io.StringIO()
        csv.writer(table, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([NAMES, *rows])
        (tmp_path / name).write_bytes(table.getvalue().encode())
    parquet.write_table(pyarrow.Table.from_pylist(dicts), tmp_path / "a.parquet")
    for format in ("jsonl", "json", "csv", "tsv", "parquet"):
        got, _, codes = read(tmp_path / f"a.{format}", format)
        assert (got, codes) == (rows, []), format


LINES = [
    GOOD,
    GOOD + "\r",
    f" {GOOD} ",
    GOOD + GOOD,
    "",
    "  ",
    "{",
    "[]",
    '"text"',
    json.dumps(row(1, more=1)),
    json.dumps({"id": "x"}),
    GOOD.replace("0.5", "NaN"),
    GOOD.replace("0.5", "1e999"),
    GOOD.replace("0.5", "true"),
    GOOD.replace("0.5", '"0.5"'),
    GOOD.replace('"normal"', '"Normal"'),
    GOOD.replace('"normal"', "null"),
    GOOD[:-1] + ', "id": "r2"}',
    GOOD[:-1] + ', "\\u0069d": "r2"}',
    GOOD.replace('"id"', '"\\u0069d"'),
    GOOD.replace("text 1", "\\u0000"),
    GOOD.replace("text 1", "\\ud800"),
    GOOD.replace("text 1", '\\"id\\": \\"score\\"'),
    GOOD.replace("text 1", "id"),
    GOOD.replace(", ", ",\t"),
]


@QUICK
@example([GOOD + GOOD, ""], True)  # as many records as lines, and not one on each
@given(st.lists(st.sampled_from(LINES), min_size=1, max_size=6), st.booleans())
def test_lines_at_once_are_judged_as_each_alone(tmp_path: Path, chosen: list[str], ended: bool) -> None:
    path = tmp_path / "rows.jsonl"
    data = "\n".join(chosen).encode() + b"\n" * ended
    path.write_bytes(data)
    rows, places, codes = read(path)
    alone = [_reference(line) for line in data.removesuffix(b"\n").split(b"\n") if data]
    assert dict(zip(places, rows, strict=True)) == {at: one for at, one in enumerate(alone, 1) if one is not None}
    assert [at for at, _ in codes] == [at for at, one in enumerate(alone, 1) if one is None]


def _reference(line: bytes) -> tuple[Any, ...] | None:
    """The same by the standard library, as plainly as it can be said."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) < len(items):
            raise ValueError
        return dict(items)

    def refuse(text: str) -> None:
        raise ValueError(text)

    try:
        value = json.loads(line, object_pairs_hook=pairs, parse_constant=refuse)
        texts = [value["id"], value["text"]]
        "".join(texts).encode()
        if {*value} != {*NAMES} or value["label"] not in ("hate", "normal") or type(value["score"]) not in (int, float):
            return None
        if abs(value["score"]) == float("inf") or any(type(text) is not str or "\0" in text for text in texts):
            return None
        return tuple(value[name] for name in NAMES)
    except (ValueError, TypeError, KeyError):
        return None


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (GOOD[:-1] + ', "texd": 1}', "E613", "the key 'texd' is not declared"),
        ('{"id": "r1", "text": "x", "label": "hate"}', "E612", "the key 'score' is missing"),
        (GOOD.replace("0.5", '"high"'), "E614", "'score' is a text, not a number"),
        (GOOD.replace('"normal"', '"maybe"'), "E606", "'label' may not be 'maybe'"),
        (GOOD.replace("0.5", "NaN"), "E610", "not valid JSON"),
        (GOOD[:-1] + ', "id": "r2"}', "E610", "the key 'id' stands twice"),
        ("", "E611", "the line is empty"),
        ("[1]", "E611", "the record is a list, not an object"),
        (GOOD.replace("text 1", "a\\u0000"), "E609", "NUL"),
        (GOOD.replace("r1", " "), "E603", "the id is blank"),
        (GOOD.replace("text 1", " "), "E605", "the text is blank"),
        (GOOD.replace("text 1", "x" * (1 << 20)), "E615", "more than 1048576 bytes"),
        (GOOD.replace("text 1", "x" * (3 << 20)), "E615", "more than 1048576 bytes"),
    ],
)
def test_a_fault_is_told_at_its_line(tmp_path: Path, line: str, code: str, told: str) -> None:
    good = [json.dumps(row(number)) for number in range(2, 6)]
    (tmp_path / "rows.jsonl").write_text("\n".join([*good[:2], line, *good[2:]]) + "\n")
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, {}).run("read")
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.place and fault.place.line) == (code, 3)
    assert told in fault.message
    made = Bench(tmp_path, {"rejects": {code: 1}}).run("read")["read"]
    assert made.facts["sources"]["all"] == {"read": 5, "kept": 4, "rejected": {code: 1}}


def test_a_key_may_be_left_out_where_it_may_not_be_null(tmp_path: Path) -> None:
    fields = {"id": {}, "text": {}, "more": {"required": False}, "most": {"required": False, "nullable": True}}
    shape = Shape.model_validate({"fields": fields, "columns": {name: name for name in fields}})
    given = [{"more": "x"}, {}, {"most": None}, {"more": None}]
    write(tmp_path, [{"id": f"r{n}", "text": "t", **more} for n, more in enumerate(given)])
    found = [
        (batch.rows, [(line, fault.message) for line, fault in batch.rejected])
        for batch in batches(
            tmp_path / "rows.jsonl", "rows", "jsonl", Fittings({"s": shape}, ["s"], tuple(fields)), (shape,)
        )
    ]
    rows = [("r0", "t", "x", None), ("r1", "t", None, None), ("r2", "t", None, None)]
    assert found == [(rows, [(4, "'more' is null, not a text")])]


def test_rejected_records_are_allowed_by_reason_and_count(tmp_path: Path) -> None:
    write(tmp_path, [row(1), {**row(2), "odd": 1}, row(3), {**row(4), "odd": 1}, {**row(5), "label": "other"}])
    for rejects, codes in (
        ({"E613": 1}, ["E417", "E613", "E606", "E613"]),
        ({"E613": 2}, ["E606"]),
        ({"E606": 7}, ["E613", "E613"]),
    ):
        with pytest.raises(HsdcError) as caught:
            Bench(tmp_path, {"rejects": rejects}).run("read")
        assert sorted(fault.code for fault in caught.value.diagnostics) == sorted(codes)
    made = Bench(tmp_path, {"rejects": {"E606": 1, "E613": 2}}).run("read")["read"]
    assert made.facts["sources"]["all"] == {"read": 5, "kept": 2, "rejected": {"E606": 1, "E613": 2}}
    with pytest.raises(HsdcError, match="2 records in all are rejected for E613, and 'rejects' of the corpus allows 1"):
        Bench(tmp_path, {"rejects": {"E606": 1, "E613": 1}}).run("read")


def test_so_many_are_rejected_for_a_reason(tmp_path: Path) -> None:
    write(tmp_path, [row(1), *({**row(n), "odd": 1} for n in range(2, 60))])
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, {}).run("read")
    total, *lines = caught.value.diagnostics
    assert (total.code, total.message) == ("E417", "58 records in all are rejected for E613")
    assert [fault.place and fault.place.line for fault in lines] == list(range(2, 22))


def test_rows_whose_id_stands_earlier_are_rejected_where_so_many_may_be(tmp_path: Path) -> None:
    write(tmp_path, [row(1), row(2), row(1, text="again"), row(3)], "one.jsonl")
    write(tmp_path, [row(2, text="elsewhere"), row(4)], "two.jsonl")
    sources = {
        name: {"source": f"file:{name}.jsonl", "format": "jsonl", "shapes": ["plain"]} for name in ("one", "two")
    }
    with pytest.raises(HsdcError, match="2 records in all are rejected for E604, and 'rejects' of the corpus allows 1"):
        Bench(tmp_path, {"sources": sources, "rejects": {"E604": 1}}).run("read")
    made = Bench(tmp_path, {"sources": sources, "rejects": {"E604": 2}}).run()
    assert made["read"].facts["sources"] == {
        "one": {"read": 4, "kept": 3, "rejected": {"E604": 1}},
        "two": {"read": 2, "kept": 1, "rejected": {"E604": 1}},
    }
    assert made["write"].facts["splits"]["two"] == {"read": 2, "kept": 1, "filtered": {}, "rejected": {"E604": 1}}
    written = made["write"].files["rows.all"].read_text().splitlines()
    assert [(item["id"], item["text"]) for item in map(json.loads, written)] == [
        ("r1", "text 1"), ("r2", "text 2"), ("r3", "text 3"), ("r4", "text 4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("begins", "told"),
    [
        (b"\xef\xbb\xbf", "begins with a byte order mark"),
        (b"\xff\xfe", "is UTF-16, not UTF-8"),
        (b"\xfe\xff", "is UTF-16, not UTF-8"),
        (b"PAR1", "is a Parquet file, and not one of text"),
    ],
)
@pytest.mark.parametrize("format", ["jsonl", "json", "csv"])
def test_a_file_in_another_encoding_is_told_at_once(tmp_path: Path, begins: bytes, told: str, format: str) -> None:
    (tmp_path / "a").write_bytes(begins + GOOD.encode())
    with pytest.raises(HsdcError, match=f"'rows' {told}"):
        read(tmp_path / "a", format)


def test_bytes_that_are_not_utf8_are_told_at_their_line(tmp_path: Path) -> None:
    write(tmp_path, [row(1), row(2)])
    with (tmp_path / "rows.jsonl").open("ab") as file:
        file.write(json.dumps(row(3)).encode().replace(b"text 3", b"\xff"))
    rows, _, codes = read(tmp_path / "rows.jsonl")
    assert (len(rows), codes) == (2, [(3, "E601")])


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("id,text,label,score\na,b,hate,1\na2,b,c,hate,1\n", "E602", 3),
        ("id,text,label,score\na,b,hate,1\n\nc,b,hate,1\n", "E611", 3),
        ("id;text;label;score\na;b;hate;1\n", "E621", 1),
        ("id,text,label,score\na,b,hate,nan\n", "E614", 2),
        ("id,text,label,score\na,b,hate,1_0\n", "E614", 2),
        ('id,text,label,score\na,"b\nc",hate,1\nb,"x,hate,1\n', "E622", 4),
        ("id,text,label,scores\na,b,hate,1\n", "E621", 1),
        ("id,text,label,score,id\na,b,hate,1,b\n", "E621", 1),
        ("id,text,label,score\n", "E624", None),
        ("\x1f\x8bxxxx", "E626", None),
        ('id,text,label,score\na,"b\nc",hate,1\nb,x,maybe,1\n', "E606", 4),
    ],
)
def test_faults_of_tables(tmp_path: Path, text: str, code: str, line: int | None) -> None:
    (tmp_path / "rows.csv").write_bytes(text.encode("latin-1"))
    source = {"source": "file:rows.csv", "format": "csv", "shapes": ["plain"]}
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, {"sources": {"all": source}}).run("read")
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.place and fault.place.line) == (code, line)


def test_an_id_that_stands_twice_names_both_lines(tmp_path: Path) -> None:
    write(tmp_path, [row(n) for n in range(50)], "one.jsonl")
    (tmp_path / "two.json").write_text(json.dumps([row(60), row(61), row(7)], indent=1))
    sources = {
        "one": {"source": "file:one.jsonl", "format": "jsonl", "shapes": ["plain"]},
        "two": {"source": "file:two.json", "format": "json", "shapes": ["plain"]},
    }
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, {"sources": sources}).run("read")
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.message) == ("E604", "the id 'r7' is that of line 8 of file:one.jsonl")
    assert fault.place is not None
    assert (fault.place.path, fault.place.line) == ("file:two.json", 14)


def test_parquet_that_is_none_and_numbers_that_are_none(tmp_path: Path) -> None:
    source = {"source": "file:rows.parquet", "format": "parquet", "shapes": ["plain"]}
    parquet.write_table(pyarrow.Table.from_pylist([row(1), row(2, score=float("nan"))]), tmp_path / "rows.parquet")
    for code, data in (("E614", None), ("E630", b"PAR1 and nothing else")):
        if data is not None:
            (tmp_path / "rows.parquet").write_bytes(data)
        with pytest.raises(HsdcError) as caught:
            Bench(tmp_path, {"sources": {"all": source}}).run("read")
        assert [fault.code for fault in caught.value.diagnostics] == [code]


def test_the_first_shape_that_fits_is_taken(tmp_path: Path) -> None:
    shapes = {
        "plain": PLAIN,
        "whole": {
            "fields": {"meta.id": {}, "output": {}, "meta.score": {"type": "number"}, "meta.kind": {"type": "integer"}},
            "columns": {
                "id": "meta.id",
                "text": {"path": "output", "pattern": "```yaml VISION\n(.*?)\n```"},
                "label": {"path": "meta.kind", "values": {"7": "hate"}},
                "score": "meta.score",
            },
        },
    }
    other = {
        "meta": {"id": "o1", "score": 1, "kind": 7},
        "output": "a\n```yaml VISION\nx: 1\ny: 2\n```\n```yaml REVIEW\nz\n```",
    }
    write(tmp_path, [row(1), other, row(2)])
    sources = {"all": {"source": "file:rows.jsonl", "format": "jsonl", "shapes": ["plain", "whole"]}}
    made = Bench(tmp_path, {"shapes": shapes, "sources": sources}).run("read")["read"]
    rows = [item for found in batches_of(made.files["rows"]) for item in found]
    assert rows[1] == ("o1", "x: 1\ny: 2", "hate", 1.0)
    assert [item[0] for item in rows] == ["r1", "o1", "r2"]
    write(tmp_path, [row(1), {**other, "output": "no block"}])
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, {"shapes": shapes, "sources": sources}).run("read")
    (fault,) = caught.value.diagnostics
    assert "as 'plain', the key 'meta' is not declared" in fault.message
    assert "as 'whole', the pattern of 'text' finds nothing in 'output'" in fault.message


def test_rejected_is_no_row() -> None:
    found = Fittings({"plain": SHAPE}, ["plain"], NAMES).of_value({"id": 1})
    assert isinstance(found, Rejected)
