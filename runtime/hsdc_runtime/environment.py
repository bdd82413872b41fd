"""The environment as it is, and where it differs from the locked one."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, fail
from hsdc_schemas.record import Environment


def observe(packages: Mapping[str, str], device: str) -> Environment:
    """Interpreter, platform, processor and the versions that are installed of the locked packages."""
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
        device=device,
        packages={name: version for name, version in installed.items() if version},
        differs=differs,
    )


def require(environment: Environment, *, allowed: bool) -> None:
    """Refuse an environment that is not the locked one, unless that is allowed and so recorded."""
    missing = [name for name in environment.differs if name not in environment.packages]
    if missing:  # running without them fails anyway, whatever is allowed
        message = f"running needs the extra 'runtime', and {', '.join(missing)} cannot be found"
        raise fail("E431", Exit.ENVIRONMENT, message, None, "pip install 'hsdc[runtime]'")
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
