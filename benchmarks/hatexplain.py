"""The packaged encoder fine-tuned on HateXplain's three classes, with intervals, beside the published BERT row."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.processes import spend
from benchmarks.results import Result, Table
from benchmarks.workspace import workspace
from hsdc_runtime.store import Store
from hsdc_schemas.answers import load_answers
from hsdc_schemas.judged import Judged
from hsdc_schemas.metrics import parse_metric
from hsdc_schemas.record import Record

RUN = "hatexplain"
PUBLISHED = {"label.accuracy": 0.690, "label.f1_macro": 0.674, "toxic.auroc[toxic]": 0.843}
METRICS = (*PUBLISHED, *(f"toxic.{name}[toxic]" for name in ("subgroup_auc", "bpsn_auc", "bnsp_auc")))
GROUPS = ("African", "Islam", "Jewish", "Homosexual", "Women", "Refugee", "Arab", "Caucasian", "Asian", "Hispanic")
DATASET = """\
hsdc: 1
dataset: hatexplain_three
title: HateXplain, three classes, and whether a post is toxic
license: MIT
format: json
splits:
  train: local:hate/unified_train.json
  validation: local:hate/unified_val.json
  test: local:hate/unified_test.json
columns: [id, text, label, groups, source, split]
labels: {label: label, toxic: label}
values: {toxic: {hatespeech: toxic, offensive: toxic, normal: normal}}
groups:
"""
SPEC = """\
hsdc: 1
run: hatexplain
kind: encoder
dataset: {use: hatexplain_three}
model: {use: minilm}
encoder: {pooling: mean, max_length: 128}
head: {layers: 2, hidden: 384, dropout: 0.1}
heads:
  label:
    labels: [hatespeech, offensive, normal]
    loss: {kind: cross_entropy, label_smoothing: 0.05}
    class_weights: {kind: equal}
  toxic:
    labels: [toxic, normal]
    loss: {kind: cross_entropy, label_smoothing: 0.05}
    class_weights: {kind: equal}
sampling: {kind: shuffle}
training:
  epochs: 2
  learning_rate: 1.0e-4
  schedule: {kind: linear, warmup_ratio: 0.1}
  optimizer: {kind: adamw, weight_decay: 0.01}
  layer_decay: 0.9
  head_multiplier: 3.0
  rows_per_step: 32
  tokens_per_micro_batch: 4096
  max_grad_norm: 1.0
  best_metric: label.f1_macro
evaluation: {fit_split: validation, score_split: test}
"""


def run(*, quick: bool, data: Path | None) -> Result:
    """Train on the folder that `data` names (unified_train.json, …); `quick` takes a few steps."""
    if data is None:
        raise SystemExit("name the folder of HateXplain's three files: --data DIR")
    with workspace({"hate": data}) as root:
        for path in (root / "specs").glob("*.yaml"):
            path.unlink()
        (root / f"specs/{RUN}.yaml").write_text(SPEC.replace("epochs: 2", "epochs: 1") if quick else SPEC, "utf-8")
        groups = "".join(f"  {name.lower()}: {{column: groups, values: [{name}]}}\n" for name in GROUPS)
        (root / "specs/datasets/hatexplain_three.yaml").write_text(DATASET + groups, "utf-8")
        profile = "hsdc: 1\nprofile: demo\nexecution: {threads: 1" + (", limits: {steps: 20}" if quick else "") + "}\n"
        (root / "specs/profiles/demo.yaml").write_text(profile, "utf-8")
        spend(["-m", "hsdc", "compile"], root)
        ran = spend(["-m", "hsdc", "run", RUN], root, loud=True)
        record = Record.model_validate_json((root / f"generated/demo/{RUN}.record.json").read_bytes())
        answers = next(stage for stage in record.stages if stage.name == "score").outputs["answers"]
        judged = Judged.of(load_answers(Store(root).take(answers.object), "the answers"))
        figures = {name: _figure(judged, name) for name in METRICS}
    rows = tuple(
        (name, _shown(value), f"{_shown(low)} to {_shown(high)}", _shown(PUBLISHED.get(name)))
        for name, (value, low, high) in figures.items()
    )
    columns = ("metric, test split", "all-MiniLM-L6-v2, 22.7 M", "95 % interval", "BERT base, 110 M, as published")
    return Result(
        name="hatexplain",
        command="python -m benchmarks hatexplain --data DIR",
        compared="one run of kind encoder from pretrained weights, its epoch chosen on the validation split",
        tables=(Table("HateXplain, 1,924 test rows", columns, rows, text=(0, 2)),),
        required=(),
        figures={"figures": figures, "cpu_seconds": ran.cpu, "stages": json.loads(record.model_dump_json())["stages"]},
        notes=(
            f"CPU time of the run: {ran.cpu:.0f} s on one thread. One seed; the published row is one figure as well.",
            "Areas are of the head `toxic`; bias areas are the power mean (-5) over the ten groups with most rows.",
            "– is an interval that resampling cannot give, where a group has too few rows of a kind.",
            "The published figures are Mathew et al. 2021, without intervals; preprocessing and model differ.",
        ),
    )


def _figure(judged: Judged, name: str) -> tuple[float | None, float | None, float | None]:
    metric = parse_metric(name)
    found = judged.interval(metric)
    return judged.figure(metric).value, found.low, found.high


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
