"""A small project, a tiny model and an empty cache, compiled in a process of its own against some hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[2]
TINY, REVISION = "acme/tiny", "0123456789abcdef" * 2 + "01234567"
DECOYS = ("README.md", "model.onnx", "modeling_x.py", "pytorch_model.bin", "tf_model.h5", "weights.msgpack")

COMPILE = """
import json, os, sys
from pathlib import Path
from hsdc_compiler import hub
from hsdc_compiler.pipeline import compile_project
from hsdc_schemas.errors import HsdcError
root = Path(sys.argv[1])
hub.PATIENCE = float(os.environ.get("PATIENCE", hub.PATIENCE))
try:
    result = compile_project(root, profile="demo")
    exit, found = int(result.exit), result.diagnostics
    locks = {path: data.decode() for run in result.runs for path, data in run.files.items()}
except HsdcError as error:
    exit, found, locks = int(error.exit), error.diagnostics, {}
print(json.dumps({"exit": exit, "said": [item.as_json() for item in found], "files": locks}))
"""

SPECS = {
    "specs/first.yaml": """
hsdc: 1
run: first
title: A small run
kind: encoder
dataset: {use: rows}
model: {use: tiny}
encoder: {pooling: last4_mean, max_length: 32}
head: {layers: 1, hidden: 8, dropout: 0.0}
heads:
  tone:
    labels: [bad, good]
    weight: 1.0
    loss: {kind: focal, gamma: 2.0, label_smoothing: 0.1}
    class_weights: {kind: balanced, cap: 10.0}
sampling: {kind: joint_oversampling, alpha: 0.7, max_multiplier: 8.0}
training:
  epochs: 1
  learning_rate: 1.0e-3
  schedule: {kind: linear, warmup_ratio: 0.2}
  optimizer: {kind: adamw, weight_decay: 0.03}
  rows_per_step: 2
  tokens_per_micro_batch: 64
  best_metric: overall.f1_macro
  seed: 1
evaluation:
  fit_split: validation
  score_split: test
  calibration: {kind: none}
  thresholds: {kind: none}
""",
    "specs/datasets/rows.yaml": """
hsdc: 1
dataset: rows
title: Four rows
format: csv
splits: {train: "file:data/train.csv", validation: "file:data/validation.csv", test: "file:data/test.csv"}
columns: [id, text, tone]
id: id
text: text
labels: {tone: tone}
blank: reject
""",
    "specs/profiles/demo.yaml": """
hsdc: 1
profile: demo
title: On the CPU
execution: {device: cpu, precision: float32, threads: 1}
""",
    "locks/runtime.txt": "torch==2.13.0\n",
    **{
        f"data/{split}.csv": f"id,text,tone\n{split}1,ab,good\n{split}2,ba,bad\n"
        for split in ("train", "validation", "test")
    },
}
MODEL = "hsdc: 1\nmodel: tiny\ntitle: A tiny model\nlicense: Apache-2.0\nsource: hf:{}\nrevision: {}\n"


def tiny_bert() -> dict[str, bytes]:
    """A BERT of one layer with random weights, a vocabulary of eight, and what else a repository may hold."""
    random = np.random.default_rng(7)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a", "##b"]
    width, layer = 32, "encoder.layer.0"
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(words), width),
        "embeddings.position_embeddings.weight": (512, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        f"{layer}.attention.self.query.weight": (width, width),
        f"{layer}.attention.self.key.weight": (width, width),
        f"{layer}.attention.self.value.weight": (width, width),
        f"{layer}.attention.output.dense.weight": (width, width),
        f"{layer}.intermediate.dense.weight": (4 * width, width),
        f"{layer}.output.dense.weight": (width, 4 * width),
    }
    config = {"model_type": "bert", "architectures": ["BertModel"], "vocab_size": len(words), "hidden_size": width}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 4 * width}
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save({name: random.normal(size=s).astype(np.float32) for name, s in shapes.items()}),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}).encode(),
        "vocab.txt": "".join(f"{word}\n" for word in words).encode(),
    }
    return files | {name: b"never " + name.encode() for name in DECOYS}


@dataclass(frozen=True)
class Result:
    """What one compilation, in a process of its own, came to."""

    exit: int
    said: list[dict[str, Any]]
    files: dict[str, str]
    printed: str
    seconds: float

    @property
    def message(self) -> str:
        assert self.exit == 4, self.said
        assert self.printed == ""
        (only,) = self.said
        assert only["code"] == "E414"
        assert "\n" not in only["message"] + only["hint"]
        assert only["message"].startswith("hf:acme/")
        assert only["hint"]
        return str(only["message"])

    @property
    def digests(self) -> dict[str, str]:
        assert (self.exit, self.said) == (0, [])
        manifest = json.loads(self.files["generated/demo/first.lock.json"])
        (model,) = [item for item in manifest["inputs"] if item["name"] == "model"]
        assert model["source"].startswith("hf:acme/")
        return {file["path"]: file["digest"] for file in model["files"]}


class Bench:
    """A project and an empty cache, compiled against some hub."""

    def __init__(self, folder: Path) -> None:
        self.root, self.home = folder / "project", folder / "home"
        for name, text in SPECS.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.lstrip("\n"))
        self.model()

    def model(self, repository: str = TINY, revision: str = REVISION) -> None:
        path = self.root / "specs/models/tiny.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(MODEL.format(repository, revision))

    def command(self) -> list[str]:
        return [sys.executable, "-c", COMPILE, str(self.root)]

    def environment(self, endpoint: str, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
        paths = os.pathsep.join(str(ROOT / part) for part in ("schemas", "compiler"))
        own = {"PYTHONPATH": paths, "HF_ENDPOINT": endpoint, "HF_HOME": str(self.home), "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        return {**kept, **own, **more}

    def compile(self, endpoint: str, **more: str) -> Result:
        begun = time.monotonic()
        done = subprocess.run(
            self.command(), env=self.environment(endpoint, **more), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return Result(**json.loads(done.stdout), printed=done.stderr, seconds=time.monotonic() - begun)

    def cached(self) -> set[str]:
        folder = self.home / f"hub/models--acme--tiny/snapshots/{REVISION}"
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
