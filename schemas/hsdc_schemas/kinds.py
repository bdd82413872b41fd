"""From an experiment to its stages: which ones its kind has, and how they are wired."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from hsdc_schemas.components import Endpoint
from hsdc_schemas.encoder import EncoderExperiment
from hsdc_schemas.finetuning import FinetuneExperiment
from hsdc_schemas.making import DataExperiment
from hsdc_schemas.prompting import Method, PromptExperiment
from hsdc_schemas.spec import Execution, Experiment
from hsdc_schemas.stages import Stage
from hsdc_schemas.tables import (
    ADAPTED,
    ASK,
    CLUSTERED,
    CONVERT,
    ENCODER,
    EXAMPLES,
    FILTER,
    GENERATE,
    PARSE,
    QUANTISER,
    RANK,
    READ,
    RENDER,
    SCORE_ANSWERS,
    SCORE_BOTH,
    SELECT,
    TRAIN_ADAPTER,
    WRITE,
)


def stages_of(experiment: Experiment, execution: Execution) -> tuple[Stage, ...]:
    """The stages of a run, each after those that it needs."""
    match experiment:
        case EncoderExperiment():
            return _scored(experiment, _encoder(experiment))
        case PromptExperiment():
            return _scored(experiment, _prompt(experiment, execution))
        case FinetuneExperiment():
            return _scored(experiment, _finetune(experiment, execution))
        case DataExperiment():
            return _data(experiment)


def answer_method(experiment: PromptExperiment | FinetuneExperiment, execution: Execution) -> Method:
    """How answers are taken: as the profile says, where it does, else as the spec says."""
    return execution.answer or experiment.answer.method


def profile_method(experiment: Experiment, execution: Execution) -> Method | None:
    """The answer method that the profile chose in place of the spec's; None where it did not."""
    if experiment.kind == "encoder" or experiment.kind == "data":
        return None
    method = answer_method(experiment, execution)
    return method if method != experiment.answer.method else None


def _prompt(experiment: PromptExperiment, execution: Execution) -> tuple[Stage, ...]:
    select, model = _select(experiment), experiment.model
    if isinstance(model, Endpoint):
        plain = (_with(select, inputs=select.inputs[1:]), _with(RENDER, inputs=()))
        return (*plain, ASK, _after(PARSE, "ask"), SCORE_ANSWERS)
    convert = (CONVERT,) if model.gguf else ()
    asked = _after(_asked(experiment, execution), *(stage.name for stage in convert))
    return (select, RENDER, *convert, asked, _after(PARSE, asked.name), SCORE_ANSWERS)


def _encoder(experiment: EncoderExperiment) -> tuple[Stage, ...]:
    """What an adapter is trained on stays as it is, so that the adapter is put on it again to predict."""
    if experiment.adapter is None:
        return ENCODER
    return tuple(_adapted(stage) if stage.name in ("train", "predict") else stage for stage in ENCODER)


def _adapted(stage: Stage) -> Stage:
    found = _with(stage, sections=(*stage.sections, *ADAPTED), packages=(*stage.packages, "peft"))
    if stage.name == "predict":
        return found
    revision = stage.revision + TRAIN_ADAPTER.revision  # what trains adapters is the same, and a change of it counts
    outputs, beside = (*stage.outputs, "config"), (*stage.beside, "experiment.model")
    return _with(found, revision=revision, outputs=outputs, beside=beside)


def _finetune(experiment: FinetuneExperiment, execution: Execution) -> tuple[Stage, ...]:
    """The model as it is and the model with its adapter answer the same prompts; both are scored."""
    convert = (CONVERT,) if experiment.model.gguf else ()
    names = tuple(stage.name for stage in convert)
    learnt = (experiment.evaluation.train_split, experiment.evaluation.fit_split)
    examples = _with(EXAMPLES, inputs=(*EXAMPLES.inputs, *(f"dataset.{split}" for split in dict.fromkeys(learnt))))
    asked = _asked(experiment, execution)
    more = QUANTISER if experiment.adapter.base == "nf4" else ()
    base, train = _after(asked, *names), _after(_more(TRAIN_ADAPTER, *more), *names)
    after = _after(asked, *names, "train")
    after = _more(after, "peft", *more)
    adapted = _with(after, name=f"{asked.name}_adapter", sections=(*asked.sections, *ADAPTED), module=asked.name)
    parse = _after(PARSE, base.name)
    again = _with(_after(PARSE, adapted.name), name="parse_adapter", module="parse")
    return (_select(experiment), RENDER, examples, *convert, base, train, adapted, parse, again, SCORE_BOTH)


def _scored(
    experiment: EncoderExperiment | PromptExperiment | FinetuneExperiment, stages: tuple[Stage, ...]
) -> tuple[Stage, ...]:
    """Where rows hang together, what resamples clusters counts too; no other run is made anew by a change of it."""
    if experiment.dataset.cluster is None:
        return stages
    return tuple(
        _with(stage, revision=stage.revision + CLUSTERED) if stage.name == "score" else stage for stage in stages
    )


def _data(experiment: DataExperiment) -> tuple[Stage, ...]:
    """What is written is named OUTPUT.SPLIT, so that another run can take it as a split of its data set."""
    written = (f"{name}.{split}" for name in experiment.outputs for split in experiment.split_names)
    tokenizer = ("tokenizer",) if experiment.length is not None else ()
    return (READ, FILTER, _with(WRITE, inputs=tokenizer, outputs=(*WRITE.outputs, *written)))


def _select(experiment: PromptExperiment | FinetuneExperiment) -> Stage:
    """It reads one split, whatever else a run reads: a prompt run and a fine-tune share its work."""
    subset = (f"subset.{experiment.subset}",) if experiment.subset else ()
    return _with(SELECT, inputs=(*SELECT.inputs, f"dataset.{experiment.evaluation.split}", *subset))


def _asked(experiment: PromptExperiment | FinetuneExperiment, execution: Execution) -> Stage:
    return RANK if answer_method(experiment, execution) == "rank" else GENERATE


@cache
def _after(stage: Stage, *others: str) -> Stage:
    return replace(stage, needs=(*stage.needs, *others))


@cache
def _more(stage: Stage, *packages: str) -> Stage:
    return replace(stage, packages=(*stage.packages, *packages))


@cache
def _with(stage: Stage, **changes: Any) -> Stage:
    return replace(stage, **changes)
