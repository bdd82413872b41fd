"""`hsdc compare` on finished runs: its figures are the record's, and what it cannot compare it says or refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tiny_project import edit, record, stored

from hsdc.commands import compare as command
from hsdc_schemas.alignment import Entrant
from hsdc_schemas.answers import load_answers, tally
from hsdc_schemas.scores import Confusion
from tests.schemas.answered import HEADS, held, made_up


def test_the_answers_of_a_run_are_its_rows_decisions_and_counts(finished: Path) -> None:
    base = record(finished, "base")
    answers = load_answers(stored(finished, base, "score", "answers"), "answers")
    header = answers.header
    assert (header.split, header.subset, header.measurement, header.rows) == ("test", None, "encoder", 60)
    assert header.variants == ("raw", "calibrated", "tuned")
    facts = next(stage["facts"] for stage in base["stages"] if stage["name"] == "score")
    assert (facts["rows"], facts["measurement"]) == (header.digest, "encoder")
    lines = [line.split(",") for line in (finished / "data/test.csv").read_text().splitlines()[1:]]
    assert [row.id for row in answers.rows] == [line[0] for line in lines]
    assert [row.gold for row in answers.rows] == [{"sentiment": line[2], "stance": line[3]} for line in lines]
    assert tally(header, answers.rows, across=True) == base["scores"]
    logits = load_file(stored(finished, base, "predict", "logits"))["test/logits/stance"]
    for row, values in zip(answers.rows, logits, strict=True):
        chances = dict(zip(header.heads["stance"], row.chances["raw"]["stance"], strict=True))
        assert row.answers["raw"]["stance"] == max(chances, key=chances.get)
        odds = row.chances["raw"]["stance"][1] / row.chances["raw"]["stance"][0]
        assert odds == pytest.approx(float(2.718281828 ** (values[1] - values[0])), rel=1e-4)


def test_variants_of_a_run_are_compared(project: Path, hsdc) -> None:
    answer = hsdc("compare", "base", "base:calibrated", "base:tuned", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    scores = record(project, "base")["scores"]
    assert (found["version"], found["rows"], found["family"]) == (1, 60, 6)
    metrics = {item["metric"]: item["runs"] for item in found["metrics"]}
    assert list(metrics) == ["overall.f1_macro", "sentiment.f1_macro", "stance.f1_macro"]
    for name, variant in (("base", "raw"), ("base:calibrated", "calibrated"), ("base:tuned", "tuned")):
        item = next(run for run in metrics["sentiment.f1_macro"] if run["run"] == name)
        assert item["value"] == Confusion.from_json(scores[variant]["all"]["sentiment"]).f1_macro().value
        assert item["coverage"] == 1.0
        assert item["interval"]["low"] <= item["value"] <= item["interval"]["high"]
    assert hsdc("compare", "base", "base:calibrated", "base:tuned", "--json").out == answer.out


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_a_terminal(project: Path, hsdc, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    answer = hsdc("compare", "base", "base:tuned", "--metric", "stance.f1_macro", "--margin", "0.9")
    assert answer.code == 0
    assert "within ±0.9" in answer.out
    assert "baseline" in answer.out
    tables = answer.out.split("differences are paired")[0]
    assert max(map(len, tables.splitlines())) <= width
    assert tables.count("  run ") == (2 if width == 80 else 1)


def test_markdown_has_one_table_for_each_metric(project: Path, hsdc) -> None:
    answer = hsdc("compare", "base", "base:tuned", "--markdown")
    lines = answer.out.splitlines()
    assert lines[0].startswith("### compared with base on test: 60 rows")
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3 * 4
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_a_run_without_a_record_is_incomplete(project: Path, hsdc) -> None:
    answer = hsdc("compare", "base", "warmer")
    assert answer.code == 0
    assert "incomplete" in answer.out
    assert "warmer: has no record" in answer.out
    answer = hsdc("compare", "warmer", "base")
    assert (answer.code, "error[E823]" in answer.err) == (4, True)


def test_a_matrix_stands_for_its_runs_and_a_former_record_is_told(project: Path, hsdc) -> None:
    folder = project / "generated/demo"
    for name in ("sweep.seed-13", "sweep.seed-14"):
        shutil.copyfile(folder / "base.record.json", folder / f"{name}.record.json")
    edit(project, "base", "epochs: 5", "epochs: 4")
    assert hsdc("compile", "--supersede").code == 0
    shutil.copyfile(folder / "sweep.seed-13.record.json", folder / "base.record.json")
    answer = hsdc("compare", "base", "sweep:tuned", "--json")
    assert answer.code == 0
    runs = [item["run"] for item in json.loads(answer.out)["metrics"][0]["runs"]]
    assert runs == ["base", "sweep.seed-13:tuned", "sweep.seed-14:tuned"]
    assert answer.err == "note: the record of base is of a former manifest\n"


def test_answers_that_the_store_lost_are_said_to_be_gone(project: Path, hsdc) -> None:
    path = stored(project, record(project, "base"), "score", "answers")
    text = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(text.replace(b"positive", b"negative", 1))
    answer = hsdc("compare", "base", "base:tuned")
    assert (answer.code, answer.out) == (4, "")
    assert "its bytes have changed" in answer.err
    path.unlink()
    assert "it is not in the store" in hsdc("compare", "base", "base:tuned").err
    assert hsdc("run", "base").code == 0  # made anew
    assert hsdc("compare", "base", "base:tuned").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("base",), "E000", "compares with nothing"),
        (("base", "base"), "E000", "named twice"),
        (("base", "bose"), "E004", "did you mean 'base'"),
        (("base", "base:tunde"), "E004", "did you mean 'tuned'"),
        (("base", "base:tuned", "--metric", "f1_macro"), "E708", "does not say of which head"),
        (("base", "base:tuned", "--metric", "stance.fpr[partizan]"), "E708", "did you mean 'partisan'"),
    ],
)
def test_wrong_calls_are_refused(project: Path, hsdc, arguments: tuple[str, ...], code: str, words: str) -> None:
    answer = hsdc("compare", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert f"error[{code}]" in answer.err
    assert words in answer.err


@pytest.mark.parametrize("option", [("--margin", "0"), ("--margin", "x"), ("--unparseable", "ignore"), ("Base",)])
def test_wrong_options_are_refused(project: Path, hsdc, option: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        hsdc("compare", "base", "base:tuned", *option)
    assert stopped.value.code == 2


def test_other_rows_and_methods_are_exit_3(
    project: Path, hsdc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entrants = {
        "base": held(tmp_path, made_up(120), heads=HEADS, measurement="rank"),
        "base:tuned": held(tmp_path, made_up(100, seed=2), heads=HEADS, measurement="generate"),
    }
    monkeypatch.setattr(command, "_entrant", lambda root, profile, name: Entrant(name, entrants[name]))
    answer = hsdc("compare", "base", "base:tuned")
    assert (answer.code, answer.out) == (3, "")
    assert "error[E820]" in answer.err
    assert "error[E821]" in answer.err
    assert "a part against the whole" in answer.err
    answer = hsdc("compare", "base", "base:tuned", "--intersect", "--across-methods")
    assert answer.code == 0
    assert "rescored on the 100 rows that all runs have" in answer.out
    assert "across methods" in answer.out


def test_an_encoder_is_scored_by_group_and_drawn_by_cluster(fresh: Path, hsdc) -> None:
    for path in (fresh / "data").glob("*.csv"):
        header, *lines = path.read_text().splitlines()
        more = [f"{line},{'north;south' if n % 3 else 'south'},writer{n // 4}" for n, line in enumerate(lines)]
        path.write_text("\n".join([f"{header},place,writer", *more]) + "\n")
    for path in (fresh / "specs/datasets").glob("*.yaml"):
        text = path.read_text().replace("sentiment, stance]", "sentiment, stance, place, writer]")
        groups = "{north: {column: place, values: [north]}, nowhere: {column: place, values: [none]}}"
        path.write_text(f"{text}groups: {groups}\ncluster: writer\n")
    edit(fresh, "base", "epochs: 5", "epochs: 2")
    assert hsdc("compile").code == 0
    shown = hsdc("run", "base")
    assert shown.code == 0, shown.err
    base = record(fresh, "base")
    answers = load_answers(stored(fresh, base, "score", "answers"), "answers")
    assert [row.groups for row in answers.rows] == [("north",) if n % 3 else () for n in range(60)]
    assert [row.cluster for row in answers.rows] == [f"writer{n // 4}" for n in range(60)]
    assert {name for name in base["scores"]["raw"] if name.startswith("group=")} == {"group=north"}
    assert sum(map(sum, base["scores"]["raw"]["group=north"]["stance"]["counts"])) == 40
    assert "north" in shown.out
    found = json.loads(
        hsdc("compare", "base", "base:tuned", "--metric", "stance.fpr[partisan]@group=north", "--json").out
    )
    (first, second) = found["metrics"][0]["runs"]
    assert first["interval"]["method"] == "clustered bootstrap"
    assert second["difference"]["mcnemar"]["p"] is None
