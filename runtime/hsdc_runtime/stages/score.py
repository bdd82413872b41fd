"""Stage score: confusion counts on the scored split, by variant of decisions, by slice and by head."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from hsdc_runtime.nn.decisions import Calibration, decide, probabilities
from hsdc_runtime.nn.tensors import MASKED, load_logits
from hsdc_runtime.work import Made, Work
from hsdc_schemas.digests import canonical
from hsdc_schemas.scores import Confusion

Decisions = Mapping[str, np.ndarray]


def score(work: Work) -> Made:
    """Integer counts for every variant of decisions, slice of rows and head."""
    experiment = work.experiment
    split = experiment["evaluation"]["score_split"]
    heads = {name: tuple(head["labels"]) for name, head in experiment["heads"].items()}
    data = load_logits(work.needs["predict"]["logits"].path, split, heads)
    targets = {name: values[1] for name, values in data.items()}
    variants = _variants(work, {name: values[0] for name, values in data.items()})
    slices = _slices(heads, targets, experiment["evaluation"]["cross_slices"])
    counted = {
        variant: {
            name: {
                head: _confusion(heads[head], targets[head][rows], decided[head][rows])
                for head in heads
                if not name.startswith(f"{head}=")
            }
            for name, rows in slices.items()
        }
        for variant, decided in variants.items()
    }
    path = work.folder / "scores.json"
    path.write_bytes(canonical(counted) + b"\n")
    labelled = {head: int((values != MASKED).sum()) for head, values in targets.items()}
    return Made({"scores": path}, {"split": split, "labelled": labelled, "scores": counted})


def _variants(work: Work, logits: Mapping[str, np.ndarray]) -> dict[str, Decisions]:
    calibrations = json.loads(work.needs["calibrate"]["calibration"].path.read_bytes())
    fitted = json.loads(work.needs["thresholds"]["thresholds"].path.read_bytes())
    chances = {
        head: probabilities(values, Calibration(calibrations[head]["temperature"], tuple(calibrations[head]["bias"])))
        for head, values in logits.items()
    }
    variants: dict[str, Decisions] = {
        "raw": {head: decide(values) for head, values in logits.items()},
        "calibrated": {head: decide(values) for head, values in chances.items()},
    }
    if fitted:
        variants["tuned"] = {head: decide(values, tuple(fitted[head])) for head, values in chances.items()}
    return variants


def _slices(
    heads: Mapping[str, tuple[str, ...]], targets: Mapping[str, np.ndarray], cross: bool
) -> dict[str, np.ndarray]:
    slices = {"all": np.ones(len(next(iter(targets.values()))), dtype=bool)}
    if cross and len(heads) > 1:
        for head, labels in heads.items():
            for index, label in enumerate(labels):
                slices[f"{head}={label}"] = targets[head] == index
    return slices


def _confusion(labels: tuple[str, ...], gold: np.ndarray, decided: np.ndarray) -> object:
    known = [None if value == MASKED else value for value in gold.tolist()]
    return Confusion.of(labels, known, decided.tolist()).as_json()
