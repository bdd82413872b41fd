"""How long to wait before an attempt is repeated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime

from hsdc_runtime.endpoint.values import Patience


def asked_wait(headers: Mapping[str, str], now: float) -> float | None:
    """The wait in seconds that a response asks for: `retry-after-ms`, or `retry-after` as seconds or as a date.

    `headers` are found in lower case, `now` is the time in seconds since 1970 here, which counts only where the
    response does not say what time it is there. None where there is no sensible wait.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(wait) and wait >= 0:
            return wait
    try:
        until = parsedate_to_datetime(headers.get("retry-after", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    with suppress(TypeError, ValueError, OverflowError):
        now = parsedate_to_datetime(headers.get("date", "")).timestamp()
    return max(0.0, until - now)


def wait_before(attempt: int, patience: Patience, chance: float) -> float:
    """The wait before the attempt after `attempt` (from 0), where the endpoint asks for none; 0 <= chance < 1."""
    longest = min(patience.longest_wait, patience.first_wait * 2.0 ** min(attempt, 60))
    return longest * (0.5 + 0.5 * chance)
