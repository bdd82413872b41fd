"""Stage `score` of runs that ask a language model: its counts and areas against scikit-learn's."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from hsdc_runtime.inputs import Located
from hsdc_runtime.stages.score_answers import score_answers
from hsdc_runtime.watch import Watch
from hsdc_runtime.work import Made, Output, Work
from hsdc_schemas.answers import load_answers
from hsdc_schemas.errors import HsdcError

LABELS = ["normal", "hate"]
SIZE = 200


def rows() -> list[dict[str, Any]]:
    source = random.Random(4)
    return [
        {
            "id": f"row-{number}",
            "text": "a text",
            "labels": {"label": source.choice(LABELS)},
            "groups": [name for name in ("lgbtq", "latino") if source.random() < 0.4],
            "cluster": None,
            "fields": {"score": str(number / SIZE)} if number % 4 else {},
        }
        for number in range(SIZE)
    ]


def said(seed: int, *, ranked: bool, unread: float = 0.0) -> list[dict[str, Any]]:
    source, answers = random.Random(seed), []
    for row in rows():
        likelihoods = [source.gauss(label == row["labels"]["label"], 1.0) for label in LABELS]
        label = LABELS[likelihoods[1] > likelihoods[0]]
        if not ranked and source.random() < unread:
            label = None
        answer = {"id": row["id"], "label": label, "fault": None if label else "no_label", "fields": {}}
        answers.append({**answer, "likelihoods": likelihoods} if ranked else answer)
    return answers


def scored(folder: Path, parsed: dict[str, list[dict[str, Any]]], **changes: Any) -> Made:
    def written(name: str, lines: list[dict[str, Any]]) -> Output:
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return Output(path, "sha256:0")

    numbers = changes.pop("numbers", None)
    evaluation = {"split": "test", "subset": None, "unparseable": "wrong", "background": None, **changes}
    experiment = {
        "task": {"target": "label", "labels": LABELS, "positive": "hate"},
        "answer": {"method": "rank" if numbers is None else "generate"},
        "prompt": {"format": {"numbers": numbers or {}}},
        "model": {"kind": "pretrained", "source": "file:model"},
        "evaluation": evaluation,
    }
    work = Work(
        section={"experiment": experiment, "execution": {"answer": None, "limits": {"rows": None}}},
        inputs=Located({}, {}, None),
        needs={
            "prepare": {"rows": written("rows", rows())},
            **{name: {"parsed": written(name, lines)} for name, lines in parsed.items()},
        },
        keys={},
        folder=folder,
        checkpoints=folder,
        responses=folder,
        progress=lambda *_: None,
        stop=lambda: False,
        watch=Watch(lambda *_: None),
    )
    return score_answers(work)


def test_counts_are_scikit_learns_in_every_group(tmp_path: Path) -> None:
    answered = said(1, ranked=False, unread=0.2)
    made = scored(tmp_path, {"parse": answered})
    counts = json.loads(made.files["scores"].read_bytes())
    assert set(counts) == {"answers"}
    assert set(counts["answers"]) == {"all", "group=lgbtq", "group=latino"}
    for name, slices in counts["answers"].items():
        kept = [
            (row["labels"]["label"], answer["label"] or "unread")
            for row, answer in zip(rows(), answered, strict=True)
            if name == "all" or name.removeprefix("group=") in row["groups"]
        ]
        matrix = confusion_matrix(*zip(*kept, strict=True), labels=[*LABELS, "unread"])
        assert slices["label"]["counts"] == matrix[:2].tolist()
    answers = load_answers(made.files["answers"], "answers")
    assert [row.faults for row in answers.rows] == [
        {"answers": {"label": "no_label"}} if answer["label"] is None else {} for answer in answered
    ]
    assert (made.facts["areas"], made.facts["measurement"]) == ({}, "rank")


def test_areas_of_both_variants_are_scikit_learns(tmp_path: Path) -> None:
    parsed = {"parse": said(1, ranked=True), "parse_adapter": said(2, ranked=True)}
    areas = scored(tmp_path, parsed).facts["areas"]
    assert list(areas) == ["adapter", "base"]
    for variant, stage in (("base", "parse"), ("adapter", "parse_adapter")):
        gold = [row["labels"]["label"] == "hate" for row in rows()]
        odds = [1 / (1 + math.exp(pair[0] - pair[1])) for pair in (answer["likelihoods"] for answer in parsed[stage])]
        found = areas[variant]["label.auroc[hate]"]
        assert found["value"] == pytest.approx(roc_auc_score(gold, odds), abs=1e-6)
        assert found["low"] < found["value"] < found["high"]
        inside = ["lgbtq" in row["groups"] for row in rows()]
        for name, kept in (
            ("subgroup_auc", inside),
            ("bpsn_auc", [positive != of for positive, of in zip(gold, inside, strict=True)]),
            ("bnsp_auc", [positive == of for positive, of in zip(gold, inside, strict=True)]),
        ):
            expected = roc_auc_score(*zip(*(p for p, k in zip(zip(gold, odds), kept) if k)))  # noqa: B905
            assert areas[variant][f"label.{name}[hate]@group=lgbtq"]["value"] == pytest.approx(expected, abs=1e-6)
            assert areas[variant][f"label.{name}[hate]"]["reason"] == ""
    against = scored(tmp_path, parsed, background="latino").facts["areas"]["base"]
    assert "label.bpsn_auc[hate]@group=latino" not in against
    assert against["label.bpsn_auc[hate]@group=lgbtq"] != areas["base"]["label.bpsn_auc[hate]@group=lgbtq"]
    assert against["label.auroc[hate]"] == areas["base"]["label.auroc[hate]"]


def test_numbers_of_both_variants_are_those_of_statistics(tmp_path: Path) -> None:
    parsed = {"parse": said(1, ranked=False, unread=0.2), "parse_adapter": said(2, ranked=False)}
    source = random.Random(3)
    for lines in parsed.values():
        for line in lines:
            if line["label"] is not None and source.random() < 0.8:
                line["numbers"] = {"score": source.random()}
    made = scored(tmp_path, parsed, numbers={"score": {"minimum": 0.0, "maximum": 1.0}})
    right = {row["id"]: float(row["fields"]["score"]) for row in rows() if row["fields"]}
    for variant, stage in (("base", "parse"), ("adapter", "parse_adapter")):
        told = {line["id"]: line["numbers"]["score"] for line in parsed[stage] if "numbers" in line}
        found = made.facts["numbers"][variant]
        assert list(found) == [f"label.{name}[score]" for name in ("coverage", "mean", "std", "mae")]
        expected = {
            "coverage": len(told) / SIZE,
            "mean": statistics.mean(told.values()),
            "std": statistics.stdev(told.values()),
            "mae": statistics.mean(abs(told[name] - right[name]) for name in told.keys() & right.keys()),
        }
        for name, value in expected.items():
            figure = found[f"label.{name}[score]"]
            assert figure["value"] == pytest.approx(value, abs=1e-12)
            assert figure["low"] < value < figure["high"]
    answers = load_answers(made.files["answers"], "answers")
    assert answers.header.numbers == {"score": (0.0, 1.0)}
    assert {row.id: row.references["score"] for row in answers.rows if row.references} == right
    assert "numbers" not in scored(tmp_path, parsed).facts, "nothing is declared, hence nothing said"


def test_a_reference_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(HsdcError) as caught:
        scored(tmp_path, {"parse": said(1, ranked=False)}, numbers={"score": {"minimum": 0.9, "maximum": 1.0}})
    (found,) = caught.value.diagnostics
    assert (found.code, found.exit) == ("E614", 1)
    assert found.message == "row 'row-1': '0.005' in 'score' is no number from 0.9 to 1"
