"""The project that `hsdc init` writes runs, and its toy of a model learns from its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hsdc_schemas.confusion import Confusion


def test_a_fresh_project_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc: Callable) -> None:
    monkeypatch.chdir(tmp_path)
    for call in ("init", "compile", "run"):
        answer = hsdc(call)
        assert answer.code == 0, answer.err
    record = json.loads((tmp_path / "generated/demo/first.record.json").read_bytes())
    found = Confusion.from_json(record["scores"]["raw"]["all"]["mood"]).f1_macro().value
    assert found is not None
    assert found > 0.6, "more than a model that always says the same, which has 0.35"
