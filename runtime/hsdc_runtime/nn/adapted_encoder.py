"""An adapter on a classifier's encoder: what is learnt beside it, the heads first, is saved in the same file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from peft import set_peft_model_state_dict
from torch import Tensor

from hsdc_runtime.nn.adapter import FEATURES, attach, config_of, published, require_same
from hsdc_runtime.nn.checkpoint import trained_weights
from hsdc_runtime.nn.model import Classifier
from hsdc_schemas.adapters import HEADS, POOLING, LowRank
from hsdc_schemas.errors import Exit, fail

PREFIX = "base_model.model."
"""Of a module's name in a published adapter, also of one that the encoder itself does not have."""
OWN = "encoder."


def adapt(classifier: Classifier, lora: LowRank, seed: int = 0) -> None:
    """Freeze the encoder and put a new adapter on it; heads and pooling stay as they are, and are trained.

    HsdcError where the encoder has not every target, or `saves` leaves out what is trained beside it.
    """
    beside = (HEADS, POOLING) if classifier.pooling is not None else (HEADS,)
    if missing := [part for part in beside if part not in lora.saves]:
        message = f"the {' and the '.join(missing)} would be trained and not saved"
        raise fail("E737", Exit.SPEC, message, None, f"write saves: [{', '.join((*lora.saves, *missing))}]")
    classifier.encoder = attach(classifier.encoder, _of_encoder(lora), seed, FEATURES)


def published_with_heads(classifier: Classifier) -> dict[str, Tensor]:
    """Everything that is trained, on the CPU; plain peft reads what is of the encoder, and leaves the rest alone."""
    beside = {name: value for name, value in trained_weights(classifier).items() if not name.startswith(OWN)}
    tensors = published(classifier.encoder) | {f"{PREFIX}{name}": value for name, value in beside.items()}
    return dict(sorted(tensors.items()))


def put_on_classifier(classifier: Classifier, lora: LowRank, tensors: Mapping[str, Tensor]) -> None:
    """What was published, on the encoder that it was trained on. HsdcError where anything is missing or too much."""
    adapt(classifier, lora)
    require_same(published_with_heads(classifier), tensors)
    own = published(classifier.encoder).keys()
    set_peft_model_state_dict(classifier.encoder, {name: tensors[name] for name in own})
    parameters = dict(classifier.named_parameters())
    with torch.no_grad():
        for name in tensors.keys() - own:
            parameters[name.removeprefix(PREFIX)].copy_(tensors[name])


def encoder_config(lora: LowRank, names: Iterable[str], base: str, revision: str) -> bytes:
    """The configuration beside published tensors: it names each adapted module, so that no other one is taken."""
    adapted = {name.removeprefix(PREFIX).partition(".lora_")[0] for name in names if ".lora_" in name}
    exact = _of_encoder(lora).model_copy(update={"targets": tuple(sorted(adapted))})
    return config_of(exact, base, revision, FEATURES)


def _of_encoder(lora: LowRank) -> LowRank:
    """What of an adapter the encoder itself is told."""
    return lora.model_copy(update={"saves": tuple(name for name in lora.saves if name not in (HEADS, POOLING))})
