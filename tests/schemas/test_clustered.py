"""Where rows hang together: what a record holds, against a bootstrap written out and against gates and comparisons."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from hsdc_schemas.answers import Answer, Answers, tally
from hsdc_schemas.clustered import clustered
from hsdc_schemas.gates import evaluate, parse_gate
from hsdc_schemas.intervals import Interval, wilson
from hsdc_schemas.judged import Judged
from hsdc_schemas.resampling import AT_A_TIME, DRAWS, interval
from hsdc_schemas.scores import Counts, parse_metric
from tests.schemas.answered import held, made_up

MACRO = parse_metric("tone.f1_macro")
HEADS = {"tone": ("normal", "hate"), "topic": ("a", "b", "c")}


def counts_of(answers: Answers) -> Counts:
    """As they are read from a record."""
    scores = tally(answers.header, answers.rows, across=True)
    found = clustered(answers, scores)["intervals"]["raw"]
    return Counts.from_json(scores["raw"], "wrong", {name: Interval(**item) for name, item in found.items()})


def hanging(*, seed: int = 2) -> list[Answer]:
    """Rows of two heads in 17 clusters, some of them in none."""
    rows = made_up(120, seed=seed, unreadable=0.1, heads=HEADS, clusters=17)
    return [structs.replace(row, cluster=None) if number % 11 == 0 else row for number, row in enumerate(rows)]


def draws_by_hand(rows: list[Answer], heads: dict[str, tuple[str, ...]]) -> list[list[Answer]]:
    """The rows of every draw: as many clusters as there are, with replacement, seeded by what is drawn."""
    names = [f"r{row.id}" if row.cluster is None else f"c{row.cluster}" for row in rows]
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    columns = []
    for head, labels in heads.items():
        said = [[*labels, None].index(row.answers["raw"][head]) for row in rows]
        columns.append(
            [labels.index(row.gold[head]) * (len(labels) + 1) + at for row, at in zip(rows, said, strict=True)]
        )
    groups = sorted({name for row in rows for name in row.groups})
    columns += [[group in row.groups for row in rows] for group in groups]
    state = hashlib.sha256(np.array(columns, np.int64).T.tobytes())
    state.update(np.array([places[name] for name in names], np.int64).tobytes())
    generator = np.random.default_rng(int.from_bytes(state.digest()[:16], "big"))
    size = len(places)
    drawn = generator.multinomial(size, [1 / size] * size, size=DRAWS)
    return [[row for row, name in zip(rows, names, strict=True) for _ in range(one[places[name]])] for one in drawn]


def macro(rows: list[Answer], head: str, labels: tuple[str, ...]) -> float:
    pairs = [(row.gold[head], row.answers["raw"][head]) for row in rows]
    found = []
    for label in labels:
        hits = sum(gold == said == label for gold, said in pairs)
        both = sum(gold == label for gold, _ in pairs) + sum(said == label for _, said in pairs)
        found.append(2 * hits / both if both else float("nan"))
    return sum(found) / len(found)


def test_intervals_are_those_of_a_bootstrap_of_clusters_written_out(tmp_path: Path) -> None:
    answers = held(tmp_path, hanging()[:60])
    found = clustered(answers, tally(answers.header, answers.rows))
    assert found["clusters"] == 17 + 6, "a row of no cluster is one of its own"
    draws = draws_by_hand(list(answers.rows), dict(answers.header.heads))
    macros = [[macro(drawn, *head) for drawn in draws] for head in answers.header.heads.items()]
    right = [[row.gold["tone"] == row.answers["raw"]["tone"] for row in drawn] for drawn in draws]
    expected = {"tone.f1_macro": macros[0], "overall.f1_macro": np.mean(macros, axis=0)}
    expected["tone.accuracy"] = [sum(one) / len(one) for one in right]
    for name, figures in expected.items():
        held_one, kept = found["intervals"]["raw"][name], np.array(figures)[np.isfinite(figures)]
        assert (held_one["low"], held_one["high"]) == pytest.approx(np.quantile(kept, [0.025, 0.975]), abs=1e-12), name


@pytest.mark.parametrize("at_a_time", [AT_A_TIME, 1_000], ids=["whole", "in small pieces"])
def test_gates_have_the_intervals_of_tables_to_the_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    monkeypatch.setattr("hsdc_schemas.bound.AT_A_TIME", at_a_time)
    monkeypatch.setattr("hsdc_schemas.clustered.AT_ONCE", 30 if at_a_time < AT_A_TIME else 500)
    answers = held(tmp_path, hanging())
    counts, run = counts_of(answers), Judged.of(answers)
    assert len(counts.intervals) > 100
    monkeypatch.undo()
    names = ["overall.f1_macro", "tone.f1_macro", "topic.accuracy", "tone.fpr[hate]", "topic.coverage"]
    names += ["tone.fnr[normal]@group=latino", "topic.fpr_gap[a]", "tone.accuracy@topic=b", "overall.recall_macro"]
    for metric in map(parse_metric, names):
        found = interval(counts, metric)
        assert found.low < found.high, str(metric)
        assert found == run.interval(metric), str(metric)
        verdict = evaluate(parse_gate(f"low({metric}) >= 0.1"), run)
        assert (verdict.interval.low, verdict.interval.high) == (found.low, found.high)


def test_all_that_tables_show_is_held_and_nothing_else_is_taken_from_counts(tmp_path: Path) -> None:
    counts = counts_of(held(tmp_path, hanging()))
    heads = {head: confusion.labels for head, confusion in counts.whole.items()}
    whole = [f"{scope}.{name}" for scope in ("overall", *heads) for name in ("f1_macro", "accuracy", "coverage")]
    labelled = [f"{head}.{name}[{label}]" for head in heads for label in heads[head] for name in ("recall", "f1")]
    rates = [f"{head}.{name}[{label}]" for head in heads for label in heads[head] for name in ("fpr", "fnr")]
    grouped = [f"{rate}@group={group}" for rate in rates for group in counts.groups]
    gaps = [rate.replace("[", "_gap[") for rate in rates]
    within = ["tone.accuracy@topic=a", "topic.f1_macro@tone=hate"]
    for metric in map(parse_metric, [*whole, *labelled, *rates, *grouped, *gaps, *within]):
        found, figure = interval(counts, metric), counts.figure(metric)
        if figure.value is None:
            assert found.reason == figure.reason
        else:
            assert "counts do not tell" not in found.reason, str(metric)
    assert interval(counts, parse_metric("tone.f1[hate]@group=latino")).reason == (
        "rows hang together, which counts do not tell"
    )


def test_without_clusters_nothing_is_held(tmp_path: Path) -> None:
    answers = held(tmp_path, made_up(30))
    assert clustered(answers, tally(answers.header, answers.rows)) == {}


def test_what_says_the_same_many_times_says_it_once(tmp_path: Path) -> None:
    """Nine copies of a row in one cluster are one row: three times the width of nine rows that are independent."""
    rows = made_up(60, seed=3, groups=())
    copies = [structs.replace(row, id=f"{row.id}.{n}", cluster=row.id) for row in rows for n in range(9)]
    counts = counts_of(held(tmp_path, copies))
    for name in ("tone.f1_macro", "tone.accuracy", "tone.recall[hate]"):
        metric = parse_metric(name)
        wide, narrow = (interval(given, metric) for given in (counts, Counts(counts.whole)))
        assert wide.high - wide.low == pytest.approx(3 * (narrow.high - narrow.low), rel=0.1), name
    right, total = counts.figure(parse_metric("tone.accuracy")).count
    alone = wilson(right // 9, total // 9)
    found = interval(counts, parse_metric("tone.accuracy"))
    assert (found.low, found.high) == pytest.approx(alone, abs=0.03)


def test_a_perfect_figure_is_as_certain_as_its_clusters_are_many(tmp_path: Path) -> None:
    rows = [row for row in made_up(200, right=1.0, groups=()) if row.gold == row.answers["raw"]]
    few = [structs.replace(row, cluster=f"{row.gold['tone']}{number % 5}") for number, row in enumerate(rows)]
    found = interval(counts_of(held(tmp_path, few)), MACRO)
    assert asdict(found) == {"low": pytest.approx(wilson(5, 5)[0]), "high": 1.0, "method": "Wilson", "reason": ""}
