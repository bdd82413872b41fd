"""Scores against scikit-learn, and what is undefined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from hsdc_schemas.scores import (
    Confusion,
    Figure,
    Metric,
    figure,
    known_metrics,
    mean,
    parse_metric,
    table,
    wilson,
)

LABELS = ("objective", "biased", "hostile")
indices = st.integers(0, 2)
pairs = st.lists(st.tuples(indices | st.none() | st.just(-1), indices | st.none()), max_size=40)


@given(pairs=pairs)
def test_every_figure_is_that_of_scikit_learn_or_undefined(pairs: list[tuple[int | None, int | None]]) -> None:
    c = Confusion.of(LABELS, [g for g, _ in pairs], [p for _, p in pairs])
    kept = [(g, 3 if p is None else p) for g, p in pairs if g is not None and g >= 0]
    gold, predicted = [g for g, _ in kept], [p for _, p in kept]
    assert c.total == len(kept)
    assert c.invalid == predicted.count(3)
    if not kept:
        assert c.accuracy() == Figure(None, "there are no rows")
        assert c.f1_macro().value is None
        return
    assert c.accuracy().value == pytest.approx(accuracy_score(gold, predicted))
    expected = precision_recall_fscore_support(gold, predicted, labels=[0, 1, 2], zero_division=np.nan)
    for place, (label, row) in enumerate(zip(LABELS, table(c), strict=True)):
        assert row.label == label
        assert row.support == gold.count(place) == expected[3][place]
        for found, column, empty in (
            (row.precision, expected[0], place not in predicted),
            (row.recall, expected[1], place not in gold),
            (row.f1, expected[2], place not in gold and place not in predicted),
        ):
            assert (found.value is None) == empty
            assert bool(found.reason) == empty
            if not empty:
                assert found.value == pytest.approx(column[place])
    for macro, name in ((c.precision_macro(), "precision"), (c.recall_macro(), "recall"), (c.f1_macro(), "f1")):
        terms = [getattr(c, name)(label) for label in LABELS]
        if any(t.value is None for t in terms):
            assert macro.value is None
        else:
            assert macro.value == pytest.approx(sum(t.value for t in terms) / 3)


@given(pairs=pairs)
def test_counts_travel_as_json(pairs: list[tuple[int | None, int | None]]) -> None:
    c = Confusion.of(LABELS, [g for g, _ in pairs], [p for _, p in pairs])
    assert Confusion.from_json(json.loads(json.dumps(c.as_json()))) == c


def test_known_counts() -> None:
    c = Confusion.of(("a", "b"), np.array([0, 0, 0, 1, 1, -1]), [0, 0, 1, 1, None, 0])
    assert c.counts == ((2, 1, 0), (0, 1, 1))
    assert (c.total, c.correct, c.invalid) == (5, 3, 1)
    assert c.accuracy() == Figure(3 / 5)
    assert c.precision("a") == Figure(1.0)
    assert c.recall("a") == Figure(2 / 3)
    assert c.f1("a") == Figure(4 / 5)
    assert c.f1("b") == Figure(2 / 4)
    assert c.f1_macro().value == pytest.approx(0.65)


def test_reasons_name_the_label() -> None:
    c = Confusion.of(LABELS, [1, 2], [2, 1])
    assert c.f1("biased") == Figure(0.0)
    assert c.f1("objective") == Figure(None, "'objective' neither occurs nor is predicted")
    assert c.recall("objective") == Figure(None, "'objective' does not occur")
    assert c.precision("objective") == Figure(None, "'objective' is never predicted")
    assert c.f1_macro() == Figure(None, "f1[objective]: 'objective' neither occurs nor is predicted")
    overall = figure(parse_metric("overall.f1_macro"), {"x": Confusion.of(("a", "b"), [0, 1], [0, 1]), "y": c})
    assert overall == Figure(None, "y.f1_macro: f1[objective]: 'objective' neither occurs nor is predicted")
    assert mean({}).value is None


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        ((), ()),
        (("a", "a"), ((1, 0), (0, 1))),
        (("a", "b"), ((1, 0),)),
        (("a", "b"), ((1, 0), (0, 1, 0))),
        (("a", "b"), ((1, 0, 0, 0), (0, 1, 0, 0))),
        (("a", "b"), ((1, -1), (0, 1))),
        (("a", "b"), ((1, 0.5), (0, 1))),
        (("a", "b"), ((True, 0), (0, 1))),
    ],
)
def test_counts_of_another_shape_are_refused(labels: tuple[str, ...], counts: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="confusion"):
        Confusion(labels, counts)


@pytest.mark.parametrize(("gold", "predicted"), [([3], [0]), ([0], [3]), ([0], [-1])])
def test_indices_that_are_none_are_refused(gold: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match="no index of 3 labels"):
        Confusion.of(LABELS, gold, predicted)


def test_unequal_lengths_and_other_json_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        Confusion.of(LABELS, [0, 1], [0])
    for value in ({}, {"labels": "ab", "counts": [[1, 0], [0, 1]]}, {"labels": ["a", "b"], "counts": [1, 2]}):
        with pytest.raises(ValueError, match="confusion"):
            Confusion.from_json(value)
    with pytest.raises(ValueError, match="either"):
        Figure(None)


def test_metric_names() -> None:
    assert parse_metric("overall.f1_macro") == Metric("overall", "f1_macro")
    assert parse_metric("polarization.f1[objective]") == Metric("polarization", "f1", "objective")
    assert parse_metric("x.precision[a [b]]") == Metric("x", "precision", "a [b]")
    heads = {"tone": ("calm", "a b"), "topic": ("x.y", "z")}
    names = known_metrics(heads)
    assert len(names) == len(set(names)) == 4 + 2 * (4 + 2 * 3)
    assert [str(parse_metric(name)) for name in names] == names
    confusions = {head: Confusion.of(labels, [0, 1, 1], [0, 1, 0]) for head, labels in heads.items()}
    for name in names:
        assert figure(parse_metric(name), confusions).value is not None
    assert figure(parse_metric("topic.recall[z]"), confusions) == Figure(0.5)
    assert figure(parse_metric("overall.accuracy"), confusions).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("f1", "neither scope nor averaging"),
        ("", "is no metric"),
        ("tone.f1", "tone.f1_macro' or 'tone.f1[LABEL]'"),
        ("overall.f1", "write 'overall.f1_macro'$"),
        ("overall.f1[a]", "HEAD.f1"),
        ("tone.f1_macro[a]", "takes none"),
        ("tone.f1_micro", "SCOPE.f1_macro"),
        ("tone.f1[]", "is no metric"),
        ("tone.fpr[a]@group=b", "is no metric"),
        ("Tone.accuracy", "is no metric"),
    ],
)
def test_unknown_metric_names(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        parse_metric(name)


def test_unknown_heads_and_labels() -> None:
    confusions = {"tone": Confusion.of(("a", "b"), [0], [0])}
    with pytest.raises(ValueError, match="overall, tone"):
        figure(parse_metric("ton.accuracy"), confusions)
    with pytest.raises(ValueError, match="known are: a, b"):
        figure(parse_metric("tone.f1[c]"), confusions)
    with pytest.raises(ValueError, match="is no metric"):
        figure(Metric("tone", "f2_macro"), confusions)
    with pytest.raises(ValueError, match="rename"):
        known_metrics({"overall": ("a", "b")})


def test_wilson_known_figures() -> None:
    # The bounds are the p with |x/n - p| = z * sqrt(p (1 - p) / n), solved by bisection; for x = 0 it is z²/(n + z²).
    z = 1.959963984540054
    assert wilson(0, 10) == (0.0, pytest.approx(z * z / (10 + z * z)))
    assert wilson(10, 10) == (pytest.approx(10 / (10 + z * z)), 1.0)
    assert wilson(5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    assert wilson(81, 263) == pytest.approx((0.255289, 0.366210), abs=1e-6)
    for x, n in ((0, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="no interval"):
            wilson(x, n)
    with pytest.raises(ValueError, match="no interval"):
        wilson(1, 2, 1.0)


@given(n=st.integers(1, 10_000), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_bounds_solve_their_equation(n: int, share: float, confidence: float) -> None:
    x = round(share * n)
    low, high = wilson(x, n, confidence)
    assert 0 <= low <= x / n <= high <= 1
    assert wilson(n - x, n, confidence) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    for p in (low, high):
        if 0 < p < 1:
            z = abs(x / n - p) / math.sqrt(p * (1 - p) / n)
            assert math.erf(z / math.sqrt(2)) == pytest.approx(confidence, abs=1e-6)
