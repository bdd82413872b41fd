"""A project in a folder, small enough to be run in a second or two: a tiny BERT, rows that can be learnt, specs."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

SENTIMENTS = {"negative": ("awful", "bad", "poor"), "neutral": ("plain", "usual"), "positive": ("good", "lovely")}
STANCES = {"objective": ("figure", "report"), "partisan": ("party", "rally", "slogan")}
FILLING = tuple(f"word{number}" for number in range(20))
SIZES = {"train": 120, "validation": 60, "test": 60}
PACKAGES = ("accelerate", "numpy", "peft", "safetensors", "scipy", "tokenizers", "torch", "transformers")

BASE = """\
hsdc: 1
run: base
title: The run that the others come from
kind: encoder
dataset: {use: rows}
model: {use: tiny}
encoder: {pooling: last4_mean, max_length: 12}
head: {layers: 2, hidden: 32, dropout: 0.1}
heads:
  sentiment:
    labels: [negative, neutral, positive]
    loss: {kind: focal, gamma: 1.0, label_smoothing: 0.05}
    class_weights: {kind: balanced, multipliers: {neutral: 1.2}, cap: 5.0}
  stance:
    labels: [objective, partisan]
    weight: 1.3
    loss: {kind: focal, gamma: 1.0}
    class_weights: {kind: equal}
sampling:
  kind: joint_oversampling
  alpha: 0.7
  max_multiplier: 4.0
  boosts: {sentiment: {neutral: 1.5}}
training:
  epochs: 5
  learning_rate: 5.0e-3
  schedule: {kind: linear, warmup_ratio: 0.1}
  optimizer: {kind: adamw, weight_decay: 0.01}
  layer_decay: 0.9
  head_multiplier: 2.0
  rows_per_step: 24
  tokens_per_micro_batch: 256
  max_grad_norm: 1.0
  r_drop: {alpha: 0.3, warmup_epochs: 1}
  best_metric: overall.f1_macro
  early_stopping: {patience: 6}
  seed: 42
evaluation:
  calibration: {kind: bias_and_temperature}
  thresholds: {kind: grid, low: 0.3, high: 0.7, steps: 9}
  cross_slices: true
"""

SPECS = {
    "base": BASE,
    "warmer": """\
hsdc: 1
run: warmer
extends: base
budget: 1
why: Larger steps.
change: {training: {learning_rate: 8.0e-3}}
""",
    "other_seed": """\
hsdc: 1
run: other_seed
extends: base
budget: 0
why: Another seed.
change: {training: {seed: 43}}
""",
    "again": """\
hsdc: 1
run: again
extends: base
budget: 0
why: Show that it can be had again.
reproduces: {run: base, metric: overall.f1_macro, reported: 0.5, within: 0.5}
""",
    "far": """\
hsdc: 1
run: far
extends: base
budget: 0
why: Show that it can be had again.
reproduces: {run: base, metric: overall.f1_macro, reported: 0.01, within: 0.001}
""",
}

DATASET = """\
hsdc: 1
dataset: {name}
format: csv
splits: {{train: "file:data/train.csv", validation: "file:data/validation.csv", test: "file:data/test.csv"}}
columns: [id, text, sentiment, stance]
labels: {{sentiment: sentiment, stance: stance}}
blank: mask
"""

DEMO = "hsdc: 1\nprofile: demo\nbind: {dataset: {rows: sample}}\nexecution: {device: cpu, threads: 1}\n"
PLAIN = "hsdc: 1\nprofile: plain\nexecution: {device: cpu, threads: 1}\n"


def build(root: Path) -> None:
    """Write the whole project."""
    files = {f"specs/{name}.yaml": text for name, text in SPECS.items()}
    files |= {f"specs/datasets/{name}.yaml": DATASET.format(name=name) for name in ("rows", "sample")}
    files["specs/models/tiny.yaml"] = "hsdc: 1\nmodel: tiny\nsource: file:model\n"
    files |= {"specs/profiles/demo.yaml": DEMO, "specs/profiles/plain.yaml": PLAIN}
    files["locks/runtime.txt"] = "".join(f"{name}=={metadata.version(name)}\n" for name in PACKAGES)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    write_rows(root)
    _model(root / "model")


def write_rows(root: Path, *, one_label: bool = False) -> None:
    """Rows whose labels follow from their words; with `one_label`, every row has one of the two and a blank."""
    (root / "data").mkdir(exist_ok=True)
    source = random.Random(5)
    for split, size in SIZES.items():
        lines = ["id,text,sentiment,stance"]
        for number in range(size):
            sentiment = source.choices(tuple(SENTIMENTS), (3, 2, 4))[0]
            stance = source.choices(tuple(STANCES), (2, 3))[0]
            words = [*source.choices(SENTIMENTS[sentiment], k=2), *source.choices(STANCES[stance], k=2)]
            words += source.choices(FILLING, k=source.randint(0, 5))
            source.shuffle(words)
            if one_label:
                sentiment, stance = (sentiment, "") if number % 2 else ("", stance)
            lines.append(f"{split}-{number},{' '.join(words)},{sentiment},{stance}")
        (root / "data" / f"{split}.csv").write_text("\n".join(lines) + "\n")


def _model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = [word for table in (SENTIMENTS, STANCES) for group in table.values() for word in group]
    tokens = {token: place for place, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *FILLING))}
    tokenizer = Tokenizer(models.WordPiece(tokens, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", tokens["[CLS]"]), ("[SEP]", tokens["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    torch.manual_seed(3)
    BertModel(config).save_pretrained(folder)


def edit(root: Path, run: str, old: str, new: str) -> None:
    """Replace what occurs once in a run's spec."""
    path = root / "specs" / f"{run}.yaml"
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new))


def spec(root: Path, name: str, text: str) -> None:
    """Add a run that extends `base`."""
    (root / "specs" / f"{name}.yaml").write_text(f"hsdc: 1\nrun: {name}\nextends: base\nwhy: A test.\n{text}")


def record(root: Path, run: str, profile: str = "demo") -> dict:
    """A record as JSON values, read without the project's own code."""
    return json.loads((root / "generated" / profile / f"{run}.record.json").read_bytes())


def digests(found: Mapping) -> dict[str, dict[str, str]]:
    """Content digests of every output of every stage of a record."""
    return {
        stage["name"]: {name: output["digest"] for name, output in stage["outputs"].items()}
        for stage in found["stages"]
    }


def stored(root: Path, found: Mapping, stage: str, output: str) -> Path:
    """Where the object of an output is."""
    artifact = next(item for item in found["stages"] if item["name"] == stage)["outputs"][output]
    name = artifact["object"].removeprefix("sha256:")
    return root / ".hsdc/store/objects" / name[:2] / name[2:]


def action_file(root: Path, found: Mapping, stage: str) -> Path:
    """Where the store notes what a stage made."""
    key = next(item for item in found["stages"] if item["name"] == stage)["key"]
    return root / ".hsdc/store/actions" / f"{key.removeprefix('sha256:')}.json"


def command_of_its_own(root: str, arguments: list[str], output: str) -> None:
    """The command in a process of its own, its output in a file; leaves with its exit code."""
    os.chdir(root)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    from hsdc.__main__ import main

    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
