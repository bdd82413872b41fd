"""A run writes no secret into the ledger, the store's actions or its record, and stops instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hsdc_runtime.ledger import LEDGER

RECORD = "generated/demo/base.record.json"


@pytest.mark.parametrize(
    ("value", "place", "lines"),
    [
        ("run started", f"{LEDGER} would hold", 0),  # the first line of the ledger
        ("best_metric", "what train says of itself would hold", 4),  # a key of the facts of a stage
        ("peak_memory_bytes", f"{RECORD} would hold", 13),  # of the record alone
    ],
)
def test_a_run_that_would_write_a_secret_stops(
    fresh: Path, hsdc: Callable, monkeypatch: pytest.MonkeyPatch, value: str, place: str, lines: int
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", value)
    answer = hsdc("run", "base")
    assert answer.code == 3
    assert "error[E810]" in answer.err
    assert f"{place} the value of the variable SERVICE_TOKEN" in answer.err
    assert value not in answer.err.partition("error[")[2]
    assert not (fresh / RECORD).exists()
    written = [path for path in (fresh / ".hsdc").rglob("*") if path.is_file() and path.name != "history.json"]
    assert [
        path for path in written if path.suffix in (".json", ".jsonl") and value.encode() in path.read_bytes()
    ] == []
    ledger = fresh / LEDGER
    assert (len(ledger.read_bytes().splitlines()) if ledger.exists() else 0) == lines
