"""Paired differences against statsmodels and scipy, and what is made of many of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from hsdc_schemas.answers import Answer
from hsdc_schemas.contrast import contrast, detectable, discordant, holm, mcnemar, optimism
from hsdc_schemas.judged import Judged
from hsdc_schemas.scores import parse_metric
from tests.schemas.answered import HEADS, held, made_up

MACRO, ACCURACY = parse_metric("tone.f1_macro"), parse_metric("tone.accuracy")


def judged(folder: Path, rows: list[Answer], **changes: object) -> Judged:
    return Judged.of(held(folder, rows, heads=HEADS), **changes)


@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(first: int, second: int) -> None:
    peer = pytest.importorskip("statsmodels.stats.contingency_tables")
    assert mcnemar(first, second) == pytest.approx(peer.mcnemar([[5, first], [second, 5]], exact=True).pvalue)


def test_mcnemar_of_many_pairs_is_a_binomial_test() -> None:
    for first, second in ((900, 1100), (4000, 4100), (0, 3000)):
        expected = stats.binomtest(first, first + second).pvalue
        assert mcnemar(first, second) == pytest.approx(expected, rel=1e-6)


@given(ps=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(ps: list[float]) -> None:
    peer = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(ps) == pytest.approx(peer.multipletests(ps, method="holm")[1].tolist())


def test_the_difference_and_its_interval_are_those_of_paired_rows(tmp_path: Path) -> None:
    one, two = made_up(150, seed=1), made_up(150, seed=2, right=0.8)
    found = contrast(judged(tmp_path, one), judged(tmp_path, two), MACRO)
    gold = np.array([row.gold["tone"] for row in one])
    said = [np.array([row.answers["raw"]["tone"] for row in rows]) for rows in (one, two)]

    def difference(places: np.ndarray) -> float:
        kept = places.astype(int)
        values = [f1_score(gold[kept], answers[kept], average="macro") for answers in said]
        return values[1] - values[0]

    assert found.difference == pytest.approx(difference(np.arange(150)))
    peer = stats.bootstrap((np.arange(150),), difference, vectorized=False, n_resamples=500, method="percentile", rng=4)
    ours = (found.interval.low, found.interval.high)
    assert ours == pytest.approx((peer.confidence_interval.low, peer.confidence_interval.high), abs=0.02)
    assert found.error == pytest.approx(peer.standard_error, rel=0.15)
    assert contrast(judged(tmp_path, one), judged(tmp_path, two), MACRO) == found


def test_p_is_that_of_a_paired_permutation_test(tmp_path: Path) -> None:
    one, two = made_up(80, seed=1), made_up(80, seed=5, right=0.85)
    found = contrast(judged(tmp_path, one), judged(tmp_path, two), ACCURACY)
    right = [np.array([row.gold == row.answers["raw"] for row in rows], float) for rows in (one, two)]
    peer = stats.permutation_test(
        right, lambda a, b: (b - a).mean(), permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(1)
    )
    assert found.p == pytest.approx(peer.pvalue, abs=0.02)
    only = [int((right[0] > right[1]).sum()), int((right[1] > right[0]).sum())]
    assert (found.discordance.baseline_only, found.discordance.other_only) == tuple(only)
    assert found.p == pytest.approx(mcnemar(*only), abs=0.02)  # of accuracy, both tests ask the same


def test_equal_runs_differ_in_nothing_and_by_no_chance(tmp_path: Path) -> None:
    rows = made_up(60)
    found = contrast(judged(tmp_path, rows), judged(tmp_path, rows), MACRO)
    assert (found.difference, found.p, found.error) == (0.0, 1.0, 0.0)
    assert (found.interval.low, found.interval.high) == (0.0, 0.0)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_runs_alike_are_seldom_told_apart(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("runs")
    found = contrast(
        judged(folder, made_up(60, seed=3 * seed)), judged(folder, made_up(60, seed=3 * seed + 1)), ACCURACY
    )
    assert found.p > 1e-4
    assert found.interval.low <= found.difference <= found.interval.high


def test_discordant_rows_are_those_that_the_metric_counts(tmp_path: Path) -> None:
    def row(number: int, gold: str | None, said: str | None, group: str = "x") -> Answer:
        faults = {"raw": {"tone": "chatter"}} if said is None else {}
        return Answer(f"r{number}", (group,), None, {"tone": gold}, {"raw": {"tone": said}}, faults)

    truth = ("hate", "hate", "hate", "normal", "normal", "normal", None)
    one = [row(n, gold, said) for n, (gold, said) in enumerate(zip(truth, ("hate",) * 5 + (None, "hate"), strict=True))]
    two = [
        row(n, gold, said)
        for n, (gold, said) in enumerate(
            zip(truth, ("hate", "normal", None, "normal", "normal", "hate", "normal"), strict=True)
        )
    ]
    for name, expected in {
        "tone.accuracy": (2, 2),
        "tone.fnr[hate]": (2, 0),
        "tone.recall[hate]": (2, 0),
        "tone.fpr[hate]": (1, 2),
        "overall.f1_macro": (2, 2),
        "tone.accuracy@group=x": (2, 2),
        "tone.accuracy@group=y": (0, 0),
    }.items():
        found = discordant(judged(tmp_path, one), judged(tmp_path, two), parse_metric(name))
        assert (found.baseline_only, found.other_only) == expected, name
    dropped = [judged(tmp_path, rows, unparseable="drop") for rows in (one, two)]
    found = discordant(*dropped, parse_metric("tone.accuracy"))
    assert (found.baseline_only, found.other_only) == (1, 2)


def test_clusters_are_exchanged_as_a_whole(tmp_path: Path) -> None:
    one, two = made_up(120, seed=1), made_up(120, seed=5, right=0.95)
    apart = contrast(judged(tmp_path, one), judged(tmp_path, two), ACCURACY)
    together = [
        [msgspec.structs.replace(row, cluster=f"c{number // 30}") for number, row in enumerate(rows)]
        for rows in (one, two)
    ]
    found = contrast(*(judged(tmp_path, rows) for rows in together), ACCURACY)
    assert found.difference == apart.difference
    assert apart.p < 0.01
    assert found.p >= 0.1  # four clusters have sixteen exchanges, two of which are as far apart
    assert found.discordance.p is None


def test_an_undefined_side_leaves_no_difference(tmp_path: Path) -> None:
    rows = made_up(30)
    found = contrast(judged(tmp_path, rows), judged(tmp_path, rows), parse_metric("tone.fpr[hate]@group=nobody"))
    assert (found.difference, found.p, found.error) == (None, None, None)
    assert "undefined in the baseline: nothing is scored within 'group=nobody'" in found.interval.reason


def test_areas_are_compared_by_the_bootstrap(tmp_path: Path) -> None:
    one, two = made_up(100, seed=1, right=0.5), made_up(100, seed=2, right=0.95)
    found = contrast(judged(tmp_path, one), judged(tmp_path, two), parse_metric("tone.auroc[hate]"))
    assert found.difference > 0.1
    assert found.interval.low > 0
    assert found.p < 0.01
    assert found.discordance.p is None


def test_what_so_many_rows_could_have_shown(tmp_path: Path) -> None:
    one, two = judged(tmp_path, made_up(200, seed=1)), judged(tmp_path, made_up(200, seed=2))
    error = contrast(one, two, ACCURACY).error
    assert detectable(error) == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * error)
    assert detectable(error, family=15) > detectable(error)
    true = detectable(error)
    power = np.mean(np.abs(np.random.default_rng(1).normal(true, error, 4000)) > stats.norm.ppf(0.975) * error)
    assert power == pytest.approx(0.8, abs=0.02)


def test_the_best_of_many_equals_looks_better_than_it_is(tmp_path: Path) -> None:
    runs = [judged(tmp_path, made_up(100, seed=seed)) for seed in range(12)]
    expected = optimism(runs, ACCURACY)
    assert optimism(runs[:1], ACCURACY) == pytest.approx(0.0, abs=0.005)
    assert 0.01 < optimism(runs[:3], ACCURACY) < expected < 0.12
    worst = optimism(runs, parse_metric("tone.fnr[hate]"))
    assert worst < 0
