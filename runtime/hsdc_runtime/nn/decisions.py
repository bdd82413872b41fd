"""From logits to decisions: calibrated probabilities and thresholds, and how both are fitted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from scipy.optimize import minimize

LOG_TEMPERATURE_BOUND = 3.0
BIAS_BOUND = 10.0
MAX_ROUNDS = 20


@dataclass(frozen=True)
class Calibration:
    """softmax(logits / temperature + bias); bias has one entry per class and sums to 0."""

    temperature: float
    bias: tuple[float, ...]


def log_softmax(values: np.ndarray) -> np.ndarray:
    """Log-probabilities [N, K] of logits [N, K]."""
    shifted = values - values.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def probabilities(logits: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Calibrated probabilities [N, K]."""
    return np.exp(log_softmax(logits / calibration.temperature + np.array(calibration.bias)))


def negative_log_likelihood(logits: np.ndarray, targets: np.ndarray, calibration: Calibration) -> float:
    """Mean negative log-likelihood of the targets [N] in nats."""
    logs = log_softmax(logits / calibration.temperature + np.array(calibration.bias))
    return float(-logs[np.arange(len(targets)), targets].mean())


def fit_calibration(logits: np.ndarray, targets: np.ndarray, kind: str) -> Calibration:
    """Fit temperature, bias per class, or both by maximum likelihood (Guo et al. 2017; Alexandari et al. 2020).

    Logits float64 [N, K], targets int64 [N]. The bias is bounded, so that a class without rows stays finite.
    """
    classes = logits.shape[1]
    with_temperature, with_bias = "temperature" in kind, "bias" in kind

    def unpack(vector: np.ndarray) -> Calibration:
        temperature = float(np.exp(vector[0])) if with_temperature else 1.0
        bias = vector[-classes:] - vector[-classes:].mean() if with_bias else np.zeros(classes)
        return Calibration(temperature, tuple(float(value) for value in bias))

    def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
        calibration = unpack(vector)
        logs = log_softmax(logits / calibration.temperature + np.array(calibration.bias))
        slope = np.exp(logs)
        slope[np.arange(len(targets)), targets] -= 1
        gradient = []
        if with_temperature:
            gradient.append([-(slope * logits).sum(axis=1).mean() / calibration.temperature])
        if with_bias:
            by_class = slope.mean(axis=0)
            gradient.append(by_class - by_class.mean())
        return float(-logs[np.arange(len(targets)), targets].mean()), np.concatenate(gradient)

    if not (with_temperature or with_bias) or len(targets) == 0:
        return Calibration(1.0, (0.0,) * classes)
    bounds = [(-LOG_TEMPERATURE_BOUND, LOG_TEMPERATURE_BOUND)] * with_temperature
    bounds += [(-BIAS_BOUND, BIAS_BOUND)] * (classes * with_bias)
    found = minimize(loss, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-10)
    return unpack(found.x)


def decide(chances: np.ndarray, thresholds: tuple[float, ...] | None = None) -> np.ndarray:
    """The class of each row [N]: the largest probability, or the largest probability / threshold."""
    values = chances if thresholds is None else chances / np.array(thresholds)
    return values.argmax(axis=1)


def f1_macro(targets: np.ndarray, decided: np.ndarray, classes: int) -> float | None:
    """Macro-F1 over all classes; None where a class neither occurs nor is decided for."""
    hits = np.bincount(targets[targets == decided], minlength=classes)
    total = np.bincount(targets, minlength=classes) + np.bincount(decided, minlength=classes)
    return None if (total == 0).any() else float((2 * hits / total).mean())


def fit_thresholds(chances: np.ndarray, targets: np.ndarray, grid: np.ndarray) -> tuple[float, ...]:
    """One threshold per class from a grid, for macro-F1: from equal thresholds, the best pair of values for each pair
    of classes in turn, until nothing gets better; ties stay put. With two classes that is the best of the whole grid.
    """
    classes = chances.shape[1]
    best = [float(grid[len(grid) // 2])] * classes
    reached = f1_macro(targets, decide(chances, tuple(best)), classes)
    for _ in range(MAX_ROUNDS):
        before = tuple(best)
        for one, other in combinations(range(classes), 2):
            for first, second in product(grid.tolist(), repeat=2):
                trial = list(best)
                trial[one], trial[other] = first, second
                score = f1_macro(targets, decide(chances, tuple(trial)), classes)
                if score is not None and (reached is None or score > reached):
                    best, reached = trial, score
        if tuple(best) == before:
            break
    return tuple(best)
