"""Scores against scikit-learn, and what is undefined."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from hsdc_schemas.scores import (
    Confusion,
    Counts,
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
    assert parse_metric("x.fpr[hate]@group=lgbtq+") == Metric("x", "fpr", "hate", "group=lgbtq+")
    assert parse_metric("x.accuracy@tone=a=b") == Metric("x", "accuracy", None, "tone=a=b")
    for name in ("x.fpr[hate]@group=lgbtq", "x.fpr_gap[hate]", "overall.coverage", "x.bnsp_auc[hate]@group=a"):
        assert str(parse_metric(name)) == name
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
        ("tone.fpr", "HEAD.fpr[LABEL]|tone.fpr[LABEL]"),
        ("tone.fpr[a]@b", "is no metric"),
        ("tone.fpr_gap[a]@group=b", "between groups"),
        ("tone.auroc_gap[a]", "no gaps of 'auroc'"),
        ("tone.bpsn_auc[a]@topic=x", "is of a group"),
        ("f1_macro", "does not say of which head"),
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
    with pytest.raises(ValueError, match="did you mean 'tone'"):
        parse_metric("ton.accuracy", {"tone": ("a", "b")})
    with pytest.raises(ValueError, match="did you mean 'hate'"):
        parse_metric("tone.fpr[haet]", {"tone": ("hate", "normal")})
    with pytest.raises(ValueError, match="known are: a, b"):
        figure(parse_metric("tone.f1[c]"), confusions)
    with pytest.raises(ValueError, match="is no metric"):
        figure(Metric("tone", "f2_macro"), confusions)
    with pytest.raises(ValueError, match="rename"):
        known_metrics({"overall": ("a", "b")})


def test_the_only_head_need_not_be_named() -> None:
    only = {"tone": ("hate", "normal")}
    assert parse_metric("f1_macro", only) == Metric("tone", "f1_macro")
    assert str(parse_metric("fpr[hate]@group=lgbtq", only)) == "tone.fpr[hate]@group=lgbtq"
    assert parse_metric("overall.f1_macro", only) == Metric("overall", "f1_macro")
    for heads in (None, {**only, "topic": ("a", "b")}):
        with pytest.raises(ValueError, match="does not say of which head"):
            parse_metric("fpr[hate]", heads)
    for heads in (None, only):
        with pytest.raises(ValueError, match="neither scope nor averaging"):
            parse_metric("f1", heads)
    with pytest.raises(ValueError, match="does not say how it is averaged"):
        parse_metric("fpr", only)


@given(pairs=pairs)
def test_rates_of_errors_are_those_of_scikit_learn_or_undefined(pairs: list[tuple[int | None, int | None]]) -> None:
    c = Confusion.of(LABELS, [g for g, _ in pairs], [p for _, p in pairs])
    kept = [(g, 3 if p is None else p) for g, p in pairs if g is not None and g >= 0]
    gold, predicted = np.array([g for g, _ in kept], int), np.array([p for _, p in kept], int)
    if not kept:
        assert c.coverage() == Figure(None, "there are no rows")
        return
    for place, label in enumerate(LABELS):
        (tn, fp), (fn, tp) = confusion_matrix(gold == place, predicted == place, labels=[False, True])
        assert c.fpr(label).count == (None if fp + tn == 0 else (fp, fp + tn))
        assert c.fnr(label).count == (None if fn + tp == 0 else (fn, fn + tp))
        assert (c.fpr(label).value is None) == (fp + tn == 0)
        assert (c.fnr(label).value is None) == (fn + tp == 0)
    assert c.coverage().value == pytest.approx((predicted < 3).mean())


def test_a_group_without_negatives_has_no_false_positive_rate() -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics")
    gold, predicted, group = [1, 1, 0, 0, 0], [1, 0, 1, 0, 0], ["a", "a", "b", "b", "b"]
    peer = fairlearn.MetricFrame(
        metrics={"fpr": fairlearn.false_positive_rate, "fnr": fairlearn.false_negative_rate},
        y_true=gold,
        y_pred=predicted,
        sensitive_features=group,
    ).by_group
    slices = {
        f"group={name}": {"x": Confusion.of(("no", "yes"), *zip(*rows, strict=True))}
        for name in ("a", "b")
        for rows in [[(g, p) for g, p, of in zip(gold, predicted, group, strict=True) if of == name]]
    }
    counts = Counts({"x": Confusion.of(("no", "yes"), gold, predicted)}, slices)
    ours = {
        (rate, name): counts.figure(parse_metric(f"x.{rate}[yes]@group={name}"))
        for rate in ("fpr", "fnr")
        for name in ("a", "b")
    }
    assert ours["fpr", "b"].value == pytest.approx(peer["fpr"]["b"])
    assert ours["fnr", "a"].value == pytest.approx(peer["fnr"]["a"])
    assert peer["fpr"]["a"] == 0.0  # a group that has no negatives is not one without false alarms
    assert ours["fpr", "a"] == Figure(None, "no row is anything but 'yes'")
    assert ours["fnr", "b"] == Figure(None, "'yes' does not occur")


def test_answers_that_could_not_be_read_count_as_the_policy_says() -> None:
    c = Confusion(("normal", "hate"), ((6, 2, 2), (1, 5, 4)))
    figures = {
        policy: {name: Counts({"x": c}, {}, policy).figure(parse_metric(name)) for name in names}
        for policy in ("wrong", "drop", "error")
        for names in [("x.accuracy", "x.fpr[hate]", "x.fnr[hate]", "x.coverage", "x.f1_macro")]
    }
    assert [figure.value for figure in figures["wrong"].values()][:4] == [11 / 20, 2 / 10, 5 / 10, 14 / 20]
    assert [figure.value for figure in figures["drop"].values()][:4] == [11 / 14, 2 / 8, 1 / 6, 14 / 20]
    assert figures["wrong"]["x.f1_macro"].value == pytest.approx((12 / 17 + 10 / 17) / 2)
    assert figures["drop"]["x.f1_macro"].value == pytest.approx((12 / 15 + 10 / 13) / 2)
    assert figures["error"]["x.f1_macro"] == Figure(None, "6 of 20 answers could not be read")
    assert figures["error"]["x.coverage"] == Figure(14 / 20)
    clean = Confusion(("normal", "hate"), ((6, 2), (1, 5)))
    assert Counts({"x": clean}, {}, "error").figure(parse_metric("x.accuracy")) == Figure(11 / 14)


def test_gaps_are_between_groups_with_enough_rows() -> None:
    def rate(x: int, n: int) -> dict[str, Confusion]:
        return {"x": Confusion(("normal", "hate"), ((n - x, x), (3, 7)))}

    slices = {"group=a": rate(2, 10), "group=b": rate(6, 12), "group=c": rate(9, 9), "topic=z": rate(12, 12)}
    counts = Counts(rate(17, 31), slices)
    assert counts.groups == ("a", "b", "c")
    assert counts.figure(parse_metric("x.fpr_gap[hate]")).value == pytest.approx(0.5 - 0.2)
    assert counts.figure(parse_metric("x.fnr_gap[hate]")).value == pytest.approx(0.0)
    assert counts.figure(parse_metric("x.accuracy_gap")).value == pytest.approx(15 / 20 - 7 / 19)
    assert counts.figure(parse_metric("overall.accuracy_gap")).value == pytest.approx(15 / 20 - 7 / 19)
    few = Counts(rate(17, 31), {"group=a": rate(2, 10), "group=c": rate(9, 9)})
    assert few.figure(parse_metric("x.fpr_gap[hate]")).reason == "only one group has at least 10 rows for it"
    assert Counts(rate(1, 2)).figure(parse_metric("x.fpr_gap[hate]")).reason == "no group has at least 10 rows for it"
    assert "did you mean 'group=a'" in counts.figure(parse_metric("x.fpr[hate]@group=aa")).reason
    assert counts.figure(parse_metric("x.fpr[hate]@topic=z")) == Figure(1.0)


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
