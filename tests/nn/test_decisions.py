"""Calibration, thresholds and macro-F1 held against plain references: grids, scipy's other minimisers, scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special
from scipy.optimize import minimize
from sklearn.metrics import f1_score, log_loss

from hsdc_runtime.nn.decisions import (
    BIAS_BOUND,
    LOG_TEMPERATURE_BOUND,
    Calibration,
    decide,
    f1_macro,
    fit_calibration,
    fit_thresholds,
    log_softmax,
    negative_log_likelihood,
    probabilities,
)

KINDS = ("temperature", "bias", "bias_and_temperature")
GRID = np.linspace(0.3, 0.7, 17)


def sample(seed: int, rows: int = 200, classes: int = 3, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N, K] that are too sure of themselves and lean to some classes, and targets [N]."""
    random = np.random.default_rng(seed)
    true = random.normal(size=(rows, classes))
    chances = special.softmax(true, axis=1)
    targets = np.array([random.choice(classes, p=row) for row in chances])
    return sharpness * true + random.normal(size=classes), targets.astype(np.int64)


def loss(logits: np.ndarray, targets: np.ndarray, temperature: float, bias: np.ndarray) -> float:
    logs = special.log_softmax(logits / temperature + bias, axis=1)
    return -float(np.mean([row[target] for row, target in zip(logs, targets, strict=True)]))


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_and_their_likelihood(seed: int) -> None:
    logits, targets = sample(seed)
    calibration = Calibration(1.7, (0.3, -0.5, 0.2))
    expected = special.softmax(logits / 1.7 + np.array([0.3, -0.5, 0.2]), axis=1)
    np.testing.assert_allclose(probabilities(logits, calibration), expected, rtol=1e-12)
    found = negative_log_likelihood(logits, targets, calibration)
    assert found == pytest.approx(log_loss(targets, expected, labels=range(3)), rel=1e-12)


def test_large_logits_stay_finite() -> None:
    values = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]])
    np.testing.assert_allclose(log_softmax(values), special.log_softmax(values, axis=1), rtol=1e-12)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_is_the_best_of_a_grid(seed: int, sharpness: float) -> None:
    logits, targets = sample(seed, sharpness=sharpness)
    found = fit_calibration(logits, targets, "temperature")
    grid = np.linspace(-LOG_TEMPERATURE_BOUND, LOG_TEMPERATURE_BOUND, 601)
    losses = [loss(logits, targets, float(np.exp(value)), np.zeros(3)) for value in grid]
    assert found.bias == (0.0, 0.0, 0.0)
    assert np.log(found.temperature) == pytest.approx(grid[int(np.argmin(losses))], abs=grid[1] - grid[0])
    assert negative_log_likelihood(logits, targets, found) <= min(losses) + 1e-9


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_bias_and_temperature_reach_the_likelihood_of_another_minimiser(seed: int, classes: int) -> None:
    logits, targets = sample(seed, classes=classes)

    def plain(vector: np.ndarray) -> float:
        return loss(logits, targets, float(np.exp(vector[0])), np.append(vector[1:], 0.0))

    start = np.zeros(classes)
    reference = minimize(plain, start, method="Powell", options={"xtol": 1e-8, "ftol": 1e-12, "maxiter": 10_000})
    found = fit_calibration(logits, targets, "bias_and_temperature")
    assert sum(found.bias) == pytest.approx(0, abs=1e-12)
    assert negative_log_likelihood(logits, targets, found) == pytest.approx(reference.fun, abs=1e-6)
    assert found.temperature == pytest.approx(float(np.exp(reference.x[0])), rel=1e-2)


@pytest.mark.parametrize("seed", range(3))
def test_with_the_best_bias_every_class_is_expected_as_often_as_it_occurs(seed: int) -> None:
    logits, targets = sample(seed, classes=4)
    found = fit_calibration(logits, targets, "bias")
    assert found.temperature == 1.0
    expected = np.bincount(targets, minlength=4) / len(targets)
    np.testing.assert_allclose(probabilities(logits, found).mean(axis=0), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 2, 5, 40])
def test_calibration_never_makes_the_fit_worse(kind: str, rows: int) -> None:
    for seed in range(10):
        logits, targets = sample(seed, rows=rows)
        before = negative_log_likelihood(logits, targets, Calibration(1.0, (0.0, 0.0, 0.0)))
        found = fit_calibration(logits, targets, kind)
        assert negative_log_likelihood(logits, targets, found) <= before + 1e-12
        assert abs(np.log(found.temperature)) <= LOG_TEMPERATURE_BOUND + 1e-12
        assert max(map(abs, found.bias)) <= 2 * BIAS_BOUND
        assert np.isfinite(probabilities(logits, found)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_rows_stays_finite(kind: str) -> None:
    logits, targets = sample(1)
    targets[targets == 2] = 0
    found = fit_calibration(logits, targets, kind)
    chances = probabilities(logits, found)
    assert np.isfinite(found.bias).all()
    assert np.isfinite(chances).all()
    if "bias" in kind:
        assert chances[:, 2].mean() < 1e-3


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_without_rows_nothing_is_fitted(kind: str) -> None:
    found = fit_calibration(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), kind)
    assert found == Calibration(1.0, (0.0, 0.0, 0.0))


def test_kind_none_fits_nothing() -> None:
    assert fit_calibration(*sample(0), "none") == Calibration(1.0, (0.0, 0.0, 0.0))


def test_fitting_twice_gives_the_same_bits() -> None:
    for kind in KINDS:
        assert fit_calibration(*sample(4), kind) == fit_calibration(*sample(4), kind)


def test_decisions_are_the_largest_ratio() -> None:
    random = np.random.default_rng(0)
    chances = random.dirichlet((1, 1, 1), 50)
    thresholds = (0.3, 0.7, 0.5)
    expected = [max(range(3), key=lambda k, row=row: row[k] / thresholds[k]) for row in chances]
    assert decide(chances, thresholds).tolist() == expected
    assert decide(chances).tolist() == [int(np.argmax(row)) for row in chances]


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_macro_f1_is_that_of_scikit_learn(classes: int) -> None:
    random = np.random.default_rng(classes)
    compared = 0
    for _ in range(50):
        rows = int(random.integers(1, 30))
        targets, decided = random.integers(0, classes, (2, rows))
        found = f1_macro(targets, decided, classes)
        if set(targets) | set(decided) == set(range(classes)):
            expected = f1_score(targets, decided, labels=range(classes), average="macro", zero_division=0)
            assert found == pytest.approx(expected, abs=1e-12)
            compared += 1
        else:
            assert found is None
    assert compared > 10


def reached(chances: np.ndarray, targets: np.ndarray, thresholds: tuple[float, ...]) -> float:
    classes = chances.shape[1]
    decided = (chances / np.array(thresholds)).argmax(axis=1)
    return float(f1_score(targets, decided, labels=range(classes), average="macro", zero_division=0))


@pytest.mark.parametrize("seed", range(6))
def test_thresholds_of_two_classes_are_as_good_as_any_that_one_step_reaches(seed: int) -> None:
    """Coordinate ascent need not find the best pair of the grid, but the best of those with one equal threshold."""
    logits, targets = sample(seed, rows=60, classes=2, sharpness=1.0)
    chances = special.softmax(logits, axis=1)
    found = fit_thresholds(chances, targets, GRID)
    assert set(found) <= set(GRID.tolist())
    scores = {pair: reached(chances, targets, pair) for pair in itertools.product(GRID.tolist(), repeat=2)}
    start = max(score for (first, second), score in scores.items() if second == 0.5)
    assert start - 1e-12 <= scores[found] <= max(scores.values()) + 1e-12
    assert scores[found] > scores[0.5, 0.5]
    assert all(scores[found] >= scores[value, found[1]] - 1e-12 for value in GRID.tolist())
    assert all(scores[found] >= scores[found[0], value] - 1e-12 for value in GRID.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_no_single_threshold_can_be_bettered(seed: int) -> None:
    logits, targets = sample(seed, rows=80)
    chances = special.softmax(logits, axis=1)
    found = fit_thresholds(chances, targets, GRID)
    score = reached(chances, targets, found)
    assert score >= reached(chances, targets, (0.5, 0.5, 0.5))
    for index, value in itertools.product(range(3), GRID.tolist()):
        assert reached(chances, targets, (*found[:index], value, *found[index + 1 :])) <= score + 1e-12


def test_thresholds_that_gain_nothing_stay_equal() -> None:
    chances = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert fit_thresholds(chances, np.array([0, 1]), GRID) == (0.5, 0.5)


def test_thresholds_without_rows_stay_equal() -> None:
    assert fit_thresholds(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), GRID) == (0.5, 0.5)
