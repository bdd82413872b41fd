"""The environment as it is, and where it differs from the locked one."""

from __future__ import annotations

import logging
import os
import platform
import resource
import sys
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path

from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, fail
from hsdc_schemas.record import Environment
from hsdc_schemas.spec import Execution

OPTIMIZER = "torch AdamW, fused"
EXTRAS = {"bitsandbytes": "nf4"}  # packages that not every run needs, and what brings them
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")  # under which cuBLAS adds up in one order


def before_the_framework() -> None:
    """Set what the libraries read when they start; what the user has set stays, and is judged later.

    Code of a hub that no spec pins stays away: with the package `kernels`, libraries fetch and run it by themselves.
    """
    os.environ.setdefault(WORKSPACE, WORKSPACES[0])
    sys.modules.setdefault("kernels", None)  # Python's own sign for: not to be imported
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it would warn of that


def observe(packages: Mapping[str, str], execution: Execution) -> Environment:
    """Interpreter, platform, processor, what the execution sets, and the installed versions of the locked packages."""
    installed = {name: _version(name) for name in packages}
    differs = {
        name: f"locked {locked or 'nothing'}, installed {installed[name] or 'nothing'}"
        for name, locked in packages.items()
        if locked not in (installed[name], installed[name].split("+")[0])
    }
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()} {'-'.join(platform.libc_ver())}",
        machine=platform.machine(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        device=execution.device,
        device_model=_device_model() if execution.device == "cuda" else "",
        precision=execution.precision,
        attention=execution.attention,
        optimizer=OPTIMIZER,
        threads=execution.threads,
        processes=execution.processes,
        elastic=execution.elastic,
        packages={name: version for name, version in installed.items() if version},
        differs=differs,
    )


def require(environment: Environment, *, allowed: bool) -> None:
    """Refuse an environment that is not the locked one, unless that is allowed and so recorded."""
    missing = [name for name in environment.differs if name not in environment.packages]
    if missing:  # running without them fails anyway, whatever is allowed
        extra = EXTRAS.get(missing[0], "runtime") if len(missing) == 1 else "runtime"
        message = f"running needs the extra '{extra}', and {', '.join(missing)} cannot be found"
        raise fail("E431", Exit.ENVIRONMENT, message, None, f"pip install 'hsdc[{extra}]'")
    if not environment.differs or allowed:
        return
    hint = "install the lock (make setup, or pip install 'hsdc[runtime]'), or run with --allow-environment"
    raise HsdcError(
        Diagnostic("E430", Exit.ENVIRONMENT, f"{name}: {difference}", None, hint)
        for name, difference in sorted(environment.differs.items())
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _device_model() -> str:
    """What the CUDA device is called; empty where that cannot be known here."""
    try:
        found: str = import_module("hsdc_runtime.nn.acceleration").device_model()
    except ImportError:  # said elsewhere, with the way out
        return ""
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def peak_memory() -> int:
    """Peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
