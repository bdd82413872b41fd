"""What an adapter has to be, on whatever model: its targets are there, and what is trained beside it is saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hsdc_compiler.faults import fault
from hsdc_compiler.node import Node
from hsdc_schemas.adapters import ALL_LINEAR, HEADS, POOLING, LowRank
from hsdc_schemas.encoder import EncoderExperiment
from hsdc_schemas.errors import Diagnostic, did_you_mean
from hsdc_schemas.finetuning import FinetuneExperiment


def targets(experiment: EncoderExperiment | FinetuneExperiment, tree: Node) -> Iterator[Diagnostic]:
    """Every target is named once, and `all-linear` stands alone."""
    named = experiment.adapter.targets if experiment.adapter is not None else ()
    if ALL_LINEAR in named and len(named) > 1:
        message = f"'{ALL_LINEAR}' already names every module"
        yield fault(tree, "E730", message, ("adapter", "targets"), f"write [{ALL_LINEAR}]")


def saved(experiment: EncoderExperiment, tree: Node) -> Iterator[Diagnostic]:
    """What an encoder run learns beside the adapter is saved with it."""
    if experiment.adapter is None:
        return
    saves, beside, path = experiment.adapter.saves, experiment.encoder.beside, ("adapter", "saves")
    if missing := [part for part in beside if part not in saves]:
        parts = " and the ".join(missing)
        message = f"the {parts} would be trained and not saved, and drawn anew at random where the adapter is read"
        others = (name for name in saves if name not in (HEADS, POOLING))
        hint = f"write saves: [{', '.join((*beside, *others))}]"
        yield fault(tree, "E737", message, path, hint, at_key=tree.at(path) is None)
    if POOLING in saves and POOLING not in beside:
        message = f"the pooling '{experiment.encoder.pooling}' has no weights that could be saved"
        yield fault(tree, "E736", message, path, f"take '{POOLING}' out, or choose the pooling attention")


def adaptable(adapter: LowRank, modules: Sequence[str], tree: Node) -> Iterator[Diagnostic]:
    """Every target of the adapter is the end of the name of a module of the locked model."""
    known = {name.rsplit(".", 1)[-1] for name in modules}
    for target in adapter.targets:
        if target != ALL_LINEAR and not any(f".{name}".endswith(f".{target}") for name in modules):
            message = f"the model has no module '{target}' that an adapter could be put on"
            yield fault(tree, "E736", message, ("adapter", "targets"), did_you_mean(target, known))
