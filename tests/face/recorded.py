"""Records that were made up, for tests of what is shown of them."""

from __future__ import annotations

from typing import Any

from hsdc_schemas.record import Environment, Record, Reproduction

DIGEST = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
TONE = {"labels": ["cold", "warm"], "counts": [[3, 1], [2, 4]]}
EMPTY = {"labels": ["cold", "warm"], "counts": [[0, 0], [0, 0]]}
SCORES = {"raw": {"all": {"tone": TONE}}, "calibrated": {"all": {"tone": TONE}}}
PLACE = Environment(
    python="3.11.0", platform="", machine="", processor="", cores=1, device="cpu", packages={}, differs={}
)


def made(run: str = "one", scores: Any = SCORES, claim: Reproduction | None = None) -> Record:
    return Record(
        hsdc=1,
        schema_version=1,
        run=run,
        profile="demo",
        manifest=DIGEST,
        experiment_digest=DIGEST,
        started="",
        finished="",
        seconds=1.0,
        peak_memory_bytes=1,
        environment=PLACE,
        rows={},
        stages=(),
        scores=scores,
        reproduction=claim,
        digest=DIGEST,
    )


def claimed(verdict: str = "identical", reported: str = "within", **changes: Any) -> Reproduction:
    values = {
        "run": "one",
        "record": DIGEST,
        "executed": ("train", "score"),
        "verdict": verdict,
        "difference": None,
        "environment": (),
        "reported": reported,
        "metric": "overall.f1_macro",
        "found": 0.61,
        "claimed": 0.6,
        "within": 0.02,
        "reason": "",
    }
    return Reproduction(**{**values, **changes})
