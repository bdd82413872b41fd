"""Stage `score` of runs that ask a language model: every row's answers, and their confusion counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from hsdc_runtime.lines import json_lines
from hsdc_runtime.work import Made, Work
from hsdc_schemas.answers import Answer, Answers, Header, tally, write_answers
from hsdc_schemas.clustered import clustered
from hsdc_schemas.digests import canonical
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.judged import Judged
from hsdc_schemas.prompting import Task
from hsdc_schemas.records import shown
from hsdc_schemas.stages import typed
from hsdc_schemas.wording import numbers_in

# The first variant is the one that is meant where none is named: of a fine-tune, the model with its adapter.
ADAPTED = (("adapter", "parse_adapter"), ("base", "parse"))
ALONE = (("answers", "parse"),)


def score_answers(work: Work) -> Made:
    """The answers to every row, and integer counts by variant and slice of rows."""
    task = typed(Task, work.experiment["task"])
    variants = ADAPTED if "parse_adapter" in work.needs else ALONE
    parsed = {variant: list(json_lines(work.needs[stage]["parsed"].path)) for variant, stage in variants}
    numbers = _ranges(work)
    rows = list(_answers(task, json_lines(work.needs["prepare"]["rows"].path), parsed, numbers))
    files = {"scores": work.folder / "scores.json", "answers": work.folder / "answers.jsonl"}
    evaluation, limit = work.experiment["evaluation"], work.execution["limits"]["rows"]
    cut = f"its first {limit} rows" if limit is not None and len(rows) >= limit else None
    header = write_answers(
        files["answers"],
        rows,
        heads={task.target: task.labels},
        variants=[variant for variant, _ in variants],
        split=evaluation["split"],
        subset=", ".join(filter(None, (evaluation["subset"], cut))) or None,
        measurement=_measurement(work),
        unparseable=evaluation["unparseable"],
        numbers=numbers,
    )
    counted = tally(header, rows)
    files["scores"].write_bytes(canonical(counted) + b"\n")
    answers, background = Answers(header, tuple(rows)), evaluation["background"]
    judged = {variant: Judged.of(answers, variant, background=background) for variant in header.variants}
    facts = {**_facts(header, counted, background), "areas": _areas(task, judged), **clustered(answers, counted)}
    if numbers:
        facts["numbers"] = {variant: item.of_numbers(task.target) for variant, item in judged.items()}
    return Made(files, facts)


def _ranges(work: Work) -> dict[str, tuple[float, float]]:
    """What answers may say beside their label: nothing, where labels are ranked or the form has no numbers."""
    if _measurement(work) == "rank":
        return {}
    declared = work.experiment.get("prompt", {}).get("format", {}).get("numbers", {})
    return {name: (number["minimum"], number["maximum"]) for name, number in sorted(declared.items())}


def _areas(task: Task, judged: Mapping[str, Judged]) -> dict[str, Any]:
    """By variant, the areas under curves of the positive label's chances, where it is named and there are chances."""
    if task.positive is None:
        return {}
    found = {variant: item.areas(task.target, task.positive) for variant, item in judged.items()}
    return {variant: areas for variant, areas in found.items() if areas}


def _facts(header: Header, counted: Mapping[str, Any], background: str | None) -> dict[str, Any]:
    return {
        "split": header.split,
        "subset": header.subset,
        "rows": header.digest,
        "measurement": header.measurement,
        "unparseable": header.unparseable,
        "variants": list(header.variants),
        "background": background,
        "scores": counted,
    }


def _answers(
    task: Task,
    rows: Iterator[dict[str, Any]],
    parsed: Mapping[str, Sequence[dict[str, Any]]],
    numbers: Mapping[str, tuple[float, float]],
) -> Iterator[Answer]:
    for row, *answered in zip(rows, *parsed.values(), strict=True):
        said = dict(zip(parsed, answered, strict=True))
        if any(answer["id"] != row["id"] for answer in said.values()):
            raise RuntimeError(f"the answers are in another order than the rows, at {row['id']!r}")
        yield Answer(
            id=row["id"],
            groups=tuple(row["groups"]),
            cluster=row["cluster"],
            gold={task.target: row["labels"][task.target]},
            answers={variant: {task.target: answer["label"]} for variant, answer in said.items()},
            faults={variant: {task.target: answer["fault"]} for variant, answer in said.items() if answer["fault"]},
            chances={
                variant: {task.target: chances(answer["likelihoods"])}
                for variant, answer in said.items()
                if "likelihoods" in answer
            },
            numbers={variant: answer.get("numbers", {}) for variant, answer in said.items()} if numbers else UNSET,
            references=_references(row, numbers) if numbers else UNSET,
        )


def _references(row: Mapping[str, Any], numbers: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """What is right for a row, of the numbers that answers say; HsdcError where its field holds something else."""
    try:
        return numbers_in(numbers, row["fields"])
    except ValueError as error:
        raise fail("E614", Exit.NO, f"row {shown(row['id'])}: {error}", None, "mend the row") from None


def chances(likelihoods: Sequence[float]) -> tuple[float, ...]:
    """The labels' shares of the likelihood that they have together, with nine digits."""
    most = max(likelihoods)
    weights = [math.exp(value - most) for value in likelihoods]
    return tuple(round(weight / math.fsum(weights), 9) for weight in weights)


def _measurement(work: Work) -> str:
    """The method, which says what figures may stand beside each other."""
    if work.experiment["model"]["kind"] == "endpoint":
        return "endpoint-generate"
    return str(work.execution["answer"] or work.experiment["answer"]["method"])
