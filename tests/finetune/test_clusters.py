"""A fine-tune on rows that hang together: its table, its gates, its card and `hsdc compare` have the same intervals."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from hsdc.__main__ import main
from hsdc.scores_view import scores
from hsdc_schemas.record import counts_of
from hsdc_schemas.resampling import interval
from hsdc_schemas.scores import Counts, parse_metric
from tests.finetune.test_run import facts, record_of

GATES = ("f1_macro >= 0.1", "fpr[hate] <= 1.0e-9", "accuracy@group=some >= 0.1")


@pytest.fixture(scope="module")
def clustered(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fine-tune of one epoch, its rows in threads of four."""
    root = Path(shutil.copytree(compiled, tmp_path_factory.mktemp("clustered") / "project"))
    for path in (root / "data").glob("*.json"):
        rows = json.loads(path.read_text())
        path.write_text(json.dumps([row | {"thread": f"t{number // 4}"} for number, row in enumerate(rows)]))
    dataset, tune = root / "specs/datasets/posts.yaml", root / "specs/tune.yaml"
    text = dataset.read_text().replace("label, groups]", "label, groups, thread]")
    dataset.write_text(text + "cluster: thread\n")
    gates = ", ".join(f'"{gate}"' for gate in GATES)
    spec = tune.read_text().replace("epochs: 3", "epochs: 1").partition("  gates: ")[0]
    tune.write_text(f"{spec}  gates: [{gates}]\n")
    before = Path.cwd()
    os.chdir(root)
    try:
        assert main(["compile"]) == 0
        assert main(["run", "tune"]) in (0, 1)
    finally:
        os.chdir(before)
    return root


def test_tables_gates_card_and_comparison_have_the_same_intervals(
    clustered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clustered)
    record = record_of(clustered)
    counts = counts_of(record)
    for gate in record.gates:
        found = interval(counts["adapter"], parse_metric(gate.gate.split()[0]))
        assert (gate.low, gate.high) == (found.low, found.high), gate.gate
    capsys.readouterr()
    assert main(["compare", "tune", "tune:base", "--metric", "f1_macro", "--json"]) == 0
    (compared,) = json.loads(capsys.readouterr().out)["metrics"]
    table = [" ".join(line.split()) for line in scores(record)]
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out/README.md").read_text()
    macro = parse_metric("label.f1_macro")
    cells = []
    for (variant, held), run, name in zip(counts.items(), compared["runs"], ("with", "without"), strict=True):
        found = interval(held, macro)
        assert (run["interval"]["low"], run["interval"]["high"]) == (found.low, found.high), variant
        assert run["interval"]["method"] == found.method == "clustered bootstrap"
        assert interval(Counts(held.whole), macro) != found, "or this would show nothing"
        value = held.figure(macro).value
        told = f"{name} the adapter label 100 % {value:.4f} {found.low:.2f} to {found.high:.2f} "
        assert any(line.startswith(told) for line in table), told
        cells.append(f"{value:.4f} | {found.low:.3f} to {found.high:.3f}")
    assert f"| `label.f1_macro` | {' | '.join(cells)} |" in card


def test_table_and_card_say_over_how_many_clusters(
    clustered: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "intervals over 6 clusters, whose rows are not independent"
    assert facts(clustered, "score")["clusters"] == 6
    assert scores(record_of(clustered))[1] == f"  {said}"
    monkeypatch.chdir(clustered)
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 0
    assert f"answers that cannot be read: `wrong`; {said}." in (tmp_path / "out/README.md").read_text()
    assert not any("clusters" in line for line in scores(record_of(finished)))
    assert not {"clusters", "intervals"} & facts(finished, "score").keys()
