"""The table of stages: what each reads, so that its key can be known before anything runs.

A stage sees the sections named here and nothing else of the experiment; what it does not see cannot make it stale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from hsdc_schemas.components import Endpoint
from hsdc_schemas.digests import canonical, canonical_ready, digest_bytes
from hsdc_schemas.encoder import EncoderExperiment
from hsdc_schemas.fields import Model
from hsdc_schemas.prompting import Method, PromptExperiment
from hsdc_schemas.spec import Execution, Experiment

_M = TypeVar("_M", bound=Model)

TORCH = ("accelerate", "numpy", "safetensors", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: `sections` are paths into {experiment, execution}, `*` standing for every key."""

    name: str
    revision: int
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    needs: tuple[str, ...]
    outputs: tuple[str, ...]
    packages: tuple[str, ...]
    module: str = ""  # of the runtime, where it is not called as the stage is
    beside: tuple[str, ...] = ()  # sections that it sees and that change nothing of what it makes
    anew: bool = False  # a reproduction executes this stage and all after it


_ROWS = tuple(
    f"experiment.dataset.{field}"
    for field in ("format", "columns", "id", "text", "labels", "values", "groups", "separator", "cluster", "blank")
)
_TASKS = ("experiment.heads.*.labels", "experiment.heads.*.target")
_SPLITS = ("experiment.evaluation.fit_split", "experiment.evaluation.score_split")
_MACHINE = tuple(
    f"execution.{field}" for field in ("device", "precision", "threads", "attention", "gradient_checkpointing")
)

ENCODER = (
    Stage(
        "prepare",
        revision=1,
        sections=(*_ROWS, *_TASKS, *_SPLITS, "experiment.encoder.max_length", "execution.limits.rows"),
        inputs=("dataset", "tokenizer"),
        needs=(),
        outputs=("rows",),
        packages=("numpy", "safetensors", "tokenizers", "transformers"),
    ),
    Stage(
        "train",
        revision=1,
        sections=(
            *(f"experiment.{name}" for name in ("encoder", "head", "heads", "sampling", "training")),
            "experiment.evaluation.fit_split",
            *_MACHINE,
            "execution.limits.epochs",
            "execution.limits.steps",
        ),
        inputs=("model",),
        needs=("prepare",),
        outputs=("weights", "tensors", "history"),
        packages=TORCH,
        anew=True,
    ),
    Stage(
        "predict",
        revision=1,
        sections=(
            "experiment.encoder",
            "experiment.head",
            *_TASKS,
            *_SPLITS,
            "experiment.training.tokens_per_micro_batch",
            *_MACHINE,
        ),
        inputs=("model",),
        needs=("prepare", "train"),
        outputs=("logits",),
        packages=TORCH,
    ),
    Stage(
        "calibrate",
        revision=1,
        sections=("experiment.evaluation.calibration", "experiment.evaluation.fit_split", *_TASKS),
        inputs=(),
        needs=("train", "predict"),
        outputs=("calibration",),
        packages=("numpy", "safetensors", "scipy"),
    ),
    Stage(
        "thresholds",
        revision=1,
        sections=("experiment.evaluation.thresholds", "experiment.evaluation.fit_split", *_TASKS),
        inputs=(),
        needs=("train", "predict", "calibrate"),
        outputs=("thresholds",),
        packages=("numpy", "safetensors"),
    ),
    Stage(
        "score",
        revision=1,
        sections=("experiment.evaluation.cross_slices", *_SPLITS, *_TASKS),
        inputs=(),
        needs=("predict", "calibrate", "thresholds"),
        outputs=("scores",),
        packages=("numpy", "safetensors"),
    ),
)

_ASKED = tuple(f"execution.{field}" for field in ("device", "precision", "threads", "attention", "tokens_per_batch"))
CAUSAL = (*TORCH, "tokenizers")

SELECT = Stage(
    "prepare",
    revision=1,
    sections=(
        *_ROWS,
        "experiment.task",
        "experiment.answer",
        "experiment.prompt.format",
        "experiment.evaluation.split",
        "experiment.evaluation.subset",
        "execution.answer",
        "execution.limits.rows",
    ),
    inputs=("dataset", "tokenizer"),
    needs=(),
    outputs=("rows",),
    packages=("tokenizers", "transformers"),
    module="select",
    beside=("experiment.dataset.subsets", "experiment.model"),
)
RENDER = Stage(
    "render",
    revision=1,
    sections=("experiment.prompt", "experiment.task", "experiment.answer", "execution.answer"),
    inputs=("tokenizer",),
    needs=("prepare",),
    outputs=("prompts",),
    packages=("jinja2", "tokenizers", "transformers"),
    beside=("experiment.model",),
)
CONVERT = Stage(
    "convert",
    revision=1,
    sections=("experiment.model.gguf", "execution.precision"),
    inputs=("model",),
    needs=(),
    outputs=("model",),
    packages=(*CAUSAL, "gguf"),
)
RANK = Stage(
    "rank",
    revision=1,
    sections=("experiment.task", "experiment.prompt.format", *_ASKED),
    inputs=("model",),
    needs=("render",),
    outputs=("rankings",),
    packages=CAUSAL,
    beside=("experiment.model",),
    anew=True,
)
GENERATE = Stage(
    "generate",
    revision=1,
    sections=("experiment.generation", *_ASKED),
    inputs=("model",),
    needs=("render",),
    outputs=("replies",),
    packages=CAUSAL,
    beside=("experiment.model",),
    anew=True,
)
ASK = Stage(
    "ask",
    revision=1,
    sections=("experiment.model", "experiment.generation", "experiment.prompt.format", "experiment.task"),
    inputs=("model",),
    needs=("render",),
    outputs=("replies",),
    packages=("openai",),
    beside=("execution.requests",),
    anew=True,
)
PARSE = Stage(
    "parse",
    revision=1,
    sections=(
        "experiment.task",
        "experiment.prompt.format",
        "experiment.answer",
        "experiment.evaluation.unparseable",
        "execution.answer",
    ),
    inputs=(),
    needs=("prepare",),
    outputs=("parsed",),
    packages=(),
)
SCORE_ANSWERS = Stage(
    "score",
    revision=1,
    sections=("experiment.task", "experiment.evaluation", "experiment.dataset.groups"),
    inputs=(),
    needs=("prepare", "parse"),
    outputs=("scores", "answers"),
    packages=("numpy",),
    module="score_answers",
)


def stages_of(experiment: Experiment, execution: Execution) -> tuple[Stage, ...]:
    """The stages of a run, each after those that it needs."""
    if isinstance(experiment, EncoderExperiment):
        return ENCODER
    model, method = experiment.model, answer_method(experiment, execution)
    if isinstance(model, Endpoint):
        return (_without(SELECT, "tokenizer"), _without(RENDER, "tokenizer"), ASK, _after(PARSE, "ask"), SCORE_ANSWERS)
    asked = RANK if method == "rank" else GENERATE
    if model.gguf:
        return (SELECT, RENDER, CONVERT, _after(asked, "convert"), _after(PARSE, asked.name), SCORE_ANSWERS)
    return (SELECT, RENDER, asked, _after(PARSE, asked.name), SCORE_ANSWERS)


def answer_method(experiment: PromptExperiment, execution: Execution) -> Method:
    """How answers are taken: as the profile says, where it does, else as the spec says."""
    return execution.answer or experiment.answer.method


def every_stage() -> tuple[Stage, ...]:
    """All stages of all kinds, for those who list them."""
    return (*ENCODER, SELECT, RENDER, CONVERT, RANK, GENERATE, ASK, PARSE, SCORE_ANSWERS)


@cache
def _after(stage: Stage, other: str) -> Stage:
    return replace(stage, needs=(*stage.needs, other))


@cache
def _without(stage: Stage, name: str) -> Stage:
    return replace(stage, inputs=tuple(item for item in stage.inputs if item != name))


def section(values: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The part of nested mappings that some paths name; a path that does not exist contributes nothing."""
    picked: dict[str, Any] = {}
    for path in paths:
        _pick(values, path.split("."), picked)
    return picked


def _pick(values: Mapping[str, Any], path: list[str], into: dict[str, Any]) -> None:
    head, rest = path[0], path[1:]
    for key in tuple(values) if head == "*" else (head,):
        if key not in values:
            continue
        if not rest:
            into[key] = values[key]
        elif isinstance(values[key], Mapping):
            _pick(values[key], rest, into.setdefault(key, {}))


def typed(model: type[_M], value: Any) -> _M:
    """A part of a section as the typed value that it was lowered from."""
    return model.model_validate_json(canonical(value))


def stage_key(
    stage: Stage, part: Any, inputs: Mapping[str, str], keys: Mapping[str, str], packages: Mapping[str, str]
) -> str:
    """The key of a stage: its name and revision, what it reads, the keys of the stages it needs, its environment.

    `part` is its section of experiment and execution, as `digests.ready` returns it.
    """
    return digest_bytes(
        canonical_ready(
            {
                "stage": stage.name,
                "revision": stage.revision,
                "section": part,
                "inputs": {name: inputs[name] for name in stage.inputs},
                "needs": {name: keys[name] for name in stage.needs},
                "packages": {name: packages.get(name, "") for name in stage.packages},
            }
        )
    )
