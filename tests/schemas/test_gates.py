"""Gates: what they say, where they are wrong, what they come to, and how many rows they take."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hsdc_schemas.contrast import contrast
from hsdc_schemas.gates import Gate, GateError, evaluate, needed_rows, parse_gate
from hsdc_schemas.judged import Judged
from hsdc_schemas.scores import Confusion, Counts, Metric, parse_metric, wilson
from tests.schemas.answered import HEADS, held, made_up

ONE = {"tone": ("normal", "hate")}
TWO = {**ONE, "topic": ("a", "b")}
FPR = Metric("tone", "fpr", "hate", "group=lgbtq")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f1_macro >= 0.620", Gate(Metric("tone", "f1_macro"), ">=", 0.62)),
        ("overall.f1_macro>.5", Gate(Metric("overall", "f1_macro"), ">", 0.5)),
        ("delta.f1_macro >= 0.005", Gate(Metric("tone", "f1_macro"), ">=", 0.005, delta=True)),
        ("delta.tone.f1_macro >= -1e-2", Gate(Metric("tone", "f1_macro"), ">=", -0.01, delta=True)),
        ("fpr[hate]@group=lgbtq < 0.35", Gate(FPR, "<", 0.35)),
        ("  low( f1_macro )  >=  0.6 ", Gate(Metric("tone", "f1_macro"), ">=", 0.6, "low")),
        ("high(fpr[hate]) < 0.4", Gate(Metric("tone", "fpr", "hate"), "<", 0.4, "high")),
        ("low(delta.accuracy) > 0", Gate(Metric("tone", "accuracy"), ">", 0.0, "low", True)),
        ("fpr_gap[hate] <= 0.1", Gate(Metric("tone", "fpr_gap", "hate"), "<=", 0.1)),
    ],
)
def test_gates_are_taken_apart(text: str, expected: Gate) -> None:
    assert parse_gate(text, ONE) == expected
    assert parse_gate(str(expected), ONE) == expected


def test_labels_may_hold_signs() -> None:
    heads = {"x": ("a<b", "c = d", "e)")}
    for label in heads["x"]:
        assert parse_gate(f"high(x.fpr[{label}]) < 0.4", heads).metric.label == label


@pytest.mark.parametrize(
    ("text", "marked", "words", "hint"),
    [
        ("f1_macro", "f1_macro", "compares nothing", ">= NUMBER"),
        ("f1_macro == 0.6", "==", "'==' is no comparison", ">="),
        ("f1_macro = 0.6", "=", "'=' is no comparison", ">="),
        ("f1_macro >= high", "high", "'high' is no number", "NUMBER"),
        ("fpr[hate] < 35%", "35%", "'35%' is no number", "write 0.35"),
        ("f1_macro >=", "", "there is no number", "NUMBER"),
        ("f1_macro >= nan", "nan", "'nan' is no number", "NUMBER"),
        ("f1_macro >= 62", "62", "every value fails", "write 0.62"),
        ("f1_macro >= 0", "0", "every value passes", "from 0 to 1"),
        ("delta.f1_macro > -2", "-2", "every value passes", "from -1 to 1"),
        ("lwo(f1_macro) > 0.5", "lwo", "'lwo' is no side", "did you mean 'low'"),
        ("mean(score) >= 0.82", "mean", "'mean' is no side", "write mean[score]"),
        ("low(f1) > 0.5", "f1", "'f1' alone says neither scope nor averaging", "HEAD.f1[LABEL]"),
        ("delta.fpr[haet] < 0.1", "fpr[haet]", "unknown label 'haet'", "did you mean 'hate'"),
        ("tune.f1_macro > 0.1", "tune.f1_macro", "unknown head", "did you mean 'tone'"),
    ],
)
def test_a_gate_that_cannot_be_read_says_where(text: str, marked: str, words: str, hint: str) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text, ONE)
    error = caught.value
    assert words in str(error)
    assert text[error.start : error.end] == marked
    assert hint in error.hint


def test_a_head_is_named_where_there_are_several() -> None:
    with pytest.raises(GateError, match="does not say of which head"):
        parse_gate("f1_macro >= 0.6", TWO)
    with pytest.raises(GateError, match="a head is called 'delta'"):
        parse_gate("delta.f1_macro >= 0.6", {"delta": ("a", "b")})


def test_a_gate_on_a_value_decides_by_it_and_says_what_the_rows_cannot_tell() -> None:
    counts = Counts({"tone": Confusion(("normal", "hate"), ((300, 100), (100, 300)))})
    for text, outcome, resolved in (
        ("accuracy >= 0.75", "pass", False),
        ("accuracy > 0.75", "fail", False),
        ("accuracy >= 0.6", "pass", True),
        ("fpr[hate] < 0.2", "fail", True),
        ("fpr[hate] < 0.27", "pass", False),
    ):
        found = evaluate(parse_gate(text, ONE), counts)
        assert (found.outcome, found.resolved) == (outcome, resolved), text
        assert ("lies on both sides of" in found.note) == (not resolved)
    low, high = wilson(600, 800)
    for text, outcome in (
        (f"low(accuracy) >= {low - 1e-6}", "pass"),
        (f"low(accuracy) >= {low + 1e-6}", "undecided"),
        (f"low(accuracy) >= {high + 1e-6}", "fail"),
        (f"high(accuracy) < {high + 1e-6}", "pass"),
        (f"high(accuracy) < {high - 1e-6}", "undecided"),
        (f"high(accuracy) < {low - 1e-6}", "fail"),
    ):
        assert evaluate(parse_gate(text, ONE), counts).outcome == outcome, text


def test_what_is_undefined_is_undecided() -> None:
    counts = Counts({"tone": Confusion(("normal", "hate"), ((3, 1), (0, 0)))})
    for text in ("fnr[hate] < 0.4", "low(recall[hate]) > 0.1", "fpr[hate]@group=nobody < 0.3"):
        found = evaluate(parse_gate(text, ONE), counts)
        assert (found.outcome, found.value) == ("undecided", None)
        assert found.note
    with pytest.raises(ValueError, match="takes the answers"):
        evaluate(parse_gate("delta.accuracy > 0.1", ONE), counts)


def test_a_difference_is_paired(tmp_path: Path) -> None:
    rows = [made_up(200, seed=seed, right=right) for seed, right in ((1, 0.6), (2, 0.9))]
    base, run = (Judged.of(held(tmp_path, kept, heads=HEADS)) for kept in rows)
    expected = contrast(base, run, parse_metric("tone.f1_macro"))
    found = evaluate(parse_gate("delta.f1_macro >= 0.005", ONE), run, base)
    assert (found.outcome, found.value, found.interval) == ("pass", expected.difference, expected.interval)
    assert found.resolved
    assert evaluate(parse_gate("delta.f1_macro >= 0.005", ONE), base, run).outcome == "fail"
    same = evaluate(parse_gate("low(delta.f1_macro) > 0.01", ONE), run, run)
    assert same.outcome == "fail"
    alike = evaluate(parse_gate("delta.f1_macro >= 0.005", ONE), run, run)
    assert (alike.outcome, alike.value, alike.resolved) == ("fail", 0.0, False)
    assert alike.note.startswith("not resolved: no resample of these rows differs from 0.000")
    with pytest.raises(ValueError, match="takes the answers"):
        evaluate(parse_gate("delta.f1_macro >= 0.005", ONE), run)


def test_few_rows_do_not_resolve_a_small_difference() -> None:
    gate = parse_gate("delta.f1_macro >= 0.005", ONE)
    need = needed_rows(gate, 545)
    assert not need.enough
    assert "545 rows resolve 0.038" in need.message
    assert needed_rows(gate, need.rows).enough
    assert needed_rows(parse_gate("delta.f1_macro >= 0.05", ONE), 545).enough
    assert needed_rows(parse_gate("delta.f1_macro >= 0", ONE), 5) is None
    assert needed_rows(parse_gate("f1_macro >= 0.62", ONE), 5) is None


def test_so_many_rows_have_the_power_that_is_said() -> None:
    need = needed_rows(parse_gate("delta.accuracy >= 0.05", ONE), 0, discordant=0.2).rows
    source = np.random.default_rng(2)
    better, worse, _ = source.multinomial(need, [0.125, 0.075, 0.8], size=4000).T
    p = 2 * stats.norm.sf(np.abs(better - worse) / np.sqrt(better + worse))
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.03)
    need = needed_rows(parse_gate("accuracy >= 0.62", ONE), 0, expected=0.7).rows
    hits = source.binomial(need, 0.7, size=4000)
    z = (hits / need - 0.62) / math.sqrt(0.62 * 0.38 / need)
    assert np.mean(z > stats.norm.ppf(0.975)) == pytest.approx(0.8, abs=0.03)


def test_a_bound_that_even_perfect_rows_do_not_reach_is_known_before() -> None:
    for text, x in (("low(accuracy) >= 0.9", 1), ("high(fpr[hate]) < 0.1", 0), ("low(fnr[hate]) >= 0.5", 1)):
        gate = parse_gate(text, ONE)
        need = needed_rows(gate, 10)
        ends = [wilson(x * n, n)[0 if gate.side == "low" else 1] for n in (need.rows + 1, need.rows - 1)]
        assert [gate.admits(end) for end in ends] == [True, False], text
    assert needed_rows(parse_gate("low(accuracy) < 0.9", ONE), 10) is None
    assert needed_rows(parse_gate("low(fpr_gap[hate]) > 0.1", ONE), 10) is None
