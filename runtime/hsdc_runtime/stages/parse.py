"""Stage parse: an answer for every row, from replies that are read or from labels that are ranked."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hsdc_runtime.lines import json_lines
from hsdc_runtime.work import Made, Work
from hsdc_schemas.answer_forms import FAULTS, FORMATS, UNSAID, Answer, AnswerForm
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.prompting import Task
from hsdc_schemas.records import shown
from hsdc_schemas.replies import read_answer
from hsdc_schemas.stages import typed


def parse(work: Work) -> Made:
    """Write {"id", "label", "fault", "fields"} per row, in the order of the rows, and what else there is.

    That is "numbers" where the answer says any, and "likelihoods" of ranked labels.
    `label` is null and `fault` one of `answer_forms.FAULTS` where no answer can be read; scores say what that counts
    as, but under `unparseable: error` such a row fails the run.
    """
    task = typed(Task, work.experiment["task"])
    made = {name: output.path for outputs in work.needs.values() for name, output in outputs.items()}
    if "rankings" in made:
        rows, facts = _ranked(made["rankings"], task.labels, work.experiment["answer"]["normalise"])
    else:
        declared = work.experiment["prompt"]["format"]
        form = AnswerForm.of(typed(FORMATS[declared["kind"]], declared), task.labels)
        rows, facts = _read(made["replies"], form)
    policy = work.experiment["evaluation"]["unparseable"]
    faulty = [row for row in rows if row["label"] is None]
    facts["unreadable"] = {"policy": policy, "rows": len(faulty)}
    if faulty and policy == "error":
        raise _unparseable(faulty, len(rows))
    path = work.folder / "parsed.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return Made({"parsed": path}, facts)


def _read(path: Path, form: AnswerForm) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows, faults, ignored, labels = [], Counter[str](), Counter[str](), Counter[str]()
    unsaid = {name: Counter[str]() for name in sorted(form.numbers)}
    for reply in json_lines(path):
        answer = read_answer(reply["text"], reply["finish"], form)
        rows.append(_row(reply["id"], answer))
        faults.update([answer.fault] if answer.fault else ())
        ignored.update(answer.ignored)
        labels.update([answer.label] if answer.label is not None else ())
        for name, why in answer.unsaid.items():
            unsaid[name][why] += 1
    facts = {
        "rows": len(rows),
        "labels": {label: labels[label] for label in form.labels},
        "faults": {fault: faults[fault] for fault in FAULTS if faults[fault]},
        "ignored_fields": dict(sorted(ignored.items())),
    }
    if unsaid:
        facts["unsaid"] = {name: {why: count[why] for why in UNSAID if count[why]} for name, count in unsaid.items()}
    return rows, facts


def _row(name: str, answer: Answer) -> dict[str, Any]:
    row = {"id": name, "label": answer.label, "fault": answer.fault, "fields": dict(answer.fields)}
    return {**row, "numbers": dict(answer.numbers)} if answer.numbers else row


def _ranked(path: Path, labels: Sequence[str], normalise: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The likeliest label of each row; of labels that are exactly equally likely the first in the task's order."""
    rows, counts, ties = [], Counter[str](), 0
    for ranking in json_lines(path):
        likelihoods = normalised(ranking["loglikelihoods"], ranking["tokens"], normalise)
        if len(likelihoods) != len(labels) or not all(map(math.isfinite, likelihoods)):
            message = f"row {shown(ranking['id'])} has no likelihood for every label"
            raise fail("E465", Exit.NO, message, None, "look at the model's precision, or bind another model")
        best = max(likelihoods)
        label = labels[likelihoods.index(best)]
        ties += likelihoods.count(best) > 1
        counts[label] += 1
        answer = _row(ranking["id"], Answer(label))
        rows.append({**answer, "likelihoods": likelihoods})
    facts = {"rows": len(rows), "labels": {label: counts[label] for label in labels}, "faults": {}}
    return rows, facts | {"normalise": normalise, "ties": ties, "tie_rule": "first label"}


def normalised(loglikelihoods: Sequence[float], tokens: Sequence[int], how: str) -> list[float]:
    """Log-likelihoods of labels as they are compared: the `sum` over a label's tokens, or their `mean`."""
    if how == "sum":
        return list(map(float, loglikelihoods))
    return [value / count if count else math.nan for value, count in zip(loglikelihoods, tokens, strict=True)]


def _unparseable(faulty: list[dict[str, Any]], rows: int) -> Exception:
    counts = Counter(row["fault"] for row in faulty)
    said = ", ".join(f"{count} {fault.replace('_', ' ')}" for fault, count in counts.most_common())
    message = f"{len(faulty)} of {rows} answers cannot be read: {said}; the first is row {shown(faulty[0]['id'])}"
    hint = "mend the prompt, or write 'unparseable: wrong' or 'drop' under 'evaluation'"
    return fail("E464", Exit.NO, message, None, hint)
