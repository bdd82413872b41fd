"""A small campaign in a git repository: four runs in three generations, a model of a few bytes, twelve rows."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

IDENTITY = {
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "A"), ("EMAIL", "a@b.c"))
    },
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
RUN1 = """\
hsdc: 1
run: run1
title: The first
kind: encoder
dataset: {use: corpus}
model: {use: tiny}
encoder: {pooling: mean, max_length: 64}
head: {layers: 2, hidden: 32, dropout: 0.2}
heads:
  tone:
    labels: [cold, warm]
    loss: {kind: focal, gamma: 2.5}
    class_weights: {kind: equal}
sampling: {kind: shuffle}
training:
  epochs: 3
  learning_rate: 2.5e-5
  optimizer: {kind: adamw, weight_decay: 0.03}
  rows_per_step: 4
  seed: 42
"""
CORPUS = """\
hsdc: 1
dataset: {name}
format: csv
splits:
  train: file:data/{name}/train.csv
  validation: file:data/{name}/validation.csv
  test: file:data/{name}/test.csv
columns: [id, text, tone]
labels: {{tone: tone}}
"""


def derived(name: str, parent: str, changes: str, budget: int = 1, more: str = "") -> str:
    """The spec of a derived run; `changes` is a mapping in flow style."""
    return f"hsdc: 1\nrun: {name}\nextends: {parent}\nbudget: {budget}\nwhy: To see.\n{more}change: {changes}\n"


FILES = {
    "specs/run1.yaml": RUN1,
    "specs/run2.yaml": derived("run2", "run1", "{training: {epochs: 5}}"),
    "specs/run3.yaml": derived("run3", "run2", "{head: {dropout: 0.3}}"),
    "specs/run4.yaml": derived("run4", "run1", "{training: {learning_rate: 3.0e-5}}"),
    "specs/datasets/corpus.yaml": CORPUS.format(name="corpus"),
    "specs/datasets/other.yaml": CORPUS.format(name="other"),
    "specs/models/tiny.yaml": "hsdc: 1\nmodel: tiny\ntitle: Tiny\nsource: file:models/tiny\n",
    "specs/profiles/demo.yaml": "hsdc: 1\nprofile: demo\nexecution:\n  limits: {epochs: 1}\n",
    "models/tiny/config.json": '{"model_type": "bert"}\n',
    "models/tiny/model.safetensors": "\3\0\0\0\0\0\0\0{} ",  # no tensor
    "models/tiny/tokenizer.json": "{}\n",
    "locks/runtime.txt": "torch==2.13.0\nnumpy==2.4.6\n",
    ".gitignore": ".hsdc/\n",
}
ROWS = "id,text,tone\na1,The door is shut.,cold\na2,Come in!,warm\n"


class Campaign:
    """A repository with one commit, on the branch `main`, in a new folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            self.write(name, text)
        for name in ("corpus", "other"):
            for split in ("train", "validation", "test"):
                self.write(f"data/{name}/{split}.csv", ROWS.replace("\na", f"\n{split[:2]}"))
        self.git("init", "-q", "-b", "main")
        self.commit()

    def git(self, *arguments: str) -> str:
        """Run git with a fixed identity and no configuration but the repository's."""
        environment = {**os.environ, **IDENTITY}
        found = subprocess.run(["git", *arguments], cwd=self.root, env=environment, capture_output=True, check=True)
        return found.stdout.decode().strip()

    def commit(self) -> str:
        """Commit everything; the commit."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "state")
        return self.git("rev-parse", "HEAD")

    def write(self, path: str, text: str) -> None:
        """Put a file in its place."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, "utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        """Change one stretch of a file, which is there."""
        text = (self.root / path).read_text("utf-8")
        assert text.count(old) == 1
        self.write(path, text.replace(old, new))
