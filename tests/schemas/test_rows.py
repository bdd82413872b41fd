"""Reading rows: what is kept, why a row is rejected, where, and what stops the whole file."""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from reading import HEADER, HEADS, dataset, faults, read, refused, written

from hsdc_schemas import rows
from hsdc_schemas.errors import Exit, HsdcError
from hsdc_schemas.records import MAX_ROW_BYTES
from hsdc_schemas.rows import label_counts, read_rows


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
        ('[\n  {"id": "a"; }]', "json", "E623", 2, 13),
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


@pytest.mark.parametrize(
    ("what", "pack"),
    [
        ("gzip", gzip.compress),
        ("bzip2", bz2.compress),
        ("xz", lzma.compress),
        ("zip", lambda data: b"PK\x03\x04" + data),
        ("zstandard", lambda data: b"\x28\xb5\x2f\xfd" + data),
    ],
)
def test_a_compressed_file_is_not_read(tmp_path: Path, what: str, pack: Callable[[bytes], bytes]) -> None:
    error = refused(tmp_path, pack(HEADER.encode() + b"a,text,neutral,sport\n" * 1000))
    assert (error.diagnostics[0].code, error.exit) == ("E626", Exit.NO)
    assert f"'file:rows' is compressed ({what})" in str(error)


def test_bounds_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, data = "b{},text,neutral,sport\n", HEADER + "a,text,neutral,sport\n"
    monkeypatch.setattr(rows, "MOST_BYTES", len(data))
    assert read(tmp_path, data).kept == 1
    error = refused(tmp_path, data + "\n")
    assert (error.diagnostics[0].code, error.exit) == ("E627", Exit.NO)
    monkeypatch.undo()
    monkeypatch.setattr(rows, "MOST_ROWS", 3)
    assert read(tmp_path, data + row.format(1) + row.format(2)).kept == 3
    many = data + "".join(map(row.format, range(9)))
    assert [fault.code for fault in refused(tmp_path, many).diagnostics] == ["E628"]
    assert read(tmp_path, many, limit=2).kept == 2
    monkeypatch.undo()
    monkeypatch.setattr(rows, "MOST_REJECTED", 3)
    assert faults(read(tmp_path, data + "\n" * 3)) == [("E602", line) for line in (3, 4, 5)]
    error = refused(tmp_path, data + "\n" * 4)
    assert "more than 3 rows of 'file:rows' are rejected; the first: the row has 0 cells" in str(error)
    assert error.diagnostics[0].place is not None
    assert error.diagnostics[0].place.line == 3
