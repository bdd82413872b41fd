"""Parameter groups, learning rates and gradient clipping."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hsdc_runtime.nn.checkpoint import trained
from hsdc_runtime.nn.model import Classifier
from hsdc_schemas.encoder import Optimizer, Schedule, Training
from hsdc_schemas.finetuning import AdapterSchedule


def adamw(classifier: Classifier, training: Training) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`, fused: one kernel for a whole parameter."""
    return adamw_over(parameter_groups(classifier, training), training.optimizer)


def adamw_over(groups: list[dict[str, Any]], rule: Optimizer) -> torch.optim.AdamW:
    """AdamW over groups of parameters."""
    return torch.optim.AdamW(groups, betas=(rule.beta1, rule.beta2), eps=rule.epsilon, fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as `PARAMETER/KEY` to tensor, on the CPU."""
    return {
        f"{name}/{key}": value.detach().to("cpu", copy=True).contiguous()
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; KeyError for a parameter that the module does not have."""
    parameters = dict(module.named_parameters())
    for path, value in tensors.items():
        name, key = path.rsplit("/", 1)
        parameter = parameters[name]
        optimizer.state[parameter][key] = value.to(parameter.device, copy=True)


def parameter_groups(classifier: Classifier, training: Training) -> list[dict[str, Any]]:
    """Groups of torch.optim, every trained parameter in exactly one; keys: name, params, lr, initial_lr, weight_decay.

    Heads and pooling learn at learning_rate × head_multiplier, the top encoder layer at learning_rate, each layer
    below at layer_decay times that, embeddings one further below. What the encoder has besides (a closing
    normalisation, say) learns like its top layer, an adapter like the layer that it is on. Biases and normalisation
    weights are not decayed. ValueError where layer_decay is asked of an encoder whose layers cannot be told apart.
    """
    prefix, layers = _layers(classifier.encoder)
    if prefix is None and training.layer_decay != 1.0:
        raise ValueError(f"the layers of {type(classifier.encoder).__name__} cannot be told apart for layer_decay")
    plain = not_decayed(classifier)
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in trained(classifier).items():
        part, rate = _part(name, prefix, layers, training)
        decayed = id(parameter) not in plain
        key = f"{part}.{'decay' if decayed else 'no_decay'}"
        decay = training.optimizer.weight_decay if decayed else 0.0
        group = {"name": key, "params": [], "lr": rate, "initial_lr": rate, "weight_decay": decay}
        groups.setdefault(key, group)["params"].append(parameter)
    return list(groups.values())


def _layers(encoder: nn.Module) -> tuple[str | None, int]:
    """Prefix of the encoder's list of layers within the classifier, and how many they are."""
    count = int(encoder.config.num_hidden_layers)
    for name, module in encoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return f"encoder.{name}.", count
    return None, count


def _part(name: str, prefix: str | None, layers: int, training: Training) -> tuple[str, float]:
    if not name.startswith("encoder."):
        kind = "pooling" if name.startswith("pooling.") else "heads"
        return kind, training.learning_rate * training.head_multiplier
    if prefix is not None and name.startswith(prefix):
        index = int(name[len(prefix) :].split(".", 1)[0])
        return f"layer_{index}", training.learning_rate * training.layer_decay ** (layers - 1 - index)
    if re.search("embed", name, re.IGNORECASE):
        return "embeddings", training.learning_rate * training.layer_decay**layers
    return "encoder_rest", training.learning_rate


def not_decayed(classifier: nn.Module) -> set[int]:
    """Identities of biases and of the parameters of normalisation layers."""
    found = {id(p) for name, p in classifier.named_parameters() if name.rsplit(".", 1)[-1] == "bias"}
    for module in classifier.modules():
        if "norm" in type(module).__name__.lower():
            found.update(id(parameter) for parameter in module.parameters(recurse=False))
    return found


def learning_rate_factor(schedule: Schedule | AdapterSchedule, step: int, total_steps: int) -> float:
    """Factor of the peak rate at a step, counted from 0: up from 0 over the warm-up, then down to 0 at total_steps.

    A constant schedule stays at 1 after the warm-up.
    """
    warmup = math.ceil(schedule.warmup_ratio * total_steps)
    if isinstance(schedule, AdapterSchedule):
        warmup = warmup or schedule.warmup_steps
    if step < warmup:
        return step / warmup
    if schedule.kind == "constant":
        return 1.0
    left = (total_steps - step) / max(1, total_steps - warmup)
    if schedule.kind == "linear":
        return max(0.0, left)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (1.0 - left))))


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its peak times the factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def clip_gradients(classifier: Classifier, training: Training) -> dict[str, float]:
    """Scale gradients in place to the norms that training allows; the norms before, by part.

    The parts are "global", or with head_max_grad_norm each head that it names and "encoder" for everything else.
    A part without a limit is measured only. A norm that is not finite leaves that part's gradients spoilt: look.
    """
    if training.head_max_grad_norm is None:
        return {"global": clip(classifier.parameters(), training.max_grad_norm)}
    own = {name: list(classifier.head(name).parameters()) for name in sorted(training.head_max_grad_norm)}
    taken = {id(parameter) for parameters in own.values() for parameter in parameters}
    norms = {name: clip(parameters, training.head_max_grad_norm[name]) for name, parameters in own.items()}
    rest = [parameter for parameter in classifier.parameters() if id(parameter) not in taken]
    return {**norms, "encoder": clip(rest, training.max_grad_norm)}


def clip(parameters: Iterable[Tensor], limit: float | None) -> float:
    """The norm of the gradients of some parameters, which are scaled in place to a limit where there is one."""
    chosen = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in chosen])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(chosen, limit, norm)
    return float(norm)
