"""Stage prepare: rows of every split as token ids and targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from hsdc_runtime.nn.batches import Rows
from hsdc_runtime.nn.pretrained import pretrained_tokenizer
from hsdc_runtime.nn.tensors import MASKED, save_rows
from hsdc_runtime.work import Made, Work
from hsdc_schemas.components import Dataset
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.rows import Row, RowsRead, read_rows
from hsdc_schemas.stages import typed

Heads = dict[str, tuple[str, tuple[str, ...]]]


def prepare(work: Work) -> Made:
    """Read, check and tokenize every split that is trained on, fitted on or scored."""
    experiment = work.experiment
    heads = {name: (head.get("target") or name, tuple(head["labels"])) for name, head in experiment["heads"].items()}
    sources = {split: f"file:{path.name}" for split, path in work.inputs.splits.items()}
    dataset = typed(Dataset, {**experiment["dataset"], "splits": sources})
    tokenizer = pretrained_tokenizer(work.inputs.model)
    wanted = ("train", experiment["evaluation"]["fit_split"], experiment["evaluation"]["score_split"])
    splits, belongings, facts = {}, {}, {}
    for done, split in enumerate(dict.fromkeys(wanted)):
        work.progress(done, len(wanted), {"split": split})
        work.watch.doing(f"reading split {split}")
        read = read_rows(work.inputs.splits[split], split, dataset, heads, work.execution["limits"]["rows"])
        if read.digest != work.inputs.digests[split]:
            message = f"the file of split '{split}' changed while it was being read"
            raise fail("E415", Exit.ENVIRONMENT, message, None, "leave it alone and run again")
        if read.rejected:
            raise HsdcError(read.rejected)
        work.watch.doing(f"tokenizing split {split}")
        splits[split], cut = _tokenized(tokenizer, read.rows, heads, experiment["encoder"]["max_length"])
        belongings[split] = [(row.groups, row.cluster) for row in read.rows]
        facts[split] = _facts(read, splits[split], cut)
    _require_positions(work.inputs.model, max(int(rows.lengths.max()) for rows in splits.values()))
    if tokenizer.pad_token_id is None:
        raise fail("E434", Exit.SPEC, "the model's tokenizer has no padding token", None, "bind another model")
    save_rows(work.folder / "rows.safetensors", splits, tokenizer.pad_token_id, belongings)
    return Made({"rows": work.folder / "rows.safetensors"}, {"splits": facts})


def _require_positions(model: Path, longest: int) -> None:
    """A row that is longer than the model's positions would fail in the middle of training."""
    positions = json.loads((model / "config.json").read_bytes()).get("max_position_embeddings")
    if isinstance(positions, int) and longest > positions:
        message = f"a row has {longest} tokens, and the model has {positions} positions"
        raise fail("E435", Exit.SPEC, message, None, f"set encoder.max_length to {positions} at most")


def _tokenized(
    tokenizer: PreTrainedTokenizerBase, rows: tuple[Row, ...], heads: Heads, longest: int
) -> tuple[Rows, int]:
    encoded = tokenizer([row.text for row in rows], add_special_tokens=True, truncation=False, verbose=False)
    cut = sum(len(ids) > longest for ids in encoded["input_ids"])
    if cut:
        encoded = tokenizer([row.text for row in rows], add_special_tokens=True, truncation=True, max_length=longest)
    ids = encoded["input_ids"]
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in ids]))).astype(np.int64)
    tokens = np.concatenate([np.array(row, dtype=np.int32) for row in ids])
    return Rows(tuple(row.id for row in rows), tokens, offsets, _targets(rows, heads)), cut


def _targets(rows: tuple[Row, ...], heads: Heads) -> dict[str, np.ndarray]:
    targets = {}
    for head, (_, labels) in heads.items():
        number = {label: index for index, label in enumerate(labels)}
        column = [MASKED if (label := row.labels[head]) is None else number[label] for row in rows]
        targets[head] = np.array(column, dtype=np.int64)
    return targets


def _facts(read: RowsRead, rows: Rows, cut: int) -> dict[str, Any]:
    return {
        "read": read.read,
        "kept": read.kept,
        "filtered": dict(read.filtered),
        "rejected": dict(read.rejected_by_reason),
        "tokens": len(rows.tokens),
        "longest": int(rows.lengths.max()),
        "cut": cut,
    }
