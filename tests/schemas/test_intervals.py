"""Intervals against statsmodels and scipy, and against the truth of made-up rows."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from hsdc_schemas.answers import tally
from hsdc_schemas.intervals import Interval, wilson
from hsdc_schemas.judged import Judged
from hsdc_schemas.resampling import Sample, bounds, figures, full, interval
from hsdc_schemas.scores import Confusion, Counts, known_metrics, parse_metric
from tests.schemas.answered import held, made_up

LABELS = ("negative", "neutral", "positive")
COUNTS = Confusion(LABELS, ((600, 150, 130, 6), (100, 200, 95, 6), (50, 20, 130, 8)))
cells = st.lists(st.lists(st.integers(0, 30), min_size=4, max_size=4), min_size=3, max_size=3)


@given(x=st.integers(0, 50), more=st.integers(0, 500))
def test_wilson_is_that_of_statsmodels(x: int, more: int) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    if x + more:
        expected = proportion.proportion_confint(x, x + more, method="wilson")
        assert wilson(x, x + more) == pytest.approx(expected, abs=1e-12)


@given(cells=cells, policy=st.sampled_from(["wrong", "drop"]))
def test_many_counts_at_once_have_the_figures_of_each(cells: list[list[int]], policy: str) -> None:
    one = Confusion(LABELS, tuple(map(tuple, cells)))
    counts = Counts({"x": one}, {}, policy)
    drawn = np.stack([full(one), full(COUNTS)])
    names = [*known_metrics({"x": LABELS}), "x.coverage", *(f"x.{r}[{n}]" for r in ("fpr", "fnr") for n in LABELS)]
    for metric in map(parse_metric, names):
        if metric.scope == "x":
            label = None if metric.label is None else LABELS.index(metric.label)
            found, _ = figures(metric.name, label, drawn, policy)
            expected = counts.figure(metric).value
            assert np.isnan(found) if expected is None else found == pytest.approx(expected), str(metric)


def test_the_bootstrap_of_counts_is_that_of_rows() -> None:
    gold, said = [], []
    for row, counts in enumerate(COUNTS.counts):
        for column, count in enumerate(counts):
            gold += [row] * count
            said += [column] * count

    def macro(places: np.ndarray) -> float:
        kept = places.astype(int)
        return f1_score(np.array(gold)[kept], np.array(said)[kept], labels=[0, 1, 2], average="macro")

    peer = stats.bootstrap(
        (np.arange(len(gold)),), macro, vectorized=False, n_resamples=400, method="percentile", rng=1
    ).confidence_interval
    found = interval(Counts({"x": COUNTS}), parse_metric("x.f1_macro"))
    assert found.method == "bootstrap"
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=0.006)
    began = time.process_time()
    assert interval(Counts({"x": COUNTS}), parse_metric("x.f1_macro")) == found, "the seed follows from the counts"
    assert time.process_time() - began < 0.5


def test_shares_have_wilsons_interval_and_others_are_resampled() -> None:
    counts = Counts({"x": COUNTS, "y": Confusion(("a", "b"), ((40, 10), (5, 45)))})
    methods = {name: interval(counts, parse_metric(name)).method for name in ("x.accuracy", "x.recall[neutral]")}
    assert set(methods.values()) == {"Wilson"}
    found = interval(counts, parse_metric("x.fpr[neutral]"))
    assert (found.low, found.high) == pytest.approx(wilson(170, 886 + 208))
    parts = [interval(counts, parse_metric(f"{head}.f1_macro")) for head in ("x", "y")]
    whole = interval(counts, parse_metric("overall.f1_macro"))
    assert whole.low == pytest.approx((parts[0].low + parts[1].low) / 2)
    assert whole.high == pytest.approx((parts[0].high + parts[1].high) / 2)


def test_what_is_undefined_has_no_interval() -> None:
    never = Confusion(LABELS, ((5, 2, 0), (1, 6, 0), (0, 0, 0)))
    found = interval(Counts({"x": never}), parse_metric("x.f1_macro"))
    assert (found.low, found.high) == (None, None)
    assert "'positive' neither occurs nor is predicted" in found.reason
    rare = Confusion(LABELS, ((50, 2, 0), (1, 60, 0), (0, 1, 1)))
    assert "of the resamples" in interval(Counts({"x": rare}), parse_metric("x.f1_macro")).reason
    with pytest.raises(ValueError, match="either"):
        Interval(None, 1.0)


@pytest.mark.parametrize(("cells", "value"), [(((8, 0), (0, 12)), 1.0), (((0, 8), (12, 0)), 0.0)])
def test_a_perfect_figure_of_few_rows_is_not_certain(cells: tuple, value: float, tmp_path: Path) -> None:
    found = interval(Counts({"x": Confusion(("a", "b"), cells)}), parse_metric("x.f1_macro"))
    ends = [wilson(round(n * value), n) for n in (8, 12)]
    assert (found.low, found.high) == pytest.approx(np.mean(ends, axis=0))
    rows = [row for row in made_up(60, right=1.0) if row.gold == row.answers["raw"]]
    judged = Judged.of(held(tmp_path, rows))
    low = judged.interval(parse_metric("tone.f1_macro")).low
    assert 0.8 < low < 0.95


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    source = np.random.default_rng(3)
    shares = np.array([[0.3, 0.1, 0.0], [0.15, 0.4, 0.05]])
    truth = float(figures("f1_macro", None, shares, "wrong"))
    held_by = 0
    for _ in range(200):
        drawn = source.multinomial(150, shares.reshape(-1)).reshape(2, 3).tolist()
        counts = Counts({"x": Confusion(("a", "b"), tuple(map(tuple, drawn)))})
        held_by += interval(counts, parse_metric("x.f1_macro")).holds(truth)
    assert 0.90 <= held_by / 200 <= 0.99


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_answers_have_the_figures_of_their_counts(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = made_up(40, seed=seed, unreadable=0.1, heads={"tone": ("normal", "hate"), "topic": ("a", "b", "c")})
    folder = tmp_path_factory.mktemp("answers")
    answers = held(folder, rows)
    judged = Judged.of(answers)
    counts = Counts.from_json(tally(answers.header, answers.rows, across=True)["raw"])
    names = ["tone.f1_macro", "topic.accuracy", "tone.fpr[hate]@group=lgbtq", "topic.f1[a]@tone=hate"]
    for metric in map(
        parse_metric, [*names, "tone.fnr_gap[hate]", "overall.coverage", "overall.accuracy@group=latino"]
    ):
        assert judged.figure(metric) == counts.figure(metric), str(metric)


def test_rows_of_a_cluster_are_drawn_together(tmp_path: Path) -> None:
    rows = made_up(40, groups=())
    copies = [
        type(row)(f"{row.id}.{n}", row.groups, row.id if together else None, row.gold, row.answers)
        for together in (True, False)
        for row in rows
        for n in range(5)
    ]
    clustered, apart = (Judged.of(held(tmp_path, copies[start : start + 200])) for start in (0, 200))
    alone = Judged.of(held(tmp_path, rows))
    metric = parse_metric("tone.accuracy")
    widths = {}
    for name, judged in (("clustered", clustered), ("apart", apart), ("alone", alone)):
        found = judged.interval(metric)
        widths[name] = found.high - found.low
    assert clustered.interval(metric).method == "clustered bootstrap"
    assert widths["clustered"] == pytest.approx(widths["alone"], rel=0.15)  # five copies of a row say no more than one
    assert widths["apart"] == pytest.approx(widths["alone"] / 5**0.5, rel=0.15)


def test_draws_are_of_as_many_rows_as_there_are() -> None:
    codes = np.array([0, 0, 1, 2, 2, 2, -1])
    sample = Sample(codes[:, None])
    assert sorted(sample.times.tolist()) == [1, 1, 2, 3]
    table = sample.table(codes, 3)
    (drawn,) = sample.draw([lambda weights: weights @ table], draws=4000)
    assert drawn.sum(axis=1).max() <= 7
    assert drawn.mean(axis=0) == pytest.approx([2, 1, 3], abs=0.1)
    assert drawn.std(axis=0) == pytest.approx(
        np.sqrt(7 * np.array([2, 1, 3]) / 7 * (1 - np.array([2, 1, 3]) / 7)), abs=0.1
    )
    assert bounds(np.array([np.nan] * 10 + [0.5] * 90), "x").reason == "undefined in 10% of the resamples"
