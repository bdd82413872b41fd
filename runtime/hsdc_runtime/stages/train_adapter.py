"""Stage `train` of a fine-tune: from conversations to the adapter of the best epoch."""

from __future__ import annotations

from typing import Any

from safetensors.torch import save_file

from hsdc_runtime.nn.adapter import config_of, published
from hsdc_runtime.nn.adapter_training import train_adapter as learn
from hsdc_runtime.nn.answers import model_folder
from hsdc_runtime.nn.causal import longest_sequence, pretrained_causal
from hsdc_runtime.nn.checkpoint import tensor_digests
from hsdc_runtime.nn.examples import Examples, load_examples
from hsdc_runtime.nn.four_bits import quantised
from hsdc_runtime.nn.loop import Trained
from hsdc_runtime.nn.reporting import Counter, told
from hsdc_runtime.work import Made, Work
from hsdc_schemas.digests import canonical
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.finetuning import AdapterTraining, Lora
from hsdc_schemas.spec import Execution
from hsdc_schemas.stages import typed


def train_adapter(work: Work) -> Made:
    """Train on the train split, choose the epoch on the fit split, write the adapter, its digests and the history."""
    experiment, execution = work.experiment, typed(Execution, work.execution)
    lora, training = typed(Lora, experiment["adapter"]), typed(AdapterTraining, experiment["training"])
    file, evaluation = work.needs["examples"]["examples"].path, experiment["evaluation"]
    data, pad_id = load_examples(file, evaluation["train_split"])
    validation, _ = load_examples(file, evaluation["fit_split"])
    work.watch.doing("reading the model")
    folder, how = model_folder(work), quantised(lora, execution)
    model = pretrained_causal(folder, execution, remote_code=experiment["model"]["remote_code"], quantised=how)
    _require_positions(longest_sequence(model.config), data, validation)
    counter = Counter(work)
    with told():
        adapted, trained = learn(
            model,
            data,
            validation,
            lora=lora,
            training=training,
            execution=execution,
            pad_id=pad_id,
            checkpoints=work.checkpoints,
            observe=counter,
            stop=work.stop,
            doing=work.watch.doing,
        )
    files = {name: work.folder / f"{name}.json" for name in ("config", "tensors", "history")}
    files["adapter"] = work.folder / "adapter_model.safetensors"
    tensors = published(adapted)
    described, root = tensor_digests(tensors)
    # One key of metadata: several are written in an order of their own, which would change the file's bytes.
    save_file(tensors, files["adapter"], metadata={"format": "pt"})
    files["config"].write_bytes(config_of(lora, experiment["model"]["source"], experiment["model"]["revision"]))
    files["tensors"].write_bytes(canonical(described) + b"\n")
    files["history"].write_bytes(canonical(trained.history) + b"\n")
    own = sum(tensor.numel() for tensor in tensors.values())
    facts = _facts(trained, data, own, sum(parameter.numel() for parameter in model.parameters()) - own)
    return Made(files, {**facts, **counter.rates()}, {"adapter": root})


def _require_positions(longest: int | None, *splits: Examples) -> None:
    """A row that is longer than the model's positions would fail in the middle of training."""
    found = max(int(examples.lengths.max()) for examples in splits)
    if longest is not None and found > longest:
        message = f"a row has {found} tokens with its answer, and the model takes {longest}"
        raise fail("E444", Exit.SPEC, message, None, f"set training.max_tokens to {longest} at most")


def _facts(trained: Trained, data: Examples, own: int, base: int) -> dict[str, Any]:
    """`supervised_tokens` are those of one pass over the training rows."""
    return {
        **trained.counts,
        "supervised_tokens": int(data.supervised.sum()),
        "best_epoch": trained.best_epoch,
        "best_metric": trained.best_metric,
        "parameters": own,
        "base_parameters": base,
    }
