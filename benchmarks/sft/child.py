"""`python -m benchmarks.sft.child ROOT JSON FILE`: what is done in a process of its own; it answers in a file."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.sft.lessons import Lessons, Steps
from benchmarks.sft.way import Way
from hsdc.api import load_manifest
from hsdc_runtime.environment import before_the_framework
from hsdc_runtime.events import Event, StageStarted
from hsdc_runtime.nn import adapter, loop
from hsdc_runtime.nn.adapter_training import train_adapter
from hsdc_runtime.nn.causal import pretrained_causal
from hsdc_runtime.nn.examples import load_examples
from hsdc_runtime.nn.gguf import lay_out
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.run import run
from hsdc_runtime.store import Store
from hsdc_runtime.work import Interrupted
from hsdc_schemas.manifest import Manifest

RUN = "lora_validation"
START = "start.safetensors"
"""The adapter's first weights."""


@dataclass(frozen=True)
class Project:
    """A run's rows, and the folder of its model."""

    lessons: Lessons
    folder: Path

    def model(self, *, ours: bool) -> PreTrainedModel:
        """The model as the stage `train` loads it, its linear layers hsdc's or torch's."""
        model = pretrained_causal(self.folder, self.lessons.execution)
        return model if ours else with_torchs_layers(model)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return pretrained_tokenizer(self.folder)


def main() -> None:
    """Do what is asked."""
    torch.set_num_threads(1)
    root, asked, answer = Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3])
    if "shape" in asked:
        from benchmarks.sft.random_model import RandomModel

        made = RandomModel.of(asked["shape"])
        found = made.floor(asked["floor"]) if "floor" in asked else _take(made, asked, root)
    else:
        manifest = load_manifest(RUN, root, "demo")
        found = _take(_project(root, manifest), asked, root) if asked else _prepare(root, manifest)
    answer.write_text(json.dumps(found), "utf-8")


def _prepare(root: Path, manifest: Manifest) -> dict[str, Any]:
    """Run the stages that training needs, and write the adapter's first weights; facts of the rows."""
    seen: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, StageStarted):
            seen.append(event.stage)

    with suppress(Interrupted):
        run(root, manifest, observe=observe, stop=lambda: "rank" in seen, allow_environment=True)
    made = _project(root, manifest)
    lessons, model = made.lessons, made.model(ours=True)
    save_file(adapter.published(adapter.attach(model, lessons.lora, lessons.training.seed)), root / START)
    lengths = lessons.data.lengths
    return {"rows": len(lengths), "shortest": int(lengths.min()), "longest": int(lengths.max())}


def _project(root: Path, manifest: Manifest) -> Project:
    """What the stages before training left in the store; the adapter is without dropout, so that losses compare."""
    store, experiment = Store(root), manifest.experiment
    keys = {stage.name: stage.key for stage in manifest.stages}

    def made(stage: str, output: str) -> Path:
        action = store.action(keys[stage])
        if action is None:
            raise RuntimeError(f"{manifest.run} has not done {stage}")
        return store.take(action.outputs[output].object)

    file, evaluation = made("examples", "examples"), experiment.evaluation
    data, pad_id = load_examples(file, evaluation.train_split)
    validation, _ = load_examples(file, evaluation.fit_split)
    lora = experiment.adapter.model_copy(update={"dropout": 0.0})
    lessons = Lessons(data, validation, pad_id, lora, experiment.training, manifest.execution)
    return Project(lessons, lay_out(made("convert", "model"), Path(mkdtemp(dir=root)) / "model"))


def _take(made: Any, asked: dict[str, Any], root: Path) -> dict[str, Any]:
    way, lessons = Way(**asked["way"]), made.lessons
    if way.by == "hsdc":  # as a run does for its workers, before anything is multiplied on a GPU
        before_the_framework()
    seen = Steps(asked["steps"], asked.get("turns", False), lessons.execution.device == "cuda")
    model, folder = made.model(ours=way.by == "hsdc" and way.own_products), Path(mkdtemp(dir=root))
    if way.by == "hsdc":
        if not way.own_products:
            adapter.products_by_onednn = lambda module: None
        _train(model, lessons, folder, seen)
    elif way.by == "script":
        from benchmarks.sft.script import train_as_the_script

        train_as_the_script(model, lessons, way, seen)
    else:
        from benchmarks.sft.library import train_with_the_library  # TRL is there only where a way asks for it

        start = root / START
        train_with_the_library(model, made.tokenizer(), lessons, way, start if start.exists() else None, folder, seen)
    return seen.answer()


def with_torchs_layers(model: Any) -> Any:
    """The same model, its linear layers torch's."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.__class__ = torch.nn.Linear
    return model


def _train(model: Any, lessons: Lessons, checkpoints: Path, seen: Steps) -> None:
    """hsdc's own loop, stopped between steps."""
    before, steps = 0, lessons.steps

    def observe(at: loop.Progress) -> None:
        nonlocal before
        if at.metric is None:
            seen.end(at.loss, int(lessons.data.supervised[steps[at.step - 1]].sum()), at.padded_tokens - before)
            before = at.padded_tokens

    with suppress(loop.Interrupted):
        train_adapter(
            model,
            lessons.data,
            lessons.validation,
            lora=lessons.lora,
            training=lessons.training,
            execution=lessons.execution,
            pad_id=lessons.pad_id,
            checkpoints=checkpoints,
            observe=observe,
            stop=seen.enough,
        )


if __name__ == "__main__":
    main()
