"""Every value of an experiment is in the key of each stage that reads it, and of no other; what none reads is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from hsdc_schemas.digests import ready
from hsdc_schemas.factors import essence
from hsdc_schemas.kinds import stages_of
from hsdc_schemas.spec import EXPERIMENTS, Execution
from hsdc_schemas.stages import section, stage_key

DATASET = {
    "format": "csv",
    "splits": {"train": "file:a", "validation": "file:b", "test": "file:c"},
    "columns": ["id", "text", "tone"],
    "labels": {"tone": "tone"},
    "values": {"tone": {"a": "x"}},
    "groups": {"g": {"column": "id", "values": ["1"]}},
    "fields": {"f": "id"},
    "cluster": "id",
    "subsets": {"s": {"split": "test", "rows": 1}},
}
MODEL = {"kind": "pretrained", "source": "file:m"}
REMOTE = {"kind": "endpoint", "url": "https://a/v1", "served": "b"}
PROMPT = {"user": "{{ text }}", "format": {"kind": "json"}, "examples": [{"text": "a", "label": "x"}]}
ASKED = {
    "dataset": DATASET,
    "prompt": PROMPT,
    "task": {"target": "tone", "labels": ["x", "y"]},
    "generation": {},
    "evaluation": {"subset": "s"},
}
LEARNT = {"epochs": 1, "learning_rate": 1.0, "optimizer": {"kind": "adamw"}, "rows_per_step": 1}
LEARNT |= {"max_grad_norm": 1.0, "early_stopping": {"patience": 1}}
LORA = {"kind": "lora", "r": 1, "alpha": 1.0, "targets": ["q"]}
EXAMPLES: dict[str, dict[str, Any]] = {
    "encoder": {
        "kind": "encoder",
        "dataset": DATASET,
        "model": MODEL,
        "encoder": {"pooling": "cls", "max_length": 9},
        "head": {},
        "heads": {
            "tone": {"labels": ["x", "y"], "loss": {"kind": "focal"}, "class_weights": {"kind": "balanced"}},
        },
        "sampling": {"kind": "joint_oversampling"},
        "training": {**LEARNT, "r_drop": {"alpha": 1.0}},
    },
    "generate": {"kind": "prompt", "model": MODEL, "answer": {"method": "generate"}, **ASKED},
    "rank": {"kind": "prompt", "model": MODEL, "answer": {"method": "rank"}, **ASKED},
    "ask": {"kind": "prompt", "model": REMOTE, "answer": {"method": "generate"}, **ASKED},
    "finetune": {
        "kind": "finetune",
        "model": MODEL,
        "adapter": LORA,
        "training": LEARNT,
        "answer": {"method": "generate"},
        **ASKED,
    },
    "data": {
        "kind": "data",
        "corpus": {
            "shapes": {"s": {"fields": {"a": {}}, "columns": {"id": "a", "text": {"path": "a"}}}},
            "sources": {"all": {"source": "file:a", "format": "csv", "shapes": ["s"]}},
        },
        "splits": {"kind": "given", "names": {"a": "b"}},
        "sample": {"rows": 1},
        "task": ASKED["task"],
        "prompt": PROMPT,
        "model": MODEL,
        "length": {"maximum": 1},
        "outputs": {"c": {"kind": "chat"}, "r": {"kind": "rows"}},
    },
}
EXAMPLES["adapted encoder"] = {**EXAMPLES["encoder"], "adapter": {**LORA, "saves": ["heads"]}}
ROWS = {
    f"dataset.{field}": "prepare"
    for field in ("format", "columns", "id", "text", "labels.*", "values.*", "groups.*", "fields.*", "separator")
} | {"dataset.cluster": "prepare", "dataset.blank": "prepare"}
# Read by no key: the kind is told by the stages themselves, files enter by their digests, and the rest decides nothing
# that is made: gates and what they compare with are judged afterwards, `allows` is for the compiler.
SILENT = dict.fromkeys(("kind", "dataset.splits.*", "dataset.subsets.*", "evaluation.against"), "")
SILENT |= {"evaluation.gates": ""}
LOCAL = {"model.*": ""}
BLOCKS = ("system", "user", "persona", "policy", "context", "guidance", "examples", "shots")
PROMPTS = {
    **ROWS,
    **SILENT,
    **{f"prompt.{name}": "render" for name in BLOCKS},
    "answer.allows": "",
    "answer.method": "prepare render score",
    "answer.normalise": "parse",
    "evaluation.split": "prepare score",
    "evaluation.subset": "prepare score",
    "evaluation.unparseable": "parse score",
    "evaluation.background": "score",
    "prompt.format.tolerate": "parse",
    "prompt.format.numbers": "prepare render parse score",
    "prompt.format.*": "prepare render parse",
    "task.positive": "score",
    "task.*": "prepare render parse score",
}
FINETUNE = {
    **{name: stages.replace("prepare", "prepare examples") for name, stages in ROWS.items()},
    **{f"prompt.{name}": "render examples" for name in BLOCKS},
    "prompt.format.tolerate": "parse parse_adapter",
    "prompt.format.numbers": "prepare render examples parse parse_adapter score",
    "prompt.format.*": "prepare render examples parse parse_adapter",
    "task.positive": "score",
    "task.*": "prepare render examples parse parse_adapter score",
    "answer.normalise": "parse parse_adapter",
    "evaluation.unparseable": "parse parse_adapter score",
    "generation.*": "generate generate_adapter",
    "adapter.*": "train generate_adapter",
    "evaluation.*_split": "examples train",
    "training.max_tokens": "examples train",
    "training.over_length": "examples train",
    "training.*": "train",
}
ENCODER = {
    **ROWS,
    **SILENT,
    **LOCAL,
    "encoder.max_length": "prepare train predict",
    "encoder.*": "train predict",
    "head.*": "train predict",
    "heads.*.labels": "prepare train predict calibrate thresholds score",
    "heads.*.target": "prepare train predict calibrate thresholds score",
    "heads.*": "train",
    "sampling.*": "train",
    "training.tokens_per_micro_batch": "train predict",
    "training.*": "train",
    "evaluation.fit_split": "prepare train predict calibrate thresholds score",
    "evaluation.score_split": "prepare predict score",
    "evaluation.calibration.*": "calibrate",
    "evaluation.thresholds.*": "thresholds",
    "evaluation.cross_slices": "score",
}
DATA = {
    "kind": "",
    **LOCAL,
    **dict.fromkeys(("corpus.shapes.*", "corpus.rejects"), "read"),
    "corpus.sources.*": "read filter",
    "corpus.expect.*": "write",
    **dict.fromkeys(("id", "text"), "read filter write"),
    **dict.fromkeys(("filters", "splits.*", "leakage.*", "sample.*"), "filter"),
    **dict.fromkeys(("expect.*", "task.*", "prompt.*", "length.*", "about.*", "outputs.*"), "write"),
}
RANKED = {"prompt.format.tolerate": "parse", "task.positive": "score", "generation.*": ""}
RANKED |= {"prompt.format.numbers": "prepare render rank parse score", "prompt.format.*": "prepare render rank parse"}
RANKED |= {"task.*": "prepare render rank parse score"}
REMOTELY = {"prompt.format.tolerate": "parse", "task.positive": "score", "model.*": "ask", "generation.*": "ask"}
REMOTELY |= {"prompt.format.numbers": "prepare render ask parse score", "prompt.format.*": "prepare render ask parse"}
REMOTELY |= {"task.*": "prepare render ask parse score"}
READERS: dict[str, dict[str, str]] = {
    "encoder": {**ENCODER, "adapter": ""},  # that there is none is told by the stages themselves
    "adapted encoder": {**ENCODER, "adapter.*": "train predict"},
    "generate": PROMPTS | LOCAL | {"generation.*": "generate"},
    "rank": {**RANKED, **{n: s for n, s in PROMPTS.items() if n not in RANKED}, **LOCAL},
    "ask": {**REMOTELY, **{n: s for n, s in PROMPTS.items() if n not in REMOTELY}},
    "data": DATA,
    "finetune": {**FINETUNE, **{n: s for n, s in PROMPTS.items() if n not in FINETUNE}, **LOCAL},
}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path


def other(value: Any, path: tuple[str, ...]) -> Any:
    """A copy of nested mappings with another value at a path."""
    return {**value, path[0]: other(value[path[0]], path[1:])} if path else ["another value"]


def keys(stages: Any, experiment: Any, execution: Any) -> dict[str, str]:
    """The key of each stage by itself: a stage that it needs is always the same."""
    found = {}
    for stage in stages:
        part = section({"experiment": experiment, "execution": execution}, stage.sections)
        found[stage.name] = stage_key(
            stage, part, dict.fromkeys(stage.inputs, "i"), dict.fromkeys(stage.needs, "n"), {}
        )
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_value_is_in_the_keys_of_those_who_read_it(name: str) -> None:
    written = EXAMPLES[name]
    experiment = EXPERIMENTS[written["kind"]].model_validate_json(json.dumps(written))
    stages = stages_of(experiment, Execution())
    values, execution = ready(essence(experiment)), ready(essence(Execution()))
    before = keys(stages, values, execution)
    found, expected, used = {}, {}, set()
    for path in leaves(values):
        after = keys(stages, other(values, path), execution)
        text = ".".join(path)
        rule = next((rule for rule in READERS[name] if fnmatchcase(text, rule)), "nobody has said")
        used.add(rule)
        found[text] = {stage for stage in after if after[stage] != before[stage]}
        expected[text] = {*READERS[name].get(rule, rule).split()}
    assert found == expected
    assert used == set(READERS[name]), "a line of the table that is about nothing"
