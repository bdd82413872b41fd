"""The page on fine-tunes: what it says is printed is printed, and the tests that it names are there."""

from __future__ import annotations

import re

from docs.data_faults import BEGINS, ROOT
from docs.tuning_faults import ENDS, PAGE, part

TEXT = PAGE.read_text("utf-8")


def test_what_goes_wrong_is_told_as_the_page_says() -> None:
    told = BEGINS + TEXT.partition(BEGINS)[2].partition(f"\n{ENDS}")[0]
    assert told == part(), "python -m docs.tuning_faults writes it anew"


def test_what_tests_make_go_wrong_has_its_tests() -> None:
    rows = [line for line in TEXT.partition(ENDS)[2].splitlines() if line.startswith("| ")][2:]
    named = [re.findall(r"`(tests/[^`]+)`", row) for row in rows]
    assert len(rows) == 10
    assert all(named)
    for row, paths in zip(rows, named, strict=True):
        tests = "".join((ROOT / path).read_text("utf-8") for path in paths)
        for code in re.findall(r"E\d{3}", row):
            assert code in tests, row
