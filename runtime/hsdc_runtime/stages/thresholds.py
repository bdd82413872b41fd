"""Stage thresholds: a threshold per class, fitted on the fit split's calibrated probabilities."""

from __future__ import annotations

import json

import numpy as np

from hsdc_runtime.nn.decisions import Calibration, decide, f1_macro, fit_thresholds, probabilities
from hsdc_runtime.nn.tensors import MASKED, load_logits, logits_made_by
from hsdc_runtime.work import Made, Work
from hsdc_schemas.digests import canonical
from hsdc_schemas.encoder import Thresholds
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.stages import typed


def thresholds(work: Work) -> Made:
    """Fit the thresholds of every head, or none where the experiment asks for none."""
    logits = work.needs["predict"]["logits"].path
    if logits_made_by(logits) != work.needs["train"]["weights"].digest:
        raise fail("E441", Exit.NO, "the logits were not computed by this run's own weights", None, "hsdc verify")
    wanted = typed(Thresholds, work.experiment["evaluation"]["thresholds"])
    calibrations = json.loads(work.needs["calibrate"]["calibration"].path.read_bytes())
    found: dict[str, list[float]] = {}
    facts = {}
    if wanted.kind == "grid":
        grid = np.linspace(wanted.low, wanted.high, wanted.steps)
        split = work.experiment["evaluation"]["fit_split"]
        for head, (values, targets) in load_logits(logits, split, work.experiment["heads"]).items():
            labelled = targets != MASKED
            fitted = calibrations[head]
            chances = probabilities(values[labelled], Calibration(fitted["temperature"], tuple(fitted["bias"])))
            best = fit_thresholds(chances, targets[labelled], grid)
            found[head] = list(best)
            classes = chances.shape[1]
            facts[head] = {
                "thresholds": list(best),
                "f1_macro_before": f1_macro(targets[labelled], decide(chances), classes),
                "f1_macro_after": f1_macro(targets[labelled], decide(chances, best), classes),
            }
    path = work.folder / "thresholds.json"
    path.write_bytes(canonical(found) + b"\n")
    return Made({"thresholds": path}, {"kind": wanted.kind, "heads": facts})
