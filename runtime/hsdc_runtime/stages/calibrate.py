"""Stage calibrate: temperature and bias per class, fitted on the fit split's logits of this run's own weights."""

from __future__ import annotations

from dataclasses import asdict

from hsdc_runtime.nn.decisions import Calibration, fit_calibration, negative_log_likelihood
from hsdc_runtime.nn.tensors import MASKED, load_logits, logits_made_by
from hsdc_runtime.work import Made, Work
from hsdc_schemas.digests import canonical
from hsdc_schemas.errors import Exit, fail


def calibrate(work: Work) -> Made:
    """Fit one calibration per head; logits that other weights computed are refused before they are read."""
    logits = work.needs["predict"]["logits"].path
    if logits_made_by(logits) != work.needs["train"]["weights"].digest:
        raise fail("E441", Exit.NO, "the logits were not computed by this run's own weights", None, "hsdc verify")
    kind = work.experiment["evaluation"]["calibration"]["kind"]
    split = work.experiment["evaluation"]["fit_split"]
    found, facts = {}, {}
    for head, (values, targets) in load_logits(logits, split, work.experiment["heads"]).items():
        labelled = targets != MASKED
        values, targets = values[labelled], targets[labelled]
        calibration = fit_calibration(values, targets, kind)
        plain = Calibration(1.0, (0.0,) * values.shape[1])
        found[head] = {"temperature": calibration.temperature, "bias": list(calibration.bias)}
        facts[head] = {
            **asdict(calibration),
            "rows": len(targets),
            "nll_before": negative_log_likelihood(values, targets, plain) if len(targets) else None,
            "nll_after": negative_log_likelihood(values, targets, calibration) if len(targets) else None,
        }
    path = work.folder / "calibration.json"
    path.write_bytes(canonical(found) + b"\n")
    return Made({"calibration": path}, {"kind": kind, "heads": facts})
