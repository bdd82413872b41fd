"""Scores: every figure is derived from integer confusion counts, and is a number or undefined with a reason.

What others use of counts (`confusion`), names (`metrics`) and intervals (`intervals`), from one place. None of these
imports numpy; `resampling` and what stands on it (`ranking`, `contrast`) do.
"""

from __future__ import annotations

from hsdc_schemas.confusion import ClassRow, Confusion, Figure, Unparseable, mean, table
from hsdc_schemas.intervals import Interval, wilson
from hsdc_schemas.metrics import OVERALL, SUPPORTED, Counts, Metric, figure, known_metrics, parse_metric

__all__ = [
    "OVERALL",
    "SUPPORTED",
    "ClassRow",
    "Confusion",
    "Counts",
    "Figure",
    "Interval",
    "Metric",
    "Unparseable",
    "figure",
    "known_metrics",
    "mean",
    "parse_metric",
    "table",
    "wilson",
]
