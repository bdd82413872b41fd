"""Which files make a model, and which of them decide token ids."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from hsdc_schemas.errors import Exit, HsdcError, fail

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
GENERATION = ("generation_config.json",)
TOKENIZER = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
)
CODE = ("*.py",)
PATTERNS = WEIGHTS + GENERATION + TOKENIZER
LONGEST_INDEX = 64 << 20  # bytes of an index of weights


def model_files(folder: Path, gguf: str = "", *, code: bool = False) -> tuple[str, ...]:
    """Names of the files that make a model, sorted: configuration, safetensors weights, tokenizer; or the GGUF alone.

    Pickles, other frameworks' weights, subfolders and, without `code`, modules are left out. A link is followed only
    inside the folder, or from a snapshot of the hub cache into that repository's blobs. Raises HsdcError (`FAULTS`).
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        message = f"the model folder '{folder.name}' cannot be read: {error.strerror}"
        raise fail("E403", Exit.ENVIRONMENT, message, hint="name the folder that holds config.json") from None
    patterns = (gguf,) if gguf else (*PATTERNS, *(CODE if code else ()))
    kept = tuple(name for name in names if _matches(name, patterns))
    homes = _homes(folder)
    for name in kept:
        _check_model_file(folder, name, homes)
    if gguf:
        return kept
    if not any(name.endswith(".safetensors") for name in kept):
        hint = "take a revision that has them, or convert the weights to safetensors"
        raise fail(
            "E410", Exit.ENVIRONMENT, f"the model folder '{folder.name}' holds no safetensors weights", hint=hint
        )
    for name in kept:
        if name.endswith(".safetensors.index.json"):
            _check_shards(folder, name, kept)
    return kept


def tokenizer_files(names: Iterable[str]) -> tuple[str, ...]:
    """Those of a model's files that decide token ids: all but weights and generation settings, sorted."""
    return tuple(sorted(name for name in names if _matches(name, (*TOKENIZER, "*.gguf"))))


def _homes(folder: Path) -> tuple[Path, ...]:
    """The folders that a model's files may lie in: its own, and for a hub snapshot the repository's blobs."""
    whole = folder.resolve()
    repository = whole.parent.parent
    if whole.parent.name == "snapshots" and repository.name.startswith("models--"):
        return whole, (repository / "blobs").resolve()
    return (whole,)


def _check_model_file(folder: Path, name: str, homes: tuple[Path, ...]) -> None:
    path = folder / name
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        message = f"'{name}' of the model folder '{folder.name}' is a broken link"
        raise fail("E403", Exit.ENVIRONMENT, message, hint="fetch the whole model again") from None
    if not any(target.is_relative_to(home) for home in homes):
        message = f"'{name}' of the model folder '{folder.name}' is a link that leads outside"
        raise fail("E412", Exit.ENVIRONMENT, message, hint="copy the file into the folder")
    if not target.is_file():
        message = f"'{name}' of the model folder '{folder.name}' is not a regular file"
        raise fail("E404", Exit.ENVIRONMENT, message, hint="remove it, or put the file itself there")


def _check_shards(folder: Path, name: str, kept: tuple[str, ...]) -> None:
    try:
        with (folder / name).open("rb") as file:
            named = set(json.loads(file.read(LONGEST_INDEX))["weight_map"].values())
        missing = sorted(map(str, named - set(kept)))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _incomplete(folder, f"'{name}' is no index of weights") from None
    if missing:
        raise _incomplete(
            folder, f"'{missing[0]}' is missing" + (f", with {len(missing) - 1} more" if missing[1:] else "")
        )


def _incomplete(folder: Path, why: str) -> HsdcError:
    hint = "fetch the whole model again"
    return fail("E413", Exit.ENVIRONMENT, f"the model folder '{folder.name}' is not whole: {why}", hint=hint)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
