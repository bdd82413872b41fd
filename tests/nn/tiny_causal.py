"""A tiny Llama with random weights and a tokenizer that merges across seams, in a folder; prompts to ask it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ("the", "a", "hate", "not", "normal", "text", "of", "row", "is", "was", "here", "there", "answer", "label")
WORDS += ("what", "how", "people", "some", "all", "none", "often")
TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
INSTRUCTION = "Say what the text is, hate or not hate or normal, and nothing else. " + " ".join(WORDS) + "\n"


def build(folder: Path, *, kind: str = "llama", positions: int = 512) -> Path:
    """Weights large enough that what a token sees changes what follows it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([" ".join(random.Random(1).choices(WORDS, k=400))] * 2, trainer)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(3)
    model = _model(kind, len(fast), positions)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.dim() > 1 else 1)
    model.generation_config.eos_token_id = 1
    model.save_pretrained(folder)
    return folder


def _model(kind: str, vocabulary: int, positions: int) -> Any:
    if kind == "gpt2":
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": positions}
        return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=1, **shape))
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def prompts(count: int, *, seed: int = 0, longest: int = 30, instruction: str = INSTRUCTION) -> list[dict[str, Any]]:
    """Rows of a prompts file: the same beginning, then texts of different lengths."""
    source = random.Random(seed)
    rows = []
    for number in range(count):
        text = " ".join(source.choices(WORDS, k=source.randint(1, longest)))
        messages = [{"role": "system", "content": instruction}, {"role": "user", "content": text}]
        joined = "".join(f"<s>{message['role']}\n{message['content']}</s>\n" for message in messages)
        rows.append({"id": f"row-{number}", "messages": messages, "text": f"{joined}<s>assistant\nanswer: "})
    return rows


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
