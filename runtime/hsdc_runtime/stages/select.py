"""Stage `prepare` of a prompt run: the rows that are asked about, with their answers, groups and clusters."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hsdc_runtime.nn.labels import require_labels
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.work import Made, Work
from hsdc_schemas.components import Dataset
from hsdc_schemas.digests import canonical
from hsdc_schemas.draws import draw, rows_digest
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.prompting import Task
from hsdc_schemas.rows import Row, RowsRead, read_rows
from hsdc_schemas.stages import typed
from hsdc_schemas.wording import continuations, lead


def select(work: Work) -> Made:
    """Read the split, draw the subset, check that it is the one that was locked, and that labels can be ranked."""
    experiment = work.experiment
    task = typed(Task, experiment["task"])
    name, subset = experiment["evaluation"]["split"], experiment["evaluation"]["subset"]
    dataset = typed(Dataset, {**experiment["dataset"], "splits": {name: "file:read"}})
    read = read_rows(work.inputs.splits[name], name, dataset, {task.target: (task.target, task.labels)})
    if read.digest != work.inputs.digests[name]:
        message = f"the file of split '{name}' changed while it was being read"
        raise fail("E415", Exit.ENVIRONMENT, message, None, "leave it alone and run again")
    if read.rejected:
        raise HsdcError(read.rejected)
    filtered = Counter(read.filtered)
    rows = read.rows
    if subset is not None:
        rows = draw(rows, dataset.subsets[subset])
        filtered[f"outside {subset}"] = len(read.rows) - len(rows)
        if rows_digest(rows) != work.inputs.digests[f"subset.{subset}"]:
            message = f"the subset '{subset}' is not the one that was locked"
            raise fail("E415", Exit.ENVIRONMENT, message, None, "compile and run with one version of hsdc")
    limit = work.execution["limits"]["rows"]
    if limit is not None and limit < len(rows):
        filtered["limits.rows"] = len(rows) - limit
        rows = rows[:limit]
    _require_rankable(work, task)
    path = work.folder / "rows.jsonl"
    with path.open("wb") as file:
        for row in rows:
            file.write(canonical(_as_json(row)) + b"\n")
    return Made({"rows": path}, {"splits": {name: _facts(read, rows, filtered)}, "subset": subset})


def _require_rankable(work: Work, task: Task) -> None:
    """Before any model is loaded: no label may hide another one, as the tokenizer cuts them."""
    method = work.execution.get("answer") or work.experiment["answer"]["method"]
    if method != "rank":
        return
    from hsdc_schemas.prompting import Prompt

    form = typed(Prompt, {"user": "-", "format": work.experiment["prompt"]["format"]}).format
    tokenizer = pretrained_tokenizer(work.inputs.model, work.experiment["model"]["gguf"])
    require_labels(tokenizer, continuations(form, task.labels), lead(form))


def _as_json(row: Row) -> dict[str, Any]:
    more = {"groups": list(row.groups), "cluster": row.cluster, "fields": dict(row.fields)}
    return {"id": row.id, "text": row.text, "labels": dict(row.labels), **more}


def _facts(read: RowsRead, rows: tuple[Row, ...], filtered: Counter[str]) -> dict[str, Any]:
    return {
        "read": read.read,
        "kept": len(rows),
        "filtered": dict(sorted(filtered.items())),
        "rejected": dict(read.rejected_by_reason),
    }
