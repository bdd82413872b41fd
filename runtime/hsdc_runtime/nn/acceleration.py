"""The accelerator of a run: device placement, mixed precision and the backward pass."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin

from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.spec import Execution


def require_device(execution: Execution) -> None:
    """HsdcError where the device of a run, or one for each of its processes, is not on this machine."""
    here = torch.cuda.device_count() if execution.device == "cuda" else execution.processes
    if here < execution.processes:
        found = f"no CUDA device is available here{'' if execution.processes == 1 else f' for {execution.processes}'}"
        if here:
            found = f"{execution.processes} processes need a CUDA device each, and {here} are here"
        hint = "run where there is one, or with a profile for the CPU"
        raise fail("E432", Exit.ENVIRONMENT, found, None, hint)


def device_model() -> str:
    """The name of the CUDA device, or of each where they are not of one kind; empty without any."""
    names = {torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())}
    return ", ".join(sorted(names))


def accelerator_for(execution: Execution) -> Accelerator:
    """An accelerator as the execution says, whatever the process made before and whatever its environment asks for.

    RuntimeError where the device is not here, or where somebody else started several processes: a run starts its own.
    """
    if execution.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("the device cuda is not available")
    AcceleratorState._reset_state(reset_partial_state=True)  # it is global, and refuses another precision
    accelerator = Accelerator(
        cpu=execution.device == "cpu",
        mixed_precision="bf16" if execution.precision == "bfloat16" else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if accelerator.num_processes != 1:
        raise RuntimeError(f"a run starts its own processes, and {accelerator.num_processes} were started")
    return accelerator
