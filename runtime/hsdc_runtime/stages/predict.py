"""Stage predict: logits of the trained weights on the splits that are fitted on and scored."""

from __future__ import annotations

import time
from collections.abc import Mapping

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.batches import predict as forward
from hsdc_runtime.nn.checkpoint import tensor_digests
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.model import Classifier
from hsdc_runtime.nn.pretrained import pretrained_classifier
from hsdc_runtime.nn.tensors import load_rows, save_logits
from hsdc_runtime.work import Made, Work
from hsdc_schemas.adapters import LowRank, adapter_of
from hsdc_schemas.encoder import Encoder, HeadShape
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.spec import Execution
from hsdc_schemas.stages import typed


def predict(work: Work) -> Made:
    """Logits of every head; weights that are not the ones this run trained are refused."""
    weights = work.needs["train"]["weights"]
    with safe_open(weights.path, "numpy") as file:
        if (file.metadata() or {}).get("train") != work.keys["train"]:
            raise fail("E441", Exit.NO, "the weights are not those of this run's own training", None, "hsdc verify")
    tensors = load_file(weights.path)
    if tensor_digests(tensors)[1] != weights.digest:
        raise fail("E441", Exit.NO, "the weights are not the ones that training recorded", None, "hsdc verify")
    experiment = work.experiment
    execution = typed(Execution, work.execution)
    deterministic(execution)
    heads = {name: len(head["labels"]) for name, head in experiment["heads"].items()}
    shape, encoder = typed(HeadShape, experiment["head"]), typed(Encoder, experiment["encoder"])
    classifier = pretrained_classifier(work.inputs.model, execution, encoder, shape, heads)
    _put_on(classifier, adapter_of(work.experiment), tensors)
    device = accelerator_for(execution).device
    classifier.to(device)
    budget = experiment["training"]["tokens_per_micro_batch"]
    splits, logits, facts = {}, {}, {}
    evaluation = experiment["evaluation"]
    for split in dict.fromkeys((evaluation["fit_split"], evaluation["score_split"])):
        splits[split], pad_id = load_rows(work.needs["prepare"]["rows"].path, split, heads)
        work.watch.doing(f"predicting split {split}")
        start = time.monotonic()
        autocast = execution.precision == "bfloat16"
        logits[split] = forward(classifier, splits[split], pad_id, budget, device, autocast)
        facts[split] = {"rows": len(splits[split]), "seconds": time.monotonic() - start}
    path = work.folder / "logits.safetensors"
    save_logits(path, splits, logits, weights.digest)
    return Made({"logits": path}, {"splits": facts})


def _put_on(classifier: Classifier, lora: LowRank | None, tensors: Mapping[str, Tensor]) -> None:
    """All weights, or what was trained on an encoder whose own weights stay."""
    if lora is None:
        classifier.load_state_dict(dict(tensors), strict=True)
        return
    from hsdc_runtime.nn.adapted_encoder import put_on_classifier

    put_on_classifier(classifier, lora, tensors)
