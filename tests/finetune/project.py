"""A project with a run that fine-tunes a tiny Llama: three of four rows are normal, which it does not know before."""

from __future__ import annotations

import json
import random
from importlib import metadata
from pathlib import Path

from tests.nn.tiny_causal import WORDS, build

LABELS = ("hate", "normal")
SIZES = {"train": 40, "validation": 12, "test": 24}
PACKAGES = ("accelerate", "jinja2", "numpy", "peft", "safetensors", "tokenizers", "torch", "transformers")
TUNE = """\
hsdc: 1
run: tune
title: An adapter against its base
kind: finetune
dataset: {use: posts}
model: {use: tiny}
prompt: {use: plain}
task: {target: label, labels: [hate, normal], positive: hate}
adapter: {kind: lora, r: 8, alpha: 16, dropout: 0.05, targets: [all-linear]}
training:
  epochs: 3
  learning_rate: 2.0e-2
  schedule: {kind: linear, warmup_steps: 2}
  optimizer: {kind: adamw}
  rows_per_step: 8
  tokens_per_micro_batch: 256
  packing: true
  max_tokens: 200
answer: {method: rank, allows: [generate]}
generation: {max_tokens: 4}
evaluation:
  gates: ["f1_macro >= 0.1", "delta.f1_macro >= -0.5"]
"""
FILES = {
    "specs/tune.yaml": TUNE,
    "specs/datasets/posts.yaml": """\
hsdc: 1
dataset: posts
format: json
splits: {train: "file:data/train.json", validation: "file:data/validation.json", test: "file:data/test.json"}
columns: [id, text, label, groups]
labels: {label: label}
groups: {some: {column: groups, values: [some]}}
""",
    "specs/models/tiny.yaml": "hsdc: 1\nmodel: tiny\nkind: pretrained\nsource: file:model\n",
    "specs/prompts/plain.yaml": """\
hsdc: 1
prompt: plain
system: "answer {{ labels | join(' or ') }}"
user: "text {{ text }}"
format: {kind: label}
""",
    "specs/profiles/demo.yaml": "hsdc: 1\nprofile: demo\nexecution: {threads: 1, checkpoint_seconds: 0.0}\n",
    "specs/profiles/spoken.yaml": "hsdc: 1\nprofile: spoken\nexecution: {threads: 1, answer: generate}\n",
    "locks/runtime.txt": "".join(f"{name}=={metadata.version(name)}\n" for name in PACKAGES),
}


def write(root: Path) -> Path:
    """Write the whole project."""
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    source = random.Random(3)
    (root / "data").mkdir()
    for split, size in SIZES.items():
        rows = [_row(source, f"{split}-{number}", LABELS[number % 4 > 0]) for number in range(size)]
        (root / f"data/{split}.json").write_text(json.dumps(rows))
    build(root / "model")
    return root


def _row(source: random.Random, name: str, label: str) -> dict[str, object]:
    others = [word for word in WORDS if word not in LABELS]
    words = [*source.choices(others, k=source.randint(1, 12)), label]
    source.shuffle(words)
    return {"id": name, "text": " ".join(words), "label": label, "groups": source.choice([["some"], []])}
