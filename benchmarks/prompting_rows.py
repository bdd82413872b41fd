"""A process of its own that asks a tiny model about some rows, for the memory it takes: `rank 200`, `generate 200`."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hsdc_runtime.inputs import Located
from hsdc_runtime.stages.generate import generate
from hsdc_runtime.stages.rank import rank
from hsdc_runtime.watch import Watch
from hsdc_runtime.work import Output, Work

WORDS = [f"word{number}" for number in range(500)]
STAGES = {"rank": rank, "generate": generate}


def main() -> None:
    """Run a stage over so many prompts."""
    name, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="hsdc-benchmark-") as made:
        folder = Path(made)
        _model(folder / "model")
        _prompts(folder / "prompts.jsonl", count)
        (folder / "out").mkdir()
        work = Work(
            section={
                "experiment": {
                    "model": {"remote_code": False},
                    "task": {"labels": ["hate", "normal"]},
                    "prompt": {"format": {"kind": "label"}},
                    "generation": {"max_tokens": 4},
                },
                "execution": {"device": "cpu"},
            },
            inputs=Located({}, {}, folder / "model"),
            needs={"render": {"prompts": Output(folder / "prompts.jsonl", "")}},
            keys={},
            folder=folder / "out",
            checkpoints=folder / "checkpoints",
            responses=folder,
            progress=lambda at, total, figures: None,
            stop=lambda: False,
            watch=Watch(lambda *told: None),
        )
        (file,) = STAGES[name](work).files.values()
        with file.open("rb") as lines:
            if sum(1 for _ in lines) != count:
                raise RuntimeError(f"{name} did not answer all {count} prompts")


def _prompts(path: Path, count: int) -> None:
    source = random.Random(1)
    with path.open("w") as file:
        for number in range(count):
            own = " ".join(source.choices(WORDS, k=source.randint(5, 40)))
            text = f"{' '.join(WORDS[:60])} {own} label:"
            file.write(json.dumps({"id": f"row-{number}", "messages": [], "text": text}) + "\n")


def _model(folder: Path) -> None:
    known = {word: place for place, word in enumerate(("<end>", "<unknown>", "label", ":", "hate", "normal", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>").save_pretrained(folder)
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(known), eos_token_id=0, **shape)).save_pretrained(folder)


if __name__ == "__main__":
    main()
