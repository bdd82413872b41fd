"""A fine-tune whose answers say a number: from rows to replies, the record's figures, the verdict and the card."""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from hsdc.__main__ import main
from hsdc_runtime.nn.examples import load_examples
from tests.finetune.conftest import inside
from tests.finetune.project import write
from tests.finetune.test_run import facts, output, record_of

GATES = (
    "coverage[score] >= 0.3",
    "mean[score] >= 0.5",
    "std[score] <= 0.4",
    "mae[score] <= 0.01",
    "delta.mean[score] >= 0.5",
)
CHANGES = {
    "specs/datasets/posts.yaml": (
        ("label, groups]", "label, groups, score]"),
        ("groups:", "fields: {score: score}\ngroups:"),
    ),
    "specs/prompts/plain.yaml": (
        ("{kind: label}", "{kind: json, field: it, numbers: {score: {minimum: 0, maximum: 1}}}"),
    ),
    "specs/tune.yaml": (
        ("method: rank, allows: [generate]", "method: generate"),
        ("max_tokens: 4}", "max_tokens: 40, sample: true}"),
        ("[all-linear]}", "[all-linear], saves: [lm_head]}"),
        ("epochs: 3", "epochs: 14"),
        ('gates: ["f1_macro >= 0.1", "delta.f1_macro >= -0.5"]', f"gates: {json.dumps(GATES)}"),
    ),
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write(tmp_path_factory.mktemp("scored") / "project")
    for path, changes in CHANGES.items():
        text = (root / path).read_text()
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (root / path).write_text(text)
    source = random.Random(5)
    for path in (root / "data").iterdir():
        rows = json.loads(path.read_text())
        scores = [0.9, 0.8, None] if path.stem == "test" else [0.9, 0.8]
        path.write_text(json.dumps([{**row, "score": source.choice(scores)} for row in rows]))
    return inside(root, lambda: main(["compile"]) == 0 and main(["run", "tune"]) in (0, 1) and root)


def replies(root: Path, stage: str) -> dict[str, Any]:
    """What the json module makes of each reply, None where it makes no object with a label and a number of it."""
    found = {}
    for line in output(root, stage, "replies").read_text().splitlines():
        reply = json.loads(line)
        try:
            said = json.loads(reply["text"])
            found[reply["id"]] = said["score"] if said["it"] in ("hate", "normal") else None
        except (ValueError, KeyError, TypeError):
            found[reply["id"]] = None
    return found


def test_the_number_is_taught(scored: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer, data = (
        AutoTokenizer.from_pretrained(scored / "model"),
        load_examples(output(scored, "examples", "examples"), "train")[0],
    )
    rows = {row["id"]: row for row in json.loads((scored / "data/train.json").read_text())}
    for number, name in enumerate(data.ids):
        taught = tokenizer.decode(data.of(number)[data.starts[number] :])
        assert taught == f'{{"it": "{rows[name]["label"]}", "score": {rows[name]["score"]}}}</s>\n'


def test_figures_and_gates_are_those_of_the_replies(scored: Path) -> None:
    said = {name: value for name, value in replies(scored, "generate_adapter").items() if value is not None}
    assert 0.3 * 24 < len(said) < 24, "or this would show less"
    right = {row["id"]: row["score"] for row in json.loads((scored / "data/test.json").read_text()) if row["score"]}
    expected = {
        "coverage": len(said) / 24,
        "mean": statistics.mean(said.values()),
        "std": statistics.stdev(said.values()),
        "mae": statistics.mean(abs(said[name] - right[name]) for name in said.keys() & right.keys()),
    }
    found = facts(scored, "score")["numbers"]
    assert {name: found["adapter"][f"label.{name}[score]"]["value"] for name in expected} == pytest.approx(expected)
    assert not any(value is not None for value in replies(scored, "generate").values()), "before, it says nothing"
    assert found["base"]["label.coverage[score]"]["value"] == 0.0
    assert found["base"]["label.mean[score]"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "no answer says the number",
    }
    verdicts = {gate.gate: gate for gate in record_of(scored).gates}
    assert [gate.outcome for gate in verdicts.values()] == ["pass", "pass", "pass", "fail", "undecided"]
    assert verdicts["label.mean[score] >= 0.5"].value == pytest.approx(expected["mean"])
    assert verdicts["label.mean[score] >= 0.5"].low < expected["mean"] < verdicts["label.mean[score] >= 0.5"].high
    assert "undefined in the baseline" in verdicts["delta.label.mean[score] >= 0.5"].note


def test_they_are_printed_and_on_the_card(
    scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(scored)
    main(["run", "tune"])
    told = capsys.readouterr().out
    mean = facts(scored, "score")["numbers"]["adapter"]["label.mean[score]"]
    row = next(line.split() for line in told.splitlines() if line.strip().startswith("label.mean[score]"))
    assert row == [
        "label.mean[score]",
        "with",
        "the",
        "adapter",
        f"{mean['value']:.4f}",
        f"{mean['low']:.2f}",
        "to",
        f"{mean['high']:.2f}",
    ]
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 0
    card = (tmp_path / "out/README.md").read_text()
    bounds = f"{mean['low']:.3f} to {mean['high']:.3f}"
    assert f"| `label.mean[score]` | {mean['value']:.4f} | {bounds} | – | – |" in card
    assert f"| `label.mean[score] >= 0.5` | pass | {mean['value']:.4f} | {bounds} |" in card
    capsys.readouterr()
    assert main(["compare", "tune:base", "tune:adapter", "--metric", "coverage[score]", "--metric", "mean[score]"]) == 0
    told = capsys.readouterr().out
    assert "coverage[score]" in told
    assert "not comparable" in told
