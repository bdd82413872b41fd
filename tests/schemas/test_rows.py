"""Reading rows: what is kept, why a row is rejected, where, and what stops the whole file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsdc_schemas.errors import Exit, HsdcError
from hsdc_schemas.records import MAX_ROW_BYTES
from hsdc_schemas.rows import FILE_FAULTS, REASONS, RowsRead, label_counts, read_rows
from hsdc_schemas.spec import Dataset

HEADS = {"tone": ("tone", ("neutral", "hostile")), "topic": ("topic", ("sport", "null"))}


def dataset(form: str = "csv", blank: str = "reject") -> Dataset:
    return Dataset.model_validate(
        {
            "format": form,
            "splits": {"train": "file:x"},
            "columns": ("id", "text", "tone", "topic"),
            "labels": {"tone": "tone", "topic": "topic"},
            "blank": blank,
        }
    )


def read(folder: Path, data: bytes | str, form: str = "csv", blank: str = "reject", **more: Any) -> RowsRead:
    path = folder / "rows"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    found = read_rows(path, "file:rows", dataset(form, blank), HEADS, **more)
    assert found.read == found.kept + len(found.rejected)
    assert found.kept == len(found.rows)
    assert sum(found.rejected_by_reason.values()) == len(found.rejected)
    assert set(found.rejected_by_reason) <= set(REASONS)
    for fault in found.rejected:
        assert fault.hint
        assert "\n" not in fault.message + fault.hint
    return found


def faults(found: RowsRead) -> list[tuple[str, int]]:
    return [(d.code, d.place.line) for d in found.rejected if d.place]


def refused(folder: Path, data: bytes | str, form: str = "csv") -> HsdcError:
    with pytest.raises(HsdcError) as caught:
        read(folder, data, form)
    (fault,) = caught.value.diagnostics
    assert fault.hint
    assert "\n" not in fault.message
    return caught.value


HEADER = "id,text,tone,topic\n"


def test_values_stay_as_they_are_written(tmp_path: Path) -> None:
    data = HEADER + "a,NA,neutral,null\n b,nan,hostile,sport\nNone, null ,neutral,sport\n"
    found = read(tmp_path, data)
    assert [(r.id, r.text, dict(r.labels)) for r in found.rows] == [
        ("a", "NA", {"tone": "neutral", "topic": "null"}),
        (" b", "nan", {"tone": "hostile", "topic": "sport"}),
        ("None", " null ", {"tone": "neutral", "topic": "sport"}),
    ]
    assert found.digest == "sha256:" + hashlib.sha256(data.encode()).hexdigest()
    assert found.bytes == len(data.encode())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_line_ends_mark_and_lines_of_quoted_cells(tmp_path: Path, end: str, bom: bytes) -> None:
    lines = ["id,text,tone,topic", 'a,"one', "two", 'three",neutral,sport', "b,,neutral,sport", "c,ok,neutral,sport"]
    found = read(tmp_path, bom + end.join(lines).encode())
    assert [r.id for r in found.rows] == ["a", "c"]
    assert found.rows[0].text == f"one{end}two{end}three"
    assert faults(found) == [("E605", 5)]


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "a,x\u2028y\x85z,neutral,sport\nb,,neutral,sport\n")
    assert found.rows[0].text == "x\u2028y\x85z"
    assert faults(found) == [("E605", 3)]


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        ("b,text,neutral", "E602", "3 cells, the header 4"),
        ("b,text,neutral,sport,", "E602", "5 cells"),
        ("", "E602", "0 cells"),
        ("  ,text,neutral,sport", "E603", "'id'"),
        ("a,text,neutral,sport", "E604", "line 2"),
        ("b, \t,neutral,sport", "E605", "'text'"),
        ("b,text,hostil,sport", "E606", "'hostil' in column 'tone'"),
        ("b,text,neutral ,sport", "E606", "'neutral '"),
        ("b,text,neutral,", "E607", "'topic'"),
        ("b,te\0xt,neutral,sport", "E609", "byte 5 of line 3"),
    ],
)
def test_each_reason(tmp_path: Path, row: str, code: str, words: str) -> None:
    found = read(tmp_path, HEADER + f"a,text,neutral,sport\n{row}\nz,text,hostile,sport\n")
    assert [r.id for r in found.rows] == ["a", "z"]
    assert faults(found) == [(code, 3)]
    assert words in found.rejected[0].message
    assert found.rejected_by_reason == {code: 1}


def test_the_nearest_label_is_offered(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "b,text,hostil,sport\n")
    assert found.rejected[0].hint == "did you mean 'hostile'?"


def test_a_bad_byte_is_named_by_line_and_byte(tmp_path: Path) -> None:
    data = HEADER.encode() + 'a,ok,neutral,sport\nb,"é\né'.encode() + b'\xff",neutral,sport\nc,ok,neutral,sport\n'
    found = read(tmp_path, data)
    assert [r.id for r in found.rows] == ["a", "c"]
    assert faults(found) == [("E601", 3)]
    assert found.rejected[0].message == "byte 0xff at byte 3 of line 4 is not UTF-8"
    found = read(tmp_path, HEADER.encode() + "a,é".encode() + b"\xc3,neutral,sport\n")
    assert found.rejected[0].message == "byte 0xc3 at byte 5 of line 2 is not UTF-8"
    assert found.rejected[0].place is not None
    assert found.rejected[0].place.column == 4


def test_masked_labels(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER + "a,x,,sport\nb,x,,\nc,x,hostile, \n", blank="mask")
    assert [dict(r.labels) for r in found.rows] == [
        {"tone": None, "topic": "sport"},
        {"tone": "hostile", "topic": None},
    ]
    assert faults(found) == [("E608", 3)]
    counts = label_counts(found.rows, HEADS)
    assert counts == {"tone": {"neutral": 0, "hostile": 1, "": 1}, "topic": {"sport": 1, "null": 0, "": 1}}
    assert list(counts["tone"]) == ["neutral", "hostile", ""]
    assert label_counts(read(tmp_path, HEADER + "a,x,hostile,sport\n").rows, HEADS)["tone"] == {
        "neutral": 0,
        "hostile": 1,
    }


def test_an_id_counts_as_used_by_a_rejected_row(tmp_path: Path) -> None:
    assert faults(read(tmp_path, HEADER + "a,,neutral,sport\na,x,neutral,sport\n")) == [("E605", 2), ("E604", 3)]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "json"])
def test_too_long_rows_and_long_ones(tmp_path: Path, form: str) -> None:
    rows = [["a", "x" * MAX_ROW_BYTES], ["b", "é" * (MAX_ROW_BYTES // 2 - 200)], ["c", "short"]]
    data = written([[*row, "neutral", "sport"] for row in rows], form)
    before = csv.field_size_limit()
    found = read(tmp_path, data, form)
    assert [r.id for r in found.rows] == ["b", "c"]
    assert [d.code for d in found.rejected] == ["E615"]
    assert csv.field_size_limit() == before


def test_limit_reads_the_first_records_and_hashes_all(tmp_path: Path) -> None:
    data = HEADER + "a,x,neutral,sport\nb,,neutral,sport\nc,x,neutral,sport\nd,x,wrong,sport\n"
    found = read(tmp_path, data, limit=2)
    assert (found.read, found.kept, faults(found)) == (2, 1, [("E605", 3)])
    assert found.digest == read(tmp_path, data).digest
    assert found.bytes == len(data)
    with pytest.raises(ValueError, match="at least 1"):
        read(tmp_path, data, limit=0)


def test_the_header_may_be_in_another_order(tmp_path: Path) -> None:
    found = read(tmp_path, "topic,id,tone,text\nsport,a,neutral,words\n")
    assert (found.rows[0].id, found.rows[0].text) == ("a", "words")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id,text,tone", "lacks 'topic'"),
        ("id,text,tone,topic,more", "adds 'more'"),
        ("id,text,tone,topic,id", "adds 'id'"),
        ("id,text,Tone,topic", "lacks 'tone' and adds 'Tone'"),
        ("a,b,c,d", "lacks 'id', 'text', 'tone', 'topic' and adds 'a'"),
    ],
)
def test_another_header_is_refused(tmp_path: Path, header: str, words: str) -> None:
    error = refused(tmp_path, header + "\na,x,neutral,sport\n")
    assert error.exit == Exit.SPEC
    assert error.diagnostics[0].code == "E621"
    assert words in error.diagnostics[0].message


@pytest.mark.parametrize(
    ("data", "form", "code", "line", "column"),
    [
        ('id,text,tone,topic\na,"x" y,neutral,sport\n', "csv", "E622", 2, 0),
        ('id,text,tone,topic\na,x,neutral,sport\nb,"x,neutral\nsport\n', "csv", "E622", 3, 0),
        ("", "csv", "E624", None, None),
        ("\ufeff", "jsonl", "E624", None, None),
        ("id,text,tone,topic\n", "csv", "E624", None, None),
        (" [ ] ", "json", "E624", None, None),
        ('{"id": 1}', "json", "E623", 1, 1),
        ('[\n  {"id": "a",}]', "json", "E623", 2, 14),
        ('[\n{"id": "a"}\n{"id": "b"}]', "json", "E623", 3, 1),
        ('[{"id": "a"},\n]', "json", "E623", 2, 1),
        ('[{"id": "a"}', "json", "E623", 1, 13),
        ('[{"id": "a"}]\n x', "json", "E623", 2, 2),
        ("[" * 100_000, "json", "E623", 1, 2),
    ],
)
def test_faults_of_the_whole_file(
    tmp_path: Path, data: str, form: str, code: str, line: int | None, column: int | None
) -> None:
    error = refused(tmp_path, data, form)
    assert error.exit == Exit.NO
    (fault,) = error.diagnostics
    assert fault.code == code
    assert (fault.place and fault.place.line, fault.place and fault.place.column) == (line, column)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(HsdcError) as caught:
            read_rows(path, "file:none", dataset(), HEADS)
        assert caught.value.exit == Exit.ENVIRONMENT
        assert caught.value.diagnostics[0].code == "E620"


def test_a_schema_that_contradicts_itself(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    wrong = dataset().model_copy(update={"text": "txt"})
    for data, heads in ((wrong, HEADS), (dataset(), {"tone": ("ton", ("a", "b"))})):
        with pytest.raises(HsdcError) as caught:
            read_rows(tmp_path / "x", "file:x", data, heads)
        assert caught.value.exit == Exit.SPEC
        assert caught.value.diagnostics[0].hint.startswith("did you mean")


GOOD = '{"id": "a", "text": "x", "tone": "neutral", "topic": "sport"}'


@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        ("[1]", "E611", "a list"),
        ('{"id": "b", "text": "x", "tone": "neutral"}', "E612", "'topic'"),
        ('{"id": "b", "text": "x", "tone": "neutral", "topic": "sport", "m": 1}', "E613", "'m'"),
        ('{"id": 7, "text": "x", "tone": "neutral", "topic": "sport"}', "E614", "'id' is a number"),
        ('{"id": "b", "text": null, "tone": "neutral", "topic": "sport"}', "E614", "'text' is null"),
        ('{"id": "b", "text": "x", "tone": true, "topic": "sport"}', "E614", "'tone' is a truth value"),
        ('{"id": "b", "text": "x", "tone": null, "topic": "sport"}', "E607", "'tone'"),
        ('{"id": "b", "text": "x", "tone": NaN, "topic": "sport"}', "E610", "NaN"),
        ('{"id": "b", "id": "c", "text": "x", "tone": "neutral", "topic": "sport"}', "E610", "'id' is written twice"),
        ('{"id": "b", "text": "\\u0000", "tone": "neutral", "topic": "sport"}', "E609", "NUL"),
        ('{"id": "b", "text": "\\ud83d", "tone": "neutral", "topic": "sport"}', "E601", "\\ud83d"),
        (GOOD, "E604", "line 1"),
    ],
)
def test_rows_of_json(tmp_path: Path, form: str, row: str, code: str, words: str) -> None:
    rows = [GOOD, row, GOOD.replace('"a"', '"z"')]
    data = "\n".join(rows) if form == "jsonl" else "[" + ",\n".join(rows) + "\n]\n"
    found = read(tmp_path, data, form)
    assert [r.id for r in found.rows] == ["a", "z"]
    assert faults(found) == [(code, 2)]
    assert words in found.rejected[0].message


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_bad_bytes_in_json(tmp_path: Path, form: str) -> None:
    bad = b'{"id": "b", "text": "\xe9", "tone": "neutral", "topic": "sport"}'
    rows = [GOOD.encode(), bad, GOOD.replace('"a"', '"z"').encode()]
    data = b"\n".join(rows) if form == "jsonl" else b"[\n" + b",\n".join(rows) + b"]"
    found = read(tmp_path, data, form)
    line = 2 if form == "jsonl" else 3
    assert faults(found) == [("E601", line)]
    assert found.rejected[0].message == f"byte 0xe9 at byte 22 of line {line} is not UTF-8"
    assert [r.id for r in found.rows] == ["a", "z"]


def test_a_broken_line_of_jsonl_is_one_rejected_row(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD + "\r\n{oops\n\n" + "[" * 100_000 + "\n" + GOOD.replace('"a"', '"z"') + "\n", "jsonl")
    assert faults(found) == [("E610", 2), ("E611", 3), ("E610", 4)]
    assert found.rejected[0].place is not None
    assert found.rejected[0].place.column == 2
    assert [r.id for r in found.rows] == ["a", "z"]


def written(rows: list[list[str]], form: str) -> str:
    columns = ["id", "text", "tone", "topic"]
    if form in ("csv", "tsv"):
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter="," if form == "csv" else "\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([columns, *rows])
        return out.getvalue()
    objects = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
    return (
        "\n".join(objects)
        if form == "jsonl"
        else json.dumps([json.loads(o) for o in objects], indent=1, ensure_ascii=False)
    )


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@given(
    rows=st.lists(st.tuples(texts, texts, st.sampled_from(["neutral", "hostile", "", "x"])), min_size=1, max_size=8),
    form=st.sampled_from(["csv", "tsv", "jsonl", "json"]),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], form: str
) -> None:
    data = written([[*row, "sport"] for row in rows], form)
    found = read(tmp_path_factory.mktemp("rows"), data, form)
    expected, seen = [], set()
    for name, text, tone in rows:
        if name.strip() and name not in seen:
            seen.add(name)
            if text.strip() and tone in ("neutral", "hostile"):
                expected.append((name, text, tone))
    assert [(r.id, r.text, r.labels["tone"]) for r in found.rows] == expected
    assert found.read == len(rows)


@given(data=st.binary(max_size=200), form=st.sampled_from(["csv", "tsv", "jsonl", "json"]))
def test_any_bytes_end_in_rows_or_in_a_named_fault(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, form: str
) -> None:
    header = {"csv": b"id,text,tone,topic\n", "tsv": b"id\ttext\ttone\ttopic\n"}.get(form, b"")
    try:
        found = read(tmp_path_factory.mktemp("rows"), header + data, form)
    except HsdcError as error:
        codes = {d.code for d in error.diagnostics}
    else:
        codes = set()
        assert found.bytes == len(header + data)
    assert codes <= set(FILE_FAULTS) - {"E620", "E621", "E625"}


@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_speed(tmp_path: Path, form: str) -> None:
    data = written([[str(i), f"some words of row {i}, and more " * 6, "neutral", "sport"] for i in range(10_000)], form)
    begin = time.process_time()
    found = read(tmp_path, data, form)
    spent = time.process_time() - begin
    assert found.kept == 10_000
    assert spent < 0.5
