"""All prompts of a file answered by a local model, window by window, as a stream that a killed run continues."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hsdc_runtime.nn.causal import longest_sequence, pretrained_causal
from hsdc_runtime.nn.cells import Cells
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.gguf import lay_out
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.nn.prompts import Prompt, common, shared_tokens, windows
from hsdc_runtime.partial import Partial
from hsdc_runtime.work import Interrupted, Made, Work
from hsdc_schemas.digests import digest_bytes
from hsdc_schemas.finetuning import Lora
from hsdc_schemas.spec import Execution
from hsdc_schemas.stages import typed

ON_CPU = 256
"""Most tokens of a pass on a CPU, which is busy with far fewer: more only make its attention slower."""
FEWEST = 64
"""Rows of a window, at least; else as many as a pass may have tokens."""


class Answerer(Protocol):
    """Answers a window of prompts in their order; `tokens` counts those that it was given."""

    tokens: int

    def answer(self, window: Sequence[Prompt]) -> list[dict[str, Any]]:
        """One row for each prompt."""


@dataclass(frozen=True)
class Local:
    """What an answerer is made of: the model with the shared prefix in its cells, and what bounds a batch."""

    model: PreTrainedModel
    cells: Cells
    tokenizer: PreTrainedTokenizerBase
    shared: Sequence[int]
    budget: int
    longest: int | None


def answer_all(work: Work, output: str, make: Callable[[Local], Answerer]) -> Made:
    """The answers to all prompts of the stage `render` as a file of JSON lines, in their order.

    A window of prompts is a unit: what is computed for it depends on no other, so that going on behind the last one
    that was finished gives the same bits. Raises Interrupted where the run is asked to stop.
    """
    execution = typed(Execution, work.execution)
    deterministic(execution)
    path, partial = work.needs["render"]["prompts"].path, Partial(work.checkpoints)
    found, folder = common(path), model_folder(work)
    tokenizer = pretrained_tokenizer(folder)
    shared = shared_tokens(tokenizer, found)
    facts: dict[str, Any] = {
        "engine": "transformers",
        "version": transformers.__version__,
        "rows": found.count,
        "shared_prefix_tokens": len(shared),
        "tokens_per_batch": _budget(execution),
        "chat_template": digest_bytes(str(tokenizer.chat_template).encode()),
    }
    if "train" in work.needs:
        facts["adapter"] = work.needs["train"]["adapter"].digest
    if partial.rows < found.count:
        work.watch.doing("loading the model")
        model = _model(work, folder, execution)
        cells = Cells(model, lambda: _go_on(work, partial))
        cells.share(shared, _budget(execution))
        local = Local(model, cells, tokenizer, shared, _budget(execution), longest_sequence(model.config))
        facts["rows_per_second"] = _stream(work, path, partial, local, make(local), found.count)
    target = work.folder / f"{output}.jsonl"
    partial.finish(target)
    return Made({output: target}, {**facts, **partial.counts})


def _model(work: Work, folder: Path, execution: Execution) -> PreTrainedModel:
    """The model, with the adapter on it where the run has trained one."""
    code = work.experiment["model"]["remote_code"]
    if "train" not in work.needs:
        return pretrained_causal(folder, execution, remote_code=code)
    from hsdc_runtime.nn.adapter import put_on
    from hsdc_runtime.nn.four_bits import quantised

    lora = typed(Lora, work.experiment["adapter"])
    model = pretrained_causal(folder, execution, remote_code=code, quantised=quantised(lora, execution))
    put_on(model, lora, work.needs["train"]["adapter"].path)
    return model


def model_folder(work: Work) -> Path:
    """The model's folder: the locked one, or what the stage `convert` made of it."""
    if "convert" in work.needs:
        return lay_out(work.needs["convert"]["model"].path, work.folder / "model")
    return work.inputs.model


def _budget(execution: Execution) -> int:
    return min(execution.tokens_per_batch, ON_CPU) if execution.device == "cpu" else execution.tokens_per_batch


def _go_on(work: Work, partial: Partial) -> None:
    if work.stop():
        raise Interrupted(f"stopped after row {partial.rows}; all before it are kept")


def _stream(work: Work, path: Path, partial: Partial, local: Local, answerer: Answerer, count: int) -> float:
    """Add the answers that are not there yet, and say how many this process gave in a second."""
    began, first = time.monotonic(), partial.rows
    rate = 0.0
    work.progress(first, count, {"kept": first} if first else {"rows_per_second": rate})
    for prompts in windows(path, max(FEWEST, local.budget), partial.rows):
        work.watch.doing(f"answering {len(prompts)} prompts from number {partial.rows + 1} on")
        before = _counts(local, answerer)
        rows = answerer.answer(prompts)
        partial.add(rows, {name: total - before[name] for name, total in _counts(local, answerer).items()})
        rate = round((partial.rows - first) / max(time.monotonic() - began, 1e-9), 3)
        work.progress(partial.rows, count, {"rows_per_second": rate})
    return rate


def _counts(local: Local, answerer: Answerer) -> dict[str, int]:
    """Batches, the tokens that they computed (none is padding), and all tokens, the shared ones in every row."""
    return {"batches": local.cells.passes, "computed_tokens": local.cells.tokens, "tokens": answerer.tokens}
