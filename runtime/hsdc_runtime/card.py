"""The card of a published adapter: what it is, what it was measured to do, and from which manifest it comes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from hsdc_runtime.card_lessons import asked, trained
from hsdc_schemas.encoder import EncoderExperiment
from hsdc_schemas.finetuning import FinetuneExperiment
from hsdc_schemas.manifest import Manifest
from hsdc_schemas.metrics import Counts, Metric
from hsdc_schemas.record import Record, counts_of
from hsdc_schemas.resampling import interval

WHOLE = ("f1_macro", "accuracy", "coverage")
RATES = ("recall", "f1", "fpr")
Adapted: TypeAlias = EncoderExperiment | FinetuneExperiment


def adapter_output(experiment: Adapted) -> str:
    """What the stage `train` calls the file of the adapter."""
    return "weights" if isinstance(experiment, EncoderExperiment) else "adapter"


def card(
    manifest: Manifest, record: Record, merged: float | None = None, history: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Markdown with the front matter that hubs read; figures with their 95 % intervals, of the adapter and its base.

    `merged` is the largest difference of a merged model's logits from the adapter's; None where nothing was merged.
    `history` has the figures of every epoch.
    """
    experiment = manifest.experiment
    assert isinstance(experiment, EncoderExperiment | FinetuneExperiment)
    lines = ["---", *_front(experiment, merged is not None), "---", "", f"# {manifest.run}", ""]
    lines += [*_what(experiment, merged), ""]
    if isinstance(experiment, FinetuneExperiment):
        lines += ["## Asked", "", *asked(experiment), "", "## Trained", "", *trained(experiment, record, history), ""]
    lines += ["## Measured", ""]
    counts = counts_of(record)
    lines += [*_figures(experiment, record, counts), *_numbers(record, counts)]
    if record.gates:
        lines += ["", "| gate | verdict | value | 95 % interval |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{gate.gate}` | {gate.outcome} | {_number(gate.value)} | {_range(gate.low, gate.high)} |"
            for gate in record.gates
        ]
    lines += ["", "## Provenance", "", *_provenance(manifest, record)]
    return "\n".join(lines) + "\n"


def _front(experiment: Adapted, merged: bool) -> Iterator[str]:
    source = experiment.model.source
    if source.startswith("hf:"):
        yield f"base_model: {json.dumps(source.removeprefix('hf:'))}"
    if experiment.model.license:
        yield f"license: {json.dumps(experiment.model.license.lower())}"
    yield f"library_name: {'transformers' if merged else 'peft'}"
    yield f"pipeline_tag: text-{'classification' if isinstance(experiment, EncoderExperiment) else 'generation'}"
    yield "tags: [lora]"


def _what(experiment: Adapted, merged: float | None) -> Iterator[str]:
    lora, model = experiment.adapter, experiment.model
    assert lora is not None
    named = f"`{model.source}`{f' at `{model.revision}`' if model.revision else ''}"
    if isinstance(experiment, EncoderExperiment):
        yield from _heads(experiment, named)
    else:
        yield from _asked(experiment, named, merged)
    yield f"Rank {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, on {', '.join(lora.targets)}."


def _asked(experiment: FinetuneExperiment, named: str, merged: float | None) -> Iterator[str]:
    task = experiment.task
    if merged is None:
        yield f"A low-rank adapter for {named}; `PeftModel.from_pretrained(base, FOLDER)` puts it on."
        if experiment.model.gguf:
            yield f"The base is `AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file={experiment.model.gguf!r})`."
    else:
        yield f"{named} with a low-rank adapter merged into its weights: no logit after the prompts that were"
        yield f"compared differs by more than {merged:.2g} from the model with the adapter on it."
    yield ""
    yield f"It says of a text which `{task.target}` it has: {', '.join(f'`{label}`' for label in task.labels)}."


def _heads(experiment: EncoderExperiment, named: str) -> Iterator[str]:
    shape, encoder = experiment.head, experiment.encoder
    between = f" of width {shape.hidden} with ReLU between them" if shape.layers > 1 else ""
    yield f"A low-rank adapter for the encoder {named}, and classification heads that were trained beside it."
    yield "`PeftModel.from_pretrained(AutoModel.from_pretrained(base), FOLDER)` puts the adapter on; the heads are in"
    yield "the same file, as `base_model.model.head_NAME.NUMBER.weight`. A head takes the vector of a text of at most"
    yield f"{encoder.max_length} tokens (pooling `{encoder.pooling}`) through {shape.layers} linear layers{between}"
    yield "to the logits of its labels, in this order:"
    yield ""
    for name, head in experiment.heads.items():
        yield f"- `{name}`: {', '.join(f'`{label}`' for label in head.labels)}"
    yield ""


def _figures(experiment: Adapted, record: Record, counts: Mapping[str, Counts]) -> Iterator[str]:
    metrics: list[Metric] = []
    for head, (_, labels) in experiment.tasks.items():
        metrics += [Metric(head, name) for name in WHOLE]
        metrics += [Metric(head, rate, label) for label in labels for rate in RATES]
        for group in _groups(counts):
            metrics += [Metric(head, "fpr", label, f"group={group}") for label in _meant(experiment, labels)]
    yield _scored(experiment, record, counts)
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


def _scored(experiment: Adapted, record: Record, counts: Mapping[str, Counts]) -> str:
    rows = max((confusion.total for held in counts.values() for confusion in held.whole.values()), default=0)
    said = next((stage.facts for stage in record.stages if stage.name == "score"), {})
    told = f"intervals over {said['clusters']:,} clusters, whose rows are not independent" if "clusters" in said else ""
    if isinstance(experiment, EncoderExperiment):
        evaluated = experiment.evaluation
        fitted = f"`raw` is as trained, the others were fitted on `{evaluated.fit_split}`"
        parts = [f"On {rows:,} rows of split `{evaluated.score_split}`", fitted, told]
    else:
        subset = f" ({said['subset']})" if said.get("subset") else ""
        unread = f"answers that cannot be read: `{experiment.evaluation.unparseable}`"
        on = f"On {rows:,} rows of split `{said['split']}`{subset}, answers by `{said['measurement']}`"
        parts = [on, unread, told]
    return "; ".join(filter(None, parts)) + "."


def _groups(counts: Mapping[str, Counts]) -> tuple[str, ...]:
    return tuple(next(iter(counts.values())).groups) if counts else ()


def _meant(experiment: Adapted, labels: tuple[str, ...]) -> tuple[str, ...]:
    positive = experiment.task.positive if isinstance(experiment, FinetuneExperiment) else None
    return (positive,) if positive else labels


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
    yield f"- adapter's tensors `{train.outputs[adapter_output(manifest.experiment)].digest}`"
    spent = ", ".join(f"{name} {train.facts[name]}" for name in ("steps", "best_epoch") if name in train.facts)
    yield f"- training: {spent}"
