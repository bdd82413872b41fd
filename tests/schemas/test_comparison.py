"""Comparisons: which runs may be compared, over which rows, and what is said of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hsdc.comparison_view import text
from hsdc_schemas.alignment import Entrant
from hsdc_schemas.answers import Answer
from hsdc_schemas.comparison import Ask, Comparison, compare, default_metrics, verdict
from hsdc_schemas.contrast import Contrast, Discordance, contrast, holm
from hsdc_schemas.errors import Exit, HsdcError
from hsdc_schemas.judged import Judged
from hsdc_schemas.scores import Interval, Metric, parse_metric
from tests.schemas.answered import HEADS, held, made_up

MACRO, FPR = Metric("tone", "f1_macro"), Metric("tone", "fpr", "hate")
Enter = Callable[..., Entrant]


@pytest.fixture
def enter(tmp_path: Path) -> Enter:
    def entrant(name: str, rows: list[Answer], **changes: object) -> Entrant:
        return Entrant(name, held(tmp_path, rows, name=f"{name}.jsonl", **{"heads": HEADS, **changes}))

    return entrant


def refused(entrants: list[Entrant], **ask: object) -> HsdcError:
    with pytest.raises(HsdcError) as caught:
        compare(entrants, Ask([MACRO], **ask))
    assert caught.value.exit is Exit.POLICY
    return caught.value


def verdicts(found: Comparison, metric: Metric = MACRO) -> dict[str, str]:
    return {item.name: item.verdict for item in found.standings[metric]}


def test_runs_are_held_against_the_first(enter: Enter) -> None:
    entrants = [
        enter("base", made_up(300, seed=1, right=0.6)),
        enter("good", made_up(300, seed=2, right=0.9)),
        enter("bad", made_up(300, seed=3, right=0.1)),
        enter("like", made_up(300, seed=4, right=0.6)),
    ]
    found = compare(entrants, Ask([MACRO, FPR]))
    assert verdicts(found) == {"base": "", "good": "better", "bad": "worse", "like": "no clear difference"}
    assert verdicts(found, FPR)["good"] == "better"
    assert verdicts(found, FPR)["bad"] == "worse"
    assert (found.family, found.rows, found.baseline) == (6, 300, "base")
    contrasts = [item.contrast for metric in (MACRO, FPR) for item in found.standings[metric] if item.contrast]
    ps = [item.p for metric in (MACRO, FPR) for item in found.standings[metric] if item.contrast]
    assert ps == holm([item.p for item in contrasts])
    alone = contrast(*(Judged.of(entrant.answers) for entrant in entrants[:2]), MACRO)
    assert found.standings[MACRO][1].contrast == alone
    best = found.selected[MACRO]
    assert (best.name, best.of) == ("good", 3)
    assert found.selected[FPR].name == "good"
    assert best.optimism == pytest.approx(0, abs=0.005)  # nobody else comes near
    assert default_metrics(entrants) == [MACRO]


def test_rows_in_another_order_are_the_same_rows(enter: Enter) -> None:
    rows = made_up(100, seed=2)
    one = compare([enter("base", made_up(100)), enter("run", rows)], Ask([MACRO]))
    two = compare([enter("base", made_up(100)), enter("run", rows[::-1])], Ask([MACRO]))
    assert one == two
    flipped = enter("run", rows[::-1], heads={"tone": ("hate", "normal")})
    other = compare([enter("base", made_up(100)), flipped], Ask([MACRO, FPR, Metric("tone", "accuracy")]))
    difference = other.standings[MACRO][1].contrast
    expected = one.standings[MACRO][1].contrast
    assert difference.difference == pytest.approx(expected.difference)
    assert difference.discordance == expected.discordance


def test_other_rows_are_refused_with_both_digests(enter: Enter) -> None:
    whole, part = enter("whole", made_up(120)), enter("part", made_up(100), subset="its first 100 rows")
    error = refused([whole, part])
    fault = error.diagnostics[0]
    assert fault.code == "E820"
    for digest in (item.answers.header.digest for item in (whole, part)):
        assert digest.removeprefix("sha256:")[:12] in fault.message
    assert "'part' on 100 rows (test, its first 100 rows" in fault.message
    assert fault.message.endswith("; a part against the whole: the rows of 'part' are among those of 'whole'")
    found = compare([whole, part], Ask([MACRO], intersect=True))
    assert found.rows == 100
    assert found.digest == part.answers.header.digest
    assert found.notes[0] == "rescored on the 100 rows that all runs have"
    assert any("a part against the whole" in note for note in found.notes)
    same = compare([enter("base", made_up(120)[:100]), part], Ask([MACRO]))
    assert found.standings[MACRO][0].figure == same.standings[MACRO][0].figure


def test_rows_with_another_gold_label_are_other_rows(enter: Enter) -> None:
    rows = made_up(60)
    swapped = [
        msgspec.structs.replace(row, gold={"tone": {"hate": "normal", "normal": "hate"}[row.gold["tone"]]})
        for row in rows[:5]
    ]
    error = refused([enter("base", rows), enter("run", [*swapped, *rows[5:]])])
    assert "5 rows in common have another gold label" in error.diagnostics[0].message
    found = compare([enter("base", rows), enter("run", [*swapped, *rows[5:]])], Ask([MACRO], intersect=True))
    assert found.rows == 55
    strangers = [msgspec.structs.replace(row, id=f"other-{row.id}") for row in rows]
    refused([enter("base", rows), enter("run", strangers)], intersect=True)  # there is nothing in common


def test_two_methods_are_two_measurements(enter: Enter) -> None:
    entrants = [
        enter("base", made_up(60), measurement="rank"),
        enter("run", made_up(60, seed=2), measurement="generate"),
    ]
    assert [fault.code for fault in refused(entrants).diagnostics] == ["E821"]
    found = compare(entrants, Ask([MACRO], across_methods=True))
    assert found.notes == ("across methods, so a difference is one of method too: base by rank, run by generate",)


def test_two_policies_need_a_choice(enter: Enter) -> None:
    entrants = [
        enter("base", made_up(80, unreadable=0.2)),
        enter("run", made_up(80, seed=2, unreadable=0.2), unparseable="drop"),
    ]
    assert [fault.code for fault in refused(entrants).diagnostics] == ["E822"]
    values = {}
    for policy in ("wrong", "drop"):
        found = compare(entrants, Ask([MACRO], unparseable=policy))
        assert found.unparseable == policy
        values[policy] = [item.figure.value for item in found.standings[MACRO]]
        assert all(item.coverage.value < 0.95 for item in found.standings[MACRO])
    assert all(dropped > wrong for dropped, wrong in zip(values["drop"], values["wrong"], strict=True))
    strict = compare(entrants, Ask([MACRO], unparseable="error"))
    assert verdicts(strict)["run"] == "not comparable"
    assert "answers could not be read" in strict.standings[MACRO][1].reason


def test_what_cannot_be_compared_is_said(enter: Enter) -> None:
    rows = made_up(60)
    topic = [
        msgspec.structs.replace(row, gold={"topic": "a"}, answers={"raw": {"topic": "a"}}, faults={}, chances={})
        for row in rows
    ]
    grouped = [msgspec.structs.replace(row, groups=("lgbtq",)) for row in rows]
    three = {"tone": ("normal", "offensive", "hate")}
    entrants = [
        enter("base", rows),
        Entrant("gone", None, reason="has no record"),
        enter("topic", topic, heads={"topic": ("a", "b")}),
        enter("three", [msgspec.structs.replace(row, chances={}) for row in rows], heads=three),
        enter("grouped", grouped),
    ]
    metric = parse_metric("tone.fpr[hate]@group=lgbtq")
    found = compare(entrants, Ask([MACRO, metric]))
    assert verdicts(found) == {
        "base": "",
        "gone": "incomplete",
        "topic": "not comparable",
        "three": "not comparable",
        "grouped": "no clear difference",
    }
    reasons = {item.name: item.reason for item in found.standings[metric]}
    assert reasons["gone"] == "has no record"
    assert reasons["topic"] == "it has none of the baseline's heads"
    assert "other labels: normal, offensive, hate" in reasons["three"]
    assert reasons["grouped"] == "its rows are in other groups"
    assert found.family == 1


def test_two_heads_are_drawn_together(enter: Enter) -> None:
    heads = {"tone": ("normal", "hate"), "topic": ("a", "b", "c")}
    entrants = [
        enter(name, made_up(150, seed=seed, heads=heads), heads=heads) for seed, name in enumerate(("base", "run"))
    ]
    metrics = default_metrics(entrants)
    assert list(map(str, metrics)) == ["overall.f1_macro", "tone.f1_macro", "topic.f1_macro"]
    found = compare(entrants, Ask(metrics))
    overall, tone, topic = (found.standings[metric][1].contrast for metric in metrics)
    assert overall.difference == pytest.approx((tone.difference + topic.difference) / 2)
    assert overall.error < (tone.error + topic.error) / 2


def test_verdicts_are_fixed_words() -> None:
    def found(difference: float, low: float, high: float) -> Contrast:
        return Contrast(difference, Interval(low, high, "paired bootstrap"), 0.01, 0.5, Discordance(1, 2, 1.0))

    for difference, low, high, p, margin, word in (
        (0.03, 0.01, 0.05, 0.01, None, "better"),
        (-0.03, -0.05, -0.01, 0.01, None, "worse"),
        (0.03, -0.01, 0.05, 0.2, None, "no clear difference"),
        (0.001, -0.004, 0.006, 0.7, 0.01, "within ±0.01"),
        (0.004, 0.001, 0.006, 0.001, 0.01, "within ±0.01"),
        (0.004, 0.001, 0.012, 0.001, 0.01, "better"),
        (0.0, 0.0, 0.0, 1.0, None, "no clear difference"),
    ):
        assert verdict(found(difference, low, high), p, MACRO, margin) == word
    assert verdict(found(0.03, 0.01, 0.05), 0.01, FPR) == "worse"


def test_of_runs_that_score_the_same_none_is_selected(enter: Enter) -> None:
    rows = made_up(60, seed=2, right=0.6)
    found = compare([enter(name, rows) for name in ("base", "same", "like")], Ask([MACRO]))
    assert found.selected == {}
    assert "  right on the very rows on which the baseline is: same, like" in text(found, 120)
    other = compare([enter("base", rows), enter("same", rows), enter("good", made_up(60, seed=3))], Ask([MACRO]))
    assert [item.name for item in other.selected.values()] == ["good"]


def test_long_names_fit_a_terminal_and_are_told_apart(enter: Enter) -> None:
    names = ["plain", *(f"strategy_v{number}.prompt-{word}_examples" for number, word in enumerate(("few", "some")))]
    found = compare([enter(n, made_up(60, seed=s, clusters=9)) for s, n in enumerate(names)], Ask([MACRO]))
    wide, narrow = text(found, 200), text(found, 78)
    assert all(any(line.startswith(f"  {name} ") for line in wide) for name in names)
    assert max(map(len, narrow)) <= 78
    assert sum("…v0" not in line and "_examples " in line and "…" in line for line in narrow) == 2
    assert not any("McNemar  " in line for line in wide)  # rows in clusters have none
    whole = text(compare([enter(n, made_up(60, seed=s)) for s, n in enumerate(names)], Ask([MACRO])), 200)
    assert any("McNemar  " in line for line in whole)
