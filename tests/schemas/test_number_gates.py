"""Gates on numbers that answers say: what they name, what they come to, and how many rows they take."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hsdc_schemas.gates import Gate, GateError, evaluate, needed_rows, parse_gate
from tests.schemas.answered import HEADS
from tests.schemas.numbered import COVERAGE, ENDS, MAE, MEAN, STD, judged, rows, values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean[score] >= 0.82", Gate(MEAN, ">=", 0.82)),
        ("std[score] <= 0.10", Gate(STD, "<=", 0.1)),
        ("tone.mae[score]@group=lgbtq < .2", Gate(replace(MAE, slice="group=lgbtq"), "<", 0.2)),
        ("coverage[score] >= 0.95", Gate(COVERAGE, ">=", 0.95)),
        ("delta.mean[score] >= -0.03", Gate(MEAN, ">=", -0.03, delta=True)),
        ("low(mean[score]) >= 0.8", Gate(MEAN, ">=", 0.8, "low")),
    ],
)
def test_gates_on_numbers(text: str, expected: Gate) -> None:
    assert parse_gate(text, HEADS, ENDS) == expected
    assert parse_gate(str(expected), HEADS, ENDS) == expected


@pytest.mark.parametrize(
    ("text", "ends", "words", "hint"),
    [
        ("mean(score) >= 0.82", ENDS, "'mean' is no side", "write mean[score]"),
        ("mean[scor] >= 0.82", ENDS, "no number 'scor'", "did you mean 'score'"),
        ("mean[score] >= 0.82", {}, "no number 'score'", "declare it under 'numbers'"),
        ("mean[score] >= 82", ENDS, "every value fails", "write 0.82"),
        ("std[score] <= 0.8", ENDS, "every value passes", "from 0 to 0.7071"),
        ("mean[score] >= -6", {"score": (-5.0, 5.0)}, "every value passes", "mean is from -5 to 5"),
        ("mae[score] <= 10", {"score": (-5.0, 5.0)}, "every value passes", "mae is from 0 to 10"),
        ("delta.mean[score] < 11", {"score": (-5.0, 5.0)}, "every value passes", "from -10 to 10"),
    ],
)
def test_a_gate_on_a_number_that_decides_nothing(text: str, ends: Any, words: str, hint: str) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text, HEADS, ends)
    assert words in str(caught.value)
    assert hint in caught.value.hint


def test_the_widest_spread_is_that_of_the_ends() -> None:
    for count in (2, 3, 10):
        widest = max(statistics.stdev([0.0] * low + [1.0] * (count - low)) for low in range(1, count))
        assert widest <= 0.5**0.5 + 1e-12
    assert statistics.stdev([0.0, 1.0]) == pytest.approx(0.5**0.5)


def test_verdicts(tmp_path: Path) -> None:
    kept = rows(1)
    run, mean = judged(tmp_path, kept), statistics.mean(values(kept))
    for text, outcome, resolved in (
        (f"mean[score] >= {mean - 0.001}", "pass", False),
        (f"mean[score] >= {mean + 0.001}", "fail", False),
        ("mean[score] >= 0.2", "pass", True),
        ("std[score] <= 0.10", "fail", True),
        ("low(mean[score]) >= 0.2", "pass", True),
        (f"low(mean[score]) >= {mean}", "undecided", False),
        ("mean[score]@group=nobody >= 0.2", "undecided", False),
    ):
        found = evaluate(parse_gate(text, HEADS, ENDS), run)
        assert (found.outcome, found.resolved) == (outcome, resolved), text
    silent = judged(tmp_path, rows(1, said=0.0))
    assert evaluate(parse_gate("mean[score] >= 0", HEADS, {"score": (-1.0, 1.0)}), silent).outcome == "undecided"
    assert evaluate(parse_gate("delta.mean[score] >= -0.03", HEADS, ENDS), run, silent).outcome == "undecided"
    assert evaluate(parse_gate("coverage[score] >= 0.95", HEADS, ENDS), silent).outcome == "fail"


def test_so_many_rows_have_the_power_that_is_said() -> None:
    gate = parse_gate("delta.mean[score] >= 0.02", HEADS, ENDS)
    need = needed_rows(gate, 40, ENDS)
    assert not need.enough
    assert needed_rows(gate, need.rows, ENDS).enough
    draws = np.random.default_rng(1).normal(0.02, 0.1, size=(3000, need.rows))
    p = stats.ttest_1samp(draws, 0.0, axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.03)
    for text in ("mean[score] >= 0.82", "std[score] <= 0.1", "low(mean[score]) >= 0.9", "delta.std[score] <= 0.1"):
        assert needed_rows(parse_gate(text, HEADS, ENDS), 4, ENDS) is None
