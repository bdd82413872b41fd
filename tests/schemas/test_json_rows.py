"""Reading rows of JSON and JSONL, and what holds for rows of any form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import HEADS, dataset, faults, read, written

from hsdc_schemas.errors import HsdcError
from hsdc_schemas.rows import FILE_FAULTS, read_rows

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
def test_a_field_may_be_a_number(tmp_path: Path, form: str) -> None:
    """It is the text that JSON has for it; ids, texts and labels stay texts, and nothing else becomes one."""
    values = ("0.873", "1", "1e-3", "-0.50", '"0.1"', "null", "true", "[1]")
    rows = [f'{GOOD[:-1].replace("a", str(number), 1)}, "score": {text}}}' for number, text in enumerate(values)]
    rows.append(GOOD.replace('"a"', "7")[:-1] + ', "score": 1}')
    data = "\n".join(rows) if form == "jsonl" else f"[{','.join(rows)}]"
    (tmp_path / "rows").write_text(data)
    columns = {"columns": ("id", "text", "tone", "topic", "score"), "fields": {"score": "score"}}
    found = read_rows(tmp_path / "rows", "file:rows", dataset(form).model_copy(update=columns), HEADS)
    assert [row.fields.get("score") for row in found.rows] == ["0.873", "1", "0.001", "-0.5", "0.1", None]
    assert [fault.code for fault in found.rejected] == ["E614"] * 3


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
