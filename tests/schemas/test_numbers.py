"""Numbers that answers say: how they are read and taught, their figures, intervals and differences, and gates on them.

Held against `statistics`, numpy and scipy.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy import stats

from hsdc_schemas.answer_forms import UNSAID, AnswerForm, answer_schema
from hsdc_schemas.answers import Answers, load_answers
from hsdc_schemas.contrast import contrast
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.intervals import wilson
from hsdc_schemas.judged import Judged
from hsdc_schemas.prompting import JsonAnswer, LabelAnswer, Number, TextAnswer
from hsdc_schemas.replies import read_answer
from hsdc_schemas.wording import continuations, worded
from tests.schemas.answered import HEADS, held, made_up
from tests.schemas.numbered import COVERAGE, ENDS, MAE, MEAN, STD, judged, rows, values

LABELS = ("aligned", "conflicts")
SCORE = {"score": Number(), "effort": Number(minimum=-5, maximum=5)}
JSON = JsonAnswer(kind="json", field="status", fields=("note",), numbers=SCORE)
TEXT = TextAnswer(kind="text", marker="status:", field="review", numbers=SCORE)


@pytest.mark.parametrize(
    ("written", "score", "why"),
    [
        ("0.82", 0.82, ""),
        ("1", 1.0, ""),
        ("0", 0.0, ""),
        ("1e-1", 0.1, ""),
        ("-0.1", None, "out_of_range"),
        ("1.01", None, "out_of_range"),
        ("1e999", None, "out_of_range"),
        ("1" + "0" * 400, None, "out_of_range"),
        ('"0.82"', None, "no_number"),
        ("true", None, "no_number"),
        ("[0.5]", None, "no_number"),
        ("null", None, "missing"),
        (None, None, "missing"),
    ],
)
def test_a_number_of_an_object(written: str | None, score: float | None, why: str) -> None:
    more = "" if written is None else f', "score": {written}'
    found = read_answer(f'{{"status": "aligned", "effort": 2{more}}}', "stop", AnswerForm.of(JSON, LABELS))
    assert found.label == "aligned", "whatever the number is"
    assert found.numbers == {"effort": 2.0} | ({} if score is None else {"score": score})
    assert found.unsaid == ({"score": why} if why else {})
    assert set(found.unsaid.values()) <= set(UNSAID)


@pytest.mark.parametrize(
    ("lines", "finish", "score", "why"),
    [
        ("score: 0.82", "stop", 0.82, ""),
        ("**Score:** 0.82.", "stop", 0.82, ""),
        ("Score:  .5\nthe end", "stop", 0.5, ""),
        ("score: 0.82", "length", None, "cut_off"),
        ("score: 0.82\n", "length", 0.82, ""),
        ("score: 0.82\nand", "length", 0.82, ""),
        ("score: 0.8\nscore: 0.8", "stop", None, "several"),
        ("score: high", "stop", None, "no_number"),
        ("score: 82 %", "stop", None, "no_number"),
        ("score: 0.8 of 1", "stop", None, "no_number"),
        ("score: nan", "stop", None, "no_number"),
        ("score: 82", "stop", None, "out_of_range"),
        ("the score: 0.8", "stop", None, "missing"),
    ],
)
def test_a_number_of_a_text(lines: str, finish: Any, score: float | None, why: str) -> None:
    found = read_answer(f"status: conflicts\nnote: so it is\n{lines}", finish, AnswerForm.of(TEXT, LABELS))
    assert found.label == "conflicts"
    assert found.numbers == ({} if score is None else {"score": score})
    assert found.unsaid == {"effort": "missing"} | ({"score": why} if why else {})


def test_an_answer_without_a_label_says_no_number() -> None:
    for form, text in ((JSON, '{"status": "odd", "score": 0.5}'), (TEXT, "status: odd\nscore: 0.5")):
        found = read_answer(text, "stop", AnswerForm.of(form, LABELS))
        assert (found.label, found.numbers, found.unsaid) == (None, {}, {})


def test_what_is_taught_is_what_is_read() -> None:
    given = {"note": "so", "review": "status: aligned\nnote: so\n", "score": " 0.873 ", "effort": "-2"}
    for form in (JSON, TEXT):
        found = read_answer(worded(form, "aligned", given), "stop", AnswerForm.of(form, LABELS))
        assert (found.label, found.numbers) == ("aligned", {"score": 0.873, "effort": -2.0})
        assert "score" not in worded(form, "aligned", {**given, "score": " "}), "a blank one is not taught"
        for odd in ("good", "1.2", "nan"):
            with pytest.raises(ValueError, match=f"'{odd}' in 'score' is no number from 0 to 1"):
                worded(form, "aligned", {**given, "score": odd})
    assert json.loads(worded(JSON, "aligned", given)) == {
        "status": "aligned",
        "note": "so",
        "effort": -2,
        "score": 0.873,
    }
    assert worded(TEXT, "aligned", given) == "status: aligned\nnote: so\neffort: -2.0\nscore: 0.873"
    without = TEXT.model_copy(update={"numbers": {}})
    assert worded(without, "aligned", given) == given["review"], "as it is"
    assert continuations(JSON.model_copy(update={"fields": ()}), LABELS)[0].endswith('",')


def test_a_schema_asks_for_the_number() -> None:
    schema = answer_schema(AnswerForm.of(JSON, LABELS))
    assert schema["required"] == ["status", "note", "effort", "score"]
    assert schema["properties"]["score"] == {"type": "number"}
    with pytest.raises(ValueError, match="different names"):
        AnswerForm("json", LABELS, fields=("score",), numbers=ENDS)
    assert AnswerForm.of(LabelAnswer(kind="label"), LABELS).numbers == {}


def test_figures_are_those_of_statistics(tmp_path: Path) -> None:
    kept = rows(1)
    run, said = judged(tmp_path, kept), values(kept)
    assert len(said) < len(kept)
    assert run.figure(MEAN).value == pytest.approx(statistics.mean(said), abs=1e-12)
    assert run.figure(STD).value == pytest.approx(statistics.stdev(said), abs=1e-12)
    far = [
        abs(row.numbers["raw"]["score"] - row.references["score"])
        for row in kept
        if row.numbers["raw"] and row.references
    ]
    assert run.figure(MAE).value == pytest.approx(statistics.mean(far), abs=1e-12)
    assert len(far) < len(said)
    assert run.figure(COVERAGE).value == len(said) / len(kept)
    inside = run.figure(replace(MEAN, slice="group=lgbtq"))
    assert inside.value == pytest.approx(statistics.mean(values(kept, "lgbtq")), abs=1e-12)


def test_what_is_not_said_is_undefined_and_never_zero(tmp_path: Path) -> None:
    run = judged(tmp_path, rows(1, said=0.0))
    for metric in (MEAN, STD, MAE):
        assert run.figure(metric).value is None
        assert run.interval(metric).low is None
    assert run.figure(COVERAGE).value == 0.0
    one = [msgspec.structs.replace(row, numbers={"raw": {}}) for row in rows(1)[1:]]
    alone = judged(tmp_path, [*rows(1, said=1.0)[:1], *one])
    assert alone.figure(STD).reason == "one answer alone says the number"
    plain = Judged.of(held(tmp_path, made_up(), heads=HEADS))
    assert plain.figure(MEAN).reason == "the answers say no number 'score'"
    assert plain.counts.figure(MEAN).value is None, "counts do not hold them"


def test_intervals_are_those_of_the_bootstrap(tmp_path: Path) -> None:
    kept = rows(1, size=200)
    run, said = judged(tmp_path, kept), np.array(values(kept))
    for metric, statistic in ((MEAN, np.mean), (STD, lambda x, axis: np.std(x, axis=axis, ddof=1))):
        found = run.interval(metric)
        theirs = stats.bootstrap((said,), statistic, n_resamples=4000, method="percentile", rng=1).confidence_interval
        width = theirs.high - theirs.low
        assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.1 * width)
        assert found.method == "bootstrap"
        assert run.interval(metric) == found, "the same rows give the same interval"
    assert run.interval(COVERAGE) == type(found)(*wilson(len(said), len(kept)), "Wilson")
    same = [msgspec.structs.replace(row, numbers={"raw": {"score": 0.9}}) for row in kept]
    assert judged(tmp_path, same).interval(MEAN).reason == "no resample differs"


def test_clusters_are_drawn_whole(tmp_path: Path) -> None:
    """Rows that repeat one another tell no more than one of them: the interval stays as wide."""
    few = rows(3, size=20)
    many = [msgspec.structs.replace(row, id=f"{row.id}-{copy}", cluster=row.id) for row in few for copy in range(6)]
    alone = [msgspec.structs.replace(row, cluster=None) for row in many]
    wide, narrow, plain = (judged(tmp_path, kept).interval(MEAN) for kept in (many, alone, few))
    widths = [item.high - item.low for item in (wide, narrow, plain)]
    assert widths[0] == pytest.approx(widths[2], rel=0.15)
    assert widths[1] < 0.55 * widths[2]


def test_a_difference_is_paired(tmp_path: Path) -> None:
    first, second = rows(1, said=1.0, size=150), rows(2, said=1.0, shift=0.03, size=150)
    base, run = judged(tmp_path, first), judged(tmp_path, second)
    found, apart = contrast(base, run, MEAN), np.array(values(second)) - np.array(values(first))
    theirs = stats.bootstrap((apart,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert found.difference == pytest.approx(apart.mean(), abs=1e-12)
    width = theirs.high - theirs.low
    assert (found.interval.low, found.interval.high) == pytest.approx((theirs.low, theirs.high), abs=0.1 * width)
    assert found.error == pytest.approx(apart.std() / len(apart) ** 0.5, rel=0.1)
    p = stats.permutation_test((apart,), np.mean, permutation_type="samples", n_resamples=4000, rng=1).pvalue
    assert found.p == pytest.approx(p, abs=0.03)
    assert found.discordance.p is None
    assert contrast(base, run, STD).difference == pytest.approx(
        statistics.stdev(values(second)) - statistics.stdev(values(first)), abs=1e-12
    )


def test_numbers_that_are_not_one_are_not_compared(tmp_path: Path) -> None:
    base = judged(tmp_path, rows(1))
    wider = Judged.of(held(tmp_path, rows(2), heads=HEADS, numbers={"score": (0.0, 2.0)}))
    assert "another range" in contrast(base, wider, MEAN).interval.reason
    moved = [msgspec.structs.replace(row, references={"score": 0.5}) for row in rows(2)]
    assert "other values of 'score'" in contrast(base, judged(tmp_path, moved), MAE).interval.reason
    assert contrast(base, judged(tmp_path, moved), MEAN).difference is not None
    assert (
        "undefined in the run"
        in contrast(base, Judged.of(held(tmp_path, made_up(120), heads=HEADS)), MEAN).interval.reason
    )


def test_a_file_keeps_numbers_and_holds_none_where_there_are_none(tmp_path: Path) -> None:
    kept = rows(1)
    found: Answers = held(tmp_path, kept, heads=HEADS, numbers=ENDS)
    assert (found.header.numbers, found.rows) == (ENDS, tuple(kept))
    held(tmp_path, made_up(5), name="plain.jsonl")
    assert b"number" not in (tmp_path / "plain.jsonl").read_bytes()
    for changes in (
        {"numbers": {"raw": {"score": 1.5}}},
        {"numbers": {"raw": {"other": 0.5}}},
        {"references": {"x": 0.1}},
    ):
        with pytest.raises(ValueError, match="is no number that"):
            held(tmp_path, [msgspec.structs.replace(kept[0], **changes)], heads=HEADS, numbers=ENDS)
    with pytest.raises(ValueError, match="numbers of a variant"):
        held(tmp_path, [msgspec.structs.replace(kept[0], numbers={"tuned": {}})], heads=HEADS, numbers=ENDS)
    held(tmp_path, kept, heads=HEADS, numbers=ENDS)
    edited = tmp_path / "answers.jsonl"
    edited.write_text(edited.read_text().replace('"references":{"score":0.', '"references":{"score":7.', 1))
    with pytest.raises(HsdcError) as caught:
        load_answers(edited, "answers")
    assert [found.code for found in caught.value.diagnostics] == ["E530"]
