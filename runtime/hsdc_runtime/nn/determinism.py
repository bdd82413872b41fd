"""Settings of the process under which the same work gives the same bits."""

from __future__ import annotations

import os

import torch

from hsdc_runtime.environment import WORKSPACE, WORKSPACES
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.spec import Execution


def deterministic(execution: Execution) -> None:
    """Fix the thread count and the kernels, refuse operations without a deterministic form, keep float32 in float32.

    HsdcError where the process was started with a workspace for cuBLAS under which its sums may come in any order.
    """
    torch.set_num_threads(execution.threads)
    torch.use_deterministic_algorithms(True)
    # What that would fill is never read here; the filling takes a tenth of the time of small batches.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    _pin_attention(on_cuda=execution.device == "cuda")
    if execution.device == "cuda" and os.environ.get(WORKSPACE) not in WORKSPACES:
        message = f"{WORKSPACE} is {os.environ.get(WORKSPACE) or 'not set'}, under which the same work gives other bits"
        raise fail("E439", Exit.ENVIRONMENT, message, None, f"unset it, or set it to {WORKSPACES[0]}")


def _pin_attention(*, on_cuda: bool) -> None:
    """One kernel for `sdpa` on a CUDA device, whatever the shapes; a CPU has one that is always taken.

    Left to itself, torch chooses by shape, mask and device, and what is chosen differs in its last bits.
    """
    torch.backends.cuda.enable_math_sdp(True)
    torch.backends.cuda.enable_flash_sdp(not on_cuda)
    torch.backends.cuda.enable_mem_efficient_sdp(not on_cuda)
    torch.backends.cuda.enable_cudnn_sdp(not on_cuda)
