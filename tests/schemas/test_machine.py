"""What is the machine's fault, as whichever library says it, and what is not."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from hsdc_schemas.machine import machine_fault

FAULTS = {
    "on a full disk": (
        OSError(errno.ENOSPC, "No space left on device", "made"),
        "No space left on device: made",
        "room",
    ),
    "over a quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded: the disk", "room"),
    "on a disk that fails": (OSError(errno.EIO, "Input/output error", "made"), "Input/output error: made", "not kept"),
    "on a disk to read": (OSError(errno.EROFS, "Read-only file system"), "Read-only file system: the", "writable"),
    "in Rust": (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left on device", "room"),
    "out of memory": (MemoryError(), "out of memory", "lower tokens_per_micro_batch"),
    "of an accelerator": (torch.OutOfMemoryError("CUDA out of memory. Tried to …"), "out of memory", "lower"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_the_machine(kind: str) -> None:
    error, message, hint = FAULTS[kind]
    found = machine_fault(error, "train")
    assert found is not None
    (fault,) = found.diagnostics
    assert (fault.code, int(fault.exit)) == ("E433", 4)
    assert fault.message.startswith(f"train: {message}")
    assert hint in fault.hint


def test_a_file_is_named_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, shown in ((tmp_path / "made/here", "made/here"), ("made", "made"), ("/elsewhere", "/elsewhere")):
        found = machine_fault(OSError(errno.ENOSPC, "No space", str(path)))
        assert found is not None
        assert found.diagnostics[0].message == f"No space left on device: {shown}"


def test_memory_that_is_not_there() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 62, dtype=torch.uint8)
    assert machine_fault(caught.value) is not None


@pytest.mark.parametrize(
    "error",
    [ValueError("wrong"), OSError("no number"), FileNotFoundError(errno.ENOENT, "No such file"), RuntimeError()],
)
def test_what_is_not_the_machines_fault(error: Exception) -> None:
    assert machine_fault(error) is None
