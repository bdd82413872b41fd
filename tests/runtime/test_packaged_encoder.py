"""The shipped campaign on the packaged encoder, a few steps of it: real weights, from spec to verdict."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hsdc.__main__ import main
from hsdc_schemas.manifest import load_sealed
from hsdc_schemas.places import record_path
from hsdc_schemas.record import Record

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("specs", "data", "locks"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    profile = tmp_path / "specs/profiles/demo.yaml"
    short = profile.read_text().replace("{epochs: 6}", "{epochs: 1, steps: 2, rows: 96}")
    assert "steps: 2" in short
    profile.write_text(short)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_run_4_and_run_8_on_real_weights(campaign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile"]) == 0
    assert main(["run", "run8_restore_r4", "--allow-environment"]) == 0  # brings run 4 first
    out = capsys.readouterr().out
    assert "verdict  identical: run8_restore_r4 reproduces run4" in out
    assert "reported overall.f1_macro 0.6206: not comparable" in out
    four, eight = (load_sealed(campaign / record_path("demo", run), run, Record) for run in ("run4", "run8_restore_r4"))
    assert eight.reproduction is not None
    assert eight.reproduction.executed == ("train", "predict", "calibrate", "thresholds", "score")
    assert [stage.outputs for stage in eight.stages] == [stage.outputs for stage in four.stages]
    train = four.stages[1].facts
    assert train["parameters"] > 20_000_000
    assert (train["steps"], train["rows"]) == (2, 96)
    assert 0 < train["real_tokens"] <= train["padded_tokens"]
    assert four.rows["train"].read == four.rows["train"].kept == 96
