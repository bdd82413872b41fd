"""Encoders on rows that hang together: the record holds the intervals of all its heads, variants and slices."""

from __future__ import annotations

from pathlib import Path

from tiny_project import edit, record, stored

from hsdc.scores_view import scores
from hsdc_schemas.answers import load_answers
from hsdc_schemas.clustered import tabled
from hsdc_schemas.judged import Judged
from hsdc_schemas.manifest import load_sealed
from hsdc_schemas.record import Record, counts_of
from hsdc_schemas.resampling import interval

GATES = '  gates: ["overall.f1_macro >= 0.01", "stance.fpr[partisan] <= 0.99"]\n'


def _in_threads(root: Path) -> None:
    for path in (root / "data").glob("*.csv"):
        head, *lines = path.read_text().splitlines()
        threads = [f"{line},t{number // 5}" for number, line in enumerate(lines)]
        path.write_text("\n".join([f"{head},thread", *threads]) + "\n")
    for path in (root / "specs/datasets").glob("*.yaml"):
        text = path.read_text().replace("sentiment, stance]", "sentiment, stance, thread]")
        path.write_text(f"{text}cluster: thread\n")


def test_every_interval_of_a_record_is_over_clusters(fresh: Path, hsdc) -> None:
    _in_threads(fresh)
    edit(fresh, "base", "  cross_slices: true\n", f"  cross_slices: true\n{GATES}")
    edit(fresh, "base", "epochs: 5", "epochs: 2")
    assert hsdc("compile", "base").code == 0
    told = hsdc("run", "base").out
    path = "generated/demo/base.record.json"
    found = load_sealed(fresh / path, path, Record)
    assert "  intervals over 12 clusters, whose rows are not independent\n" in told
    assert "\n".join(scores(found)) in told
    counts = counts_of(found)
    assert list(counts) == ["raw", "calibrated", "tuned"]
    answers = load_answers(stored(fresh, record(fresh, "base"), "score", "answers"), "answers")
    for variant, held in counts.items():
        metrics, run = list(tabled(held)), Judged.of(answers, variant)
        assert {metric.slice for metric in metrics} >= {None, "stance=partisan", "sentiment=neutral"}
        assert [interval(held, metric) for metric in metrics] == run.intervals(metrics)
    for gate, name in zip(found.gates, ("overall.f1_macro", "stance.fpr[partisan]"), strict=True):
        metric = next(metric for metric in tabled(counts["raw"]) if str(metric) == name)
        assert (gate.low, gate.high) == (interval(counts["raw"], metric).low, interval(counts["raw"], metric).high)


def test_keys_tell_rows_that_hang_together_from_others(fresh: Path, hsdc) -> None:
    """What was scored before, as if they did not, is scored anew; other runs keep their keys."""
    from hsdc_schemas.kinds import stages_of
    from hsdc_schemas.manifest import Manifest
    from hsdc_schemas.tables import CLUSTERED, ENCODER

    path = "generated/demo/base.lock.json"
    manifest = load_sealed(fresh / path, path, Manifest)
    assert stages_of(manifest.experiment, manifest.execution) == ENCODER
    _in_threads(fresh)
    assert hsdc("compile", "base").code == 0
    manifest = load_sealed(fresh / path, path, Manifest)
    *others, last = stages_of(manifest.experiment, manifest.execution)
    assert tuple(others) == ENCODER[:-1]
    assert last.revision == ENCODER[-1].revision + CLUSTERED
