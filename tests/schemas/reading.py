"""What the tests of reading rows share: a data set, and a reading that holds its own books."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from hsdc_schemas.components import Dataset
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.rows import REASONS, RowsRead, read_rows

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
