"""The faults of `make planted` can be planted in the sources as they are now, each at one place, and are code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from faults import FAULTS, Fault
from planted import ENOUGH, planted

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_be_planted(fault: Fault) -> None:
    before = (ROOT / fault.file).read_text("utf-8")
    after = planted(before, fault)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before))
    for name in fault.tests:
        assert (ROOT / name.partition("::")[0]).is_file()


def test_there_are_enough() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= ENOUGH
