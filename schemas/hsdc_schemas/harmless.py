"""Whether a model's files do no more than hold numbers and settings: no key of them runs code or reads other files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.safetensors_header import safetensors_header

SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
LONGEST_SETTINGS = 16 << 20
FILE_OF_CODE = re.compile(r"[\w./-]+\.(py|pyc|so)")
CODE = "lets a library run code that comes with the model"
FETCHED = "lets a library fetch code and run it"
ELSEWHERE = "lets a library read other files than those that are locked"
KEYS = {
    **dict.fromkeys(("auto_map", "custom_generate", "custom_pipelines", "trust_remote_code"), CODE),
    **dict.fromkeys(("_attn_implementation_internal", "_experts_implementation_internal"), FETCHED),
    **dict.fromkeys(("transformers_weights", "configuration_files", "fast_tokenizer_files", "gguf_file"), ELSEWHERE),
    **dict.fromkeys(("adapter_kwargs", "_adapter_model_path", "base_model_name_or_path", "peft_type"), ELSEWHERE),
}
"""Keys that are refused wherever they stand in a model's settings, and what each one does."""
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Keys that name a way to compute; with a slash it is a repository whose code would be fetched and run."""


def require_harmless(folder: Path, names: Iterable[str], *, code: bool = False) -> None:
    """Look into the settings and the weights' headers of a model, given the names of its files.

    With `code` the model may run what lies in its own folder, which is locked too, and nothing from elsewhere. Raises
    HsdcError: E427 (POLICY) for what runs code or leads elsewhere, E428 (ENVIRONMENT) for what is unsound.
    """
    faults: list[Diagnostic] = []
    for name in sorted(names):
        try:
            if name in SETTINGS:
                faults += _settings(folder, name, code=code)
            elif name.endswith(".safetensors"):
                safetensors_header(folder / name)
        except ValueError as error:
            message = f"'{name}' of the model folder '{folder.name}' is not sound: {error}"
            hint = "fetch the whole model again, or bind another one"
            faults.append(Diagnostic("E428", Exit.ENVIRONMENT, message, None, hint))
    if faults:
        raise HsdcError(faults)


def _settings(folder: Path, name: str, *, code: bool) -> Iterator[Diagnostic]:
    path = folder / name
    if path.stat().st_size > LONGEST_SETTINGS:
        raise ValueError(f"it has more than {LONGEST_SETTINGS:,} bytes")
    try:
        value = json.loads(path.read_bytes())
        found = list(_refused(value, ()))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error.msg}") from None
    if not isinstance(value, dict):
        raise ValueError("it holds no settings")
    for keys, what in found:
        if code and what == CODE:
            continue
        message = f"'{name}' of the model folder '{folder.name}' sets '{'.'.join(keys)[:200]}', which {what}"
        hint = "bind a model that the libraries know by themselves, or a copy of the folder without that key"
        yield Diagnostic("E427", Exit.POLICY, message, None, hint)


def _refused(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys that are set and refused, each with what it does."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in KEYS and item:
                fetched = any("--" in text for text in _texts(item))  # how a library names another repository's code
                yield (*path, key), FETCHED if fetched else KEYS[key]
            elif key in KERNELS and any("/" in text for text in _texts(item)):
                yield (*path, key), FETCHED
            else:
                yield from _refused(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from _refused(item, path)
    elif isinstance(value, str) and FILE_OF_CODE.fullmatch(value):
        yield path, CODE


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
