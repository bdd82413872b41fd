"""What is shown of a record: its figures with intervals and counts, its groups, and its verdict."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hsdc import scores_view
from hsdc_schemas.record import Difference, Reproduction, StageRecord
from tests.face.recorded import DIGEST, EMPTY, OTHER, TONE, claimed, made


def test_the_scores_are_those_of_the_counts() -> None:
    lines = scores_view.scores(made())
    tables = [" ".join(line.split()) for line in lines]
    # cold: 3 of 5 answers, 3 of 4 rows; warm: 4 of 5 answers, 4 of 6 rows
    assert any(re.fullmatch(r"tone cold 0.6000 0.7500 0.30 to 0.95 0.6667 \S+ to \S+ 4", line) for line in tables)
    assert any(re.fullmatch(r"tone warm 0.8000 0.6667 0.30 to 0.90 0.7273 \S+ to \S+ 6", line) for line in tables)
    for variant in ("as trained", "calibrated"):
        pattern = rf"{variant} tone 100 % 0.6970 \S+ to \S+ 0.7000 0.40 to 0.89"
        assert any(re.fullmatch(pattern, line) for line in tables)
    assert not any("undefined" in line for line in lines)


def test_a_figure_that_is_undefined_is_a_dash_and_a_reason() -> None:
    scores = {"raw": {"all": {"tone": TONE}, "size=small": {"tone": EMPTY}}}
    lines = [" ".join(line.split()) for line in scores_view.scores(made(scores=scores))]
    assert "size=small tone 0 – – – –" in lines
    said = [line for line in lines if line.startswith("undefined: ")]
    assert len(said) == 1
    assert said[0] == "undefined: no labelled rows: tone within size=small"


def test_groups_show_what_their_rates_are_of_and_where_they_are_of_few() -> None:
    def group(false: int, normal: int) -> dict[str, Any]:
        return {"tone": {"labels": ["normal", "hate"], "counts": [[normal - false, false, 0], [5, 6, 9]]}}

    slices = {"all": group(45, 70), "group=a": group(12, 20), "group=b": group(30, 40), "group=few": group(3, 5)}
    lines = scores_view.scores(made(scores={"raw": slices}))
    tables = [" ".join(line.split()) for line in lines]
    assert "9 of 90 answers could not be read and count as wrong" in lines[0]
    rows = {line.split()[0]: line for line in tables if re.match(r"(a|b|few) hate ", line)}
    assert rows["a"].startswith("a hate 77.5 % 0.6000 12/20 0.39 to 0.78 0.7000 14/20 ")
    assert "30/40" in rows["b"]
    assert rows["few"].endswith("under 10 rows")
    assert not rows["a"].endswith("rows")
    assert any(line.startswith("gap: tone.fpr_gap[hate] 0.1500") and line.endswith("between a, b") for line in tables)
    assert any(line.startswith("as trained tone 90 % ") for line in tables)


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (claimed(), ("identical: one reproduces one", "train, score executed anew", "0.6100 here is within 0.02")),
        (claimed(reported="outside"), ("0.6100 here is outside 0.02",)),
        (claimed(reported="not comparable", reason="model is tiny, not big"), ("not comparable", "model is tiny")),
        (claimed(reported="undefined", found=None, reason="no rows"), ("no rows",)),
        (
            claimed(
                "diverged",
                difference=Difference(stage="train", output="weights", tensor="a.b", expected=DIGEST, found=OTHER),
            ),
            ("diverged: one does not reproduce one", "train, weights, tensor a.b: abababababab → cdcdcdcdcdcd"),
        ),
        (claimed("inconclusive", environment=("python", "device")), ("inconclusive", "(python, device)")),
    ],
)
def test_the_verdict_in_words(claim: Reproduction, words: tuple[str, ...]) -> None:
    text = "\n".join(scores_view.verdict(made(claim=claim)))
    for word in words:
        assert word in text


def test_without_a_claim_there_is_no_verdict() -> None:
    assert scores_view.verdict(made()) == []
    assert scores_view.verdict(made(claim=claimed(reported="not claimed")))[1:] == []


def test_areas_under_curves_are_shown_with_their_background() -> None:
    area = {"value": 0.8, "low": 0.7512, "high": 0.85, "reason": ""}
    none = {"value": None, "low": None, "high": None, "reason": "there are not both"}
    facts = {
        "variants": ["answers"],
        "background": None,
        "areas": {"answers": {"tone.auroc[hate]": area, "tone.bpsn_auc[hate]": none}},
    }
    stage = StageRecord(name="score", key=DIGEST, executed=True, outputs={}, seconds=1.0, cpu_seconds=1.0, facts=facts)
    record = made(scores={"answers": {"all": {"tone": TONE}}}).model_copy(update={"stages": (stage,)})
    lines = [" ".join(line.split()) for line in scores_view.scores(record)]
    assert "area under the curve (background: all rows outside the group) decisions area 95 % interval" in lines
    assert "tone.auroc[hate] as answered 0.8000 0.75 to 0.85" in lines
    assert "tone.bpsn_auc[hate] as answered – –" in lines


def test_every_class_of_unreadable_answers_is_counted() -> None:
    def parsed(name: str, faults: dict[str, int]) -> StageRecord:
        return StageRecord(
            name=name, key=DIGEST, executed=True, outputs={}, seconds=1, cpu_seconds=1, facts={"faults": faults}
        )

    whole = {"all": {"tone": {"labels": ["cold", "warm"], "counts": [[3, 1, 2], [2, 4, 1]]}}}
    asked = made(scores={"answers": whole}).model_copy(
        update={"stages": (parsed("parse", {"refusal": 2, "empty": 1}),)}
    )
    assert "  not read, as answered  2 refusal, 1 empty" in scores_view.scores(asked)
    stages = (parsed("parse", {"unknown_label": 3}), parsed("parse_adapter", {"malformed": 1}))
    tuned = made(scores={"adapter": whole, "base": whole}).model_copy(update={"stages": stages})
    told = [" ".join(line.split()) for line in scores_view.scores(tuned) if "not read" in line]
    assert told == ["not read, without the adapter 3 unknown label", "not read, with the adapter 1 malformed"]
    assert not any("not read" in line for line in scores_view.scores(made()))
