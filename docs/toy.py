"""The small project that commands.md is made in: some runs of this project, its sample rows, and a toy of a model."""

from __future__ import annotations

import shutil
from pathlib import Path

from hsdc.toy_model import toy_files

ROOT = Path(__file__).resolve().parent.parent
RUNS = ("run1", "run2", "run4", "run6_gradient_flow", "run8_restore_r4")
COPIED = (
    *(f"specs/{run}.yaml" for run in RUNS),
    *("specs/datasets/adjudications.yaml", "specs/datasets/sample_adjudications.yaml", "specs/models/mbert.yaml"),
    *(f"data/sample_adjudications/{split}.csv" for split in ("train", "validation", "test")),
    "locks/runtime.txt",
)
PROFILE = """\
hsdc: 1
profile: demo
title: A toy of a model, and few rows
bind:
  dataset: {adjudications: sample_adjudications}
  model: {mbert: toy}
execution:
  limits: {epochs: 3, rows: 96}
"""
MODEL = "hsdc: 1\nmodel: toy\ntitle: Four layers with made-up weights\nsource: file:models/toy\n"


def lay(root: Path) -> None:
    """Write the project."""
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    for name, text in {"specs/profiles/demo.yaml": PROFILE, "specs/models/toy.yaml": MODEL}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / ".gitignore").write_text(".hsdc/\n")
    (root / "models/toy").mkdir(parents=True)
    for name, data in toy_files().items():
        (root / "models/toy" / name).write_bytes(data)
