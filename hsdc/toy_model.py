"""A model with made-up weights, for projects that are to work at once: four layers, a few hundred kilobytes."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterable, Iterator

HIDDEN, LAYERS, INNER, POSITIONS = 16, 4, 32, 256
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()-"


def toy_files(words: Iterable[str] = ()) -> dict[str, bytes]:
    """Names and bytes of the files of a BERT that reads letters, and these words; the same on every machine."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    pieces += [word for word in sorted({*words}) if word not in pieces]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(pieces),
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    }
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS, **special}
    settings = {"config": config, "tokenizer_config": tokenizer, "tokenizer": _tokenizer(vocabulary)}
    files = {f"{name}.json": (json.dumps(value, indent=1) + "\n").encode() for name, value in settings.items()}
    return {**files, "model.safetensors": _weights(len(pieces))}


def _tokenizer(vocabulary: dict[str, int]) -> dict[str, object]:
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    first, last = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]"))
    text = {"Sequence": {"id": "A", "type_id": 0}}
    tokens = {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    template = {"type": "TemplateProcessing", "single": [first, text, last], "pair": [], "special_tokens": tokens}
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocabulary,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": list(vocabulary)[number], **added} for number in range(4)],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template,
        "decoder": None,
        "model": model,
    }


def _shapes(pieces: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    square, row = (HIDDEN, HIDDEN), (HIDDEN,)
    for name, count in (("word", pieces), ("position", POSITIONS), ("token_type", 2)):
        yield f"embeddings.{name}_embeddings.weight", (count, HIDDEN)
    norms, dense = ["embeddings.LayerNorm"], [("pooler.dense", square)]
    for layer in (f"encoder.layer.{number}" for number in range(LAYERS)):
        dense += [(f"{layer}.attention.{name}", square) for name in ("self.query", "self.key", "self.value")]
        dense += [(f"{layer}.attention.output.dense", square), (f"{layer}.intermediate.dense", (INNER, HIDDEN))]
        dense += [(f"{layer}.output.dense", (HIDDEN, INNER))]
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in dense:
        yield from ((f"{name}.weight", shape), (f"{name}.bias", shape[:1]))
    for name in norms:
        yield from ((f"{name}.weight", row), (f"{name}.bias", row))


def _weights(pieces: int) -> bytes:
    """Tensors in the format safetensors: the length of the header, the header, the numbers."""
    source, header, body = random.Random(7), {}, b""
    for name, shape in _shapes(pieces):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        if name.endswith("bias"):
            values = [0.0] * count
        else:
            values = [1.0] * count if "LayerNorm" in name else [source.uniform(-0.2, 0.2) for _ in range(count)]
        data = struct.pack(f"<{count}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
