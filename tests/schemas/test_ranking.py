"""Areas under the ROC curve against scikit-learn, and the bias AUCs against their definition, pair by pair."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hsdc_schemas.judged import Judged
from hsdc_schemas.ranking import auroc, generalised_mean
from hsdc_schemas.scores import parse_metric
from tests.schemas.answered import HEADS, held, made_up

rows = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30)


@given(rows=rows)
def test_the_area_is_that_of_scikit_learn(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = auroc(scores / 5, positive)(weights[None, :].astype(float))
    kept = weights > 0
    if len(set(positive[kept])) < 2:
        assert np.isnan(found[0])
    else:
        assert found[0] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights))


def by_pairs(positives: list[float], negatives: list[float]) -> float:
    pairs = list(product(positives, negatives))
    return sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs)


@pytest.mark.parametrize("background", [None, "few"])
def test_bias_areas_are_those_of_their_definition(background: str | None, tmp_path: Path) -> None:
    made = made_up(600)
    answers = held(tmp_path, made, heads=HEADS)
    judged = Judged.of(answers, background=background)

    def chances(kept: object, gold: str) -> list[float]:
        return [row.chances["raw"]["tone"][1] for row in answers.rows if kept(row) and row.gold["tone"] == gold]

    found = {}
    groups = [name for name in ("lgbtq", "latino", "few") if name != background]
    for group in groups:

        def inside(row: object, group: str = group) -> bool:
            return group in row.groups

        def behind(row: object, group: str = group) -> bool:
            return group not in row.groups and (background is None or background in row.groups)

        for name, positives, negatives in (
            ("subgroup_auc", chances(inside, "hate"), chances(inside, "normal")),
            ("bpsn_auc", chances(behind, "hate"), chances(inside, "normal")),
            ("bnsp_auc", chances(inside, "hate"), chances(behind, "normal")),
        ):
            value = judged.figure(parse_metric(f"tone.{name}[hate]@group={group}")).value
            assert value == pytest.approx(by_pairs(positives, negatives))
            found[name, group] = value
    for name in ("subgroup_auc", "bpsn_auc", "bnsp_auc"):
        values = [found[name, group] for group in groups]
        expected = np.mean(np.array(values) ** -5.0) ** (-1 / 5)
        assert judged.figure(parse_metric(f"tone.{name}[hate]")).value == pytest.approx(expected)
        assert expected <= np.mean(values)
    interval = judged.interval(parse_metric("tone.bpsn_auc[hate]"))
    if background is not None:
        assert "of the resamples" in interval.reason  # twelve rows are too few of a background
        return
    assert interval.low < judged.figure(parse_metric("tone.bpsn_auc[hate]")).value < interval.high


def test_the_worst_group_weighs_most() -> None:
    assert generalised_mean([np.array([0.9]), np.array([0.9])])[0] == pytest.approx(0.9)
    assert generalised_mean([np.array([0.9]), np.array([0.6])])[0] == pytest.approx(0.67238, abs=1e-5)


def test_areas_without_chances_or_without_both_classes_are_undefined(tmp_path: Path) -> None:
    rows = [type(row)(row.id, row.groups, None, row.gold, row.answers, row.faults) for row in made_up(30)]
    judged = Judged.of(held(tmp_path, rows))
    assert judged.figure(parse_metric("tone.auroc[hate]")).reason == "the answers hold no chances of the labels"
    assert judged.interval(parse_metric("tone.auroc[hate]")).low is None
    rows = [row for row in made_up(30) if row.gold["tone"] == "hate"]
    judged = Judged.of(held(tmp_path, rows, heads=HEADS))
    assert "not both" in judged.figure(parse_metric("tone.auroc[hate]")).reason
    assert "no group" in judged.figure(parse_metric("tone.bpsn_auc[hate]")).reason
    assert "counts do not hold" in judged.counts.figure(parse_metric("tone.auroc[hate]")).reason
