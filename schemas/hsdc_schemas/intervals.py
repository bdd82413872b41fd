"""Intervals: what other rows of the same kind might have given. Wilson's for shares of rows; others are resampled."""

from __future__ import annotations

import math
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds at a confidence of 0.95 and how they were found, or None with the reason why there are none."""

    low: float | None
    high: float | None
    method: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.low is None, self.high is None, bool(self.reason)) not in ((True,) * 3, (False,) * 3):
            raise ValueError("an interval has either two bounds or the reason why it has none")

    def holds(self, value: float) -> bool:
        """Whether a value lies within the bounds."""
        return self.low is not None and self.high is not None and self.low <= value <= self.high


def wilson(x: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval (1927) of x successes in n trials; raises ValueError unless 0 <= x <= n and n >= 1."""
    if not (0 <= x <= n and n >= 1 and 0 < confidence < 1):
        raise ValueError(f"no interval for {x} of {n} at confidence {confidence}")
    from statistics import NormalDist  # weight that compiling does without

    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = x + z * z / 2
    spread = z * math.sqrt(x * (n - x) / n + z * z / 4)
    low = 0.0 if x == 0 else max(0.0, (middle - spread) / (n + z * z))
    high = 1.0 if x == n else min(1.0, (middle + spread) / (n + z * z))
    return low, high
