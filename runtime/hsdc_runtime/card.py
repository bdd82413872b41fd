"""The card of a published adapter: what it is, what it was measured to do, and from which manifest it comes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from hsdc_schemas.finetuning import FinetuneExperiment
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.metrics import Counts, Metric
from hsdc_schemas.record import Record, counts_of
from hsdc_schemas.resampling import interval

WHOLE = ("f1_macro", "accuracy", "coverage")
RATES = ("recall", "f1", "fpr")


def card(manifest: Manifest, record: Record, merged: float | None = None) -> str:
    """Markdown with the front matter that hubs read; figures with their 95 % intervals, of the adapter and its base.

    `merged` is the largest difference of a merged model's logits from the adapter's; None where nothing was merged.
    """
    experiment = manifest.experiment
    assert isinstance(experiment, FinetuneExperiment)
    lines = ["---", *_front(experiment, merged is not None), "---", "", f"# {manifest.run}", ""]
    lines += [*_what(experiment, merged), "", "## Measured", ""]
    counts = counts_of(record)
    lines += [*_figures(experiment, counts), *_numbers(record, counts)]
    if record.gates:
        lines += ["", "| gate | verdict | value | 95 % interval |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{gate.gate}` | {gate.outcome} | {_number(gate.value)} | {_range(gate.low, gate.high)} |"
            for gate in record.gates
        ]
    lines += ["", "## Provenance", "", *_provenance(manifest, record)]
    return "\n".join(lines) + "\n"


def _front(experiment: FinetuneExperiment, merged: bool) -> Iterator[str]:
    source = experiment.model.source
    if source.startswith("hf:"):
        yield f"base_model: {json.dumps(source.removeprefix('hf:'))}"
    if experiment.model.license:
        yield f"license: {json.dumps(experiment.model.license.lower())}"
    yield f"library_name: {'transformers' if merged else 'peft'}"
    yield "pipeline_tag: text-generation"
    yield "tags: [lora]"


def _what(experiment: FinetuneExperiment, merged: float | None) -> Iterator[str]:
    lora, task, model = experiment.adapter, experiment.task, experiment.model
    named = f"`{model.source}`{f' at `{model.revision}`' if model.revision else ''}"
    if merged is None:
        yield f"A low-rank adapter for {named}; `PeftModel.from_pretrained(base, FOLDER)` puts it on."
    else:
        yield f"{named} with a low-rank adapter merged into its weights: no logit after the prompts that were"
        yield f"compared differs by more than {merged:.2g} from the model with the adapter on it."
    yield ""
    yield f"It says of a text which `{task.target}` it has: {', '.join(f'`{label}`' for label in task.labels)}."
    yield f"Rank {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, on {', '.join(lora.targets)}."


def _figures(experiment: FinetuneExperiment, counts: Mapping[str, Counts]) -> Iterator[str]:
    head = experiment.task.target
    metrics = [Metric(head, name) for name in WHOLE]
    metrics += [Metric(head, rate, label) for label in experiment.task.labels for rate in RATES]
    for group in _groups(counts):
        metrics += [Metric(head, "fpr", label, f"group={group}") for label in _meant(experiment)]
    evaluation = experiment.evaluation
    subset = f", subset `{evaluation.subset}`" if evaluation.subset else ""
    yield f"On split `{evaluation.split}`{subset}; answers that cannot be read: `{evaluation.unparseable}`."
    yield ""
    yield "| metric | " + " | ".join(f"{variant} | 95 % interval" for variant in counts) + " |"
    yield "| --- |" + " --- |" * (2 * len(counts))
    for metric in metrics:
        cells = []
        for held in counts.values():
            found = interval(held, metric)
            cells += [_number(held.figure(metric).value), _range(found.low, found.high)]
        yield f"| `{metric}` | " + " | ".join(cells) + " |"


def _numbers(record: Record, variants: Iterable[str]) -> Iterator[str]:
    """Figures over the numbers that answers say, as further rows of the table."""
    said = next((stage.facts for stage in record.stages if stage.name == "score"), {}).get("numbers", {})
    held = [said.get(variant, {}) for variant in variants]
    for metric in dict.fromkeys(name for figures in held for name in figures):
        cells = [figures.get(metric, {"value": None, "low": None, "high": None}) for figures in held]
        told = (f"{_number(cell['value'])} | {_range(cell['low'], cell['high'])}" for cell in cells)
        yield f"| `{metric}` | {' | '.join(told)} |"


def _groups(counts: Mapping[str, Counts]) -> tuple[str, ...]:
    return tuple(next(iter(counts.values())).groups) if counts else ()


def _meant(experiment: FinetuneExperiment) -> tuple[str, ...]:
    return (experiment.task.positive,) if experiment.task.positive else experiment.task.labels


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _provenance(manifest: Manifest, record: Record) -> Iterator[str]:
    yield f"- run `{manifest.run}`, profile `{manifest.profile}`"
    yield f"- manifest `{manifest.digest}`"
    yield f"- record `{record.digest}`"
    for item in manifest.inputs:
        yield f"- {item.name}: `{item.source}` `{item.digest}`"
    train = next(stage for stage in record.stages if stage.name == "train")
    yield f"- adapter's tensors `{train.outputs['adapter'].digest}`"
    spent = ", ".join(f"{name} {train.facts[name]}" for name in ("steps", "best_epoch") if name in train.facts)
    yield f"- training: {spent}"
