"""Resumable checkpoints, complete or absent, and digests of tensors by content."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hsdc_schemas.digests import digest_bytes, digest_file, digest_json, force, sync_folder

STATE, DIGESTS = "state.json", "digests.json"
_NAME = re.compile(r"step-(\d{9})")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a checkpoint holds: optimizer steps done, JSON state, and named groups of tensors."""

    step: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]


def save_checkpoint(folder: Path, snapshot: Snapshot, keep: int) -> Path:
    """Write a checkpoint below the folder, then drop all but the newest `keep`; the path of the one written.

    One of that step that is already there is left: the state at a step is a function of the step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = _path(folder, snapshot.step)
    if not final.exists():
        part = folder / f".{final.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            _write(part, snapshot)
        except Exception:  # of a full disk, what was written only takes room
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(final)
        sync_folder(folder)
    for old in _newest_first(folder)[keep:]:
        doomed = old.with_name(f".{old.name}.old")
        old.rename(doomed)  # never a half-removed checkpoint under its name
        shutil.rmtree(doomed)
    return final


def load_checkpoint(folder: Path) -> Snapshot | None:
    """The newest intact checkpoint, or None; a damaged one is renamed to `step-….damaged-N` and passed over."""
    if not folder.is_dir():
        return None
    for leftover in [*folder.glob(".step-*.part"), *folder.glob(".step-*.old")]:
        shutil.rmtree(leftover)
    for path in _newest_first(folder):
        if _intact(path):
            return read_checkpoint(folder, int(path.name.removeprefix("step-")))
        _set_aside(path)
    return None


def read_checkpoint(folder: Path, step: int) -> Snapshot:
    """The checkpoint of a step, which somebody found to be intact."""
    path = _path(folder, step)
    state = json.loads((path / STATE).read_text("utf-8"))
    return Snapshot(step, state, {file.stem: _read(file) for file in sorted(path.glob("*.safetensors"))})


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:09d}"


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def _write(folder: Path, snapshot: Snapshot) -> None:
    for group, tensors in snapshot.tensors.items():
        save_file(dict(tensors), folder / f"{group}.safetensors")
    (folder / STATE).write_text(json.dumps(snapshot.state, allow_nan=False), "utf-8")
    digests = {path.name: digest_file(path)[0] for path in sorted(folder.iterdir())}
    (folder / DIGESTS).write_text(json.dumps(digests, sort_keys=True), "utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            force(file.fileno(), path)
    sync_folder(folder)


def _intact(path: Path) -> bool:
    try:
        digests = json.loads((path / DIGESTS).read_text("utf-8"))
        present = {file.name for file in path.iterdir()} - {DIGESTS}
        return present == set(digests) and all(digest_file(path / name)[0] == digests[name] for name in digests)
    except (FileNotFoundError, ValueError, TypeError):
        return False


def _read(file: Path) -> dict[str, Tensor]:
    """Tensors that own their memory, not views of a file that may go."""
    return {name: tensor.clone() for name, tensor in load_file(file).items()}


def _set_aside(path: Path) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's weights by name, contiguous and on the CPU."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in module.state_dict().items()}


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name; all others stay what they are."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of what is trained, by name, contiguous and on the CPU."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in trained(module).items()}


def restore_trained(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put back what `trained_weights` gave; ValueError where it is of another adapter."""
    own = trained(module)
    if own.keys() != weights.keys():
        raise ValueError("the checkpoint is of another adapter")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])


def tensor_digests(tensors: Mapping[str, Tensor]) -> tuple[list[dict[str, Any]], str]:
    """Name, dtype, shape and digest of each tensor's little-endian bytes, by name, and the digest of that list."""
    found = [
        {
            "name": name,
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "digest": digest_bytes(_little_endian(tensor)),
        }
        for name, tensor in sorted(tensors.items())
    ]
    return found, digest_json(found)


def _little_endian(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    if sys.byteorder == "big":
        flat = flat.reshape(-1, tensor.element_size()).flip(1).reshape(-1)
    return memoryview(flat.numpy())
