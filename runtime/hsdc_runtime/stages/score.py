"""Stage score: the answers to every row of the scored split, and their confusion counts by variant, slice and head."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from hsdc_runtime.nn.decisions import Calibration, decide, probabilities
from hsdc_runtime.nn.tensors import MASKED, load_belongings, load_ids, load_logits
from hsdc_runtime.work import Made, Work
from hsdc_schemas.answers import Answer, Answers, tally, write_answers
from hsdc_schemas.clustered import clustered
from hsdc_schemas.digests import canonical

Arrays = Mapping[str, np.ndarray]  # by head
Labels = Mapping[str, tuple[str, ...]]


def score(work: Work) -> Made:
    """The answers, and integer counts for every variant of decisions, slice of rows and head."""
    evaluation = work.experiment["evaluation"]
    split = evaluation["score_split"]
    heads = {name: tuple(head["labels"]) for name, head in work.experiment["heads"].items()}
    data = load_logits(work.needs["predict"]["logits"].path, split, heads)
    targets = {name: values[1] for name, values in data.items()}
    chances, decided = _variants(work, {name: values[0] for name, values in data.items()})
    rows = _answers(work, split, heads, targets, chances, decided)
    files = {"scores": work.folder / "scores.json", "answers": work.folder / "answers.jsonl"}
    limit = work.execution["limits"]["rows"]
    subset = f"its first {limit} rows" if limit is not None and len(rows) >= limit else None
    header = write_answers(
        files["answers"],
        rows,
        heads=heads,
        variants=tuple(decided),
        split=split,
        subset=subset,
        measurement="encoder",
    )
    counted = tally(header, rows, across=evaluation["cross_slices"])
    files["scores"].write_bytes(canonical(counted) + b"\n")
    facts = {
        "split": split,
        "subset": subset,
        "rows": header.digest,
        "measurement": header.measurement,
        "unparseable": header.unparseable,
        "variants": list(header.variants),
        "labelled": {head: int((values != MASKED).sum()) for head, values in targets.items()},
        "scores": counted,
        **clustered(Answers(header, tuple(rows)), counted),
    }
    return Made(files, facts)


def _answers(
    work: Work,
    split: str,
    heads: Labels,
    targets: Arrays,
    chances: Mapping[str, Arrays],
    decided: Mapping[str, Arrays],
) -> list[Answer]:
    """What every variant says of each row of a split, beside what the row is labelled with."""
    ids = load_ids(work.needs["predict"]["logits"].path, split)
    belongings = load_belongings(work.needs["prepare"]["rows"].path, split, len(ids))
    return [
        Answer(
            id=name,
            groups=groups,
            cluster=cluster,
            gold={head: _label(labels, targets[head][place]) for head, labels in heads.items()},
            answers={
                variant: {head: labels[found[head][place]] for head, labels in heads.items()}
                for variant, found in decided.items()
            },
            chances={
                variant: {head: tuple(map(_rounded, found[head][place].tolist())) for head in heads}
                for variant, found in chances.items()
            },
        )
        for place, (name, (groups, cluster)) in enumerate(zip(ids, belongings, strict=True))
    ]


def _variants(work: Work, logits: Arrays) -> tuple[dict[str, Arrays], dict[str, Arrays]]:
    """By variant, the chances [N, K] where there are any, and the decisions [N], of each head."""
    calibrations = json.loads(work.needs["calibrate"]["calibration"].path.read_bytes())
    fitted = json.loads(work.needs["thresholds"]["thresholds"].path.read_bytes())
    plain = {head: probabilities(values, Calibration(1.0, (0.0,) * values.shape[1])) for head, values in logits.items()}
    calibrated = {
        head: probabilities(values, Calibration(calibrations[head]["temperature"], tuple(calibrations[head]["bias"])))
        for head, values in logits.items()
    }
    decided: dict[str, Arrays] = {
        "raw": {head: decide(values) for head, values in logits.items()},
        "calibrated": {head: decide(values) for head, values in calibrated.items()},
    }
    if fitted:
        decided["tuned"] = {head: decide(values, tuple(fitted[head])) for head, values in calibrated.items()}
    return {"raw": plain, "calibrated": calibrated}, decided


def _label(labels: tuple[str, ...], place: np.integer) -> str | None:
    return None if place == MASKED else labels[place]


def _rounded(chance: float) -> float:
    """As many digits as the logits have: the last ones differ from one processor to the next."""
    return float(f"{chance:.7g}")
