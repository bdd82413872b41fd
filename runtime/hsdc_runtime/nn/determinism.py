"""Settings of the process under which the same work gives the same bits."""

from __future__ import annotations

import os

import torch

from hsdc_schemas.spec import Execution


def deterministic(execution: Execution) -> None:
    """Fix the thread count, refuse operations without a deterministic form, and keep float32 products in float32."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
    torch.set_num_threads(execution.threads)
    torch.use_deterministic_algorithms(True)
    # What that would fill is never read here; the filling takes a tenth of the time of small batches.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
