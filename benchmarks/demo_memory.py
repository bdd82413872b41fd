"""Peak memory of `hsdc run run4` on the sample data, in a project without a store."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.processes import spend
from benchmarks.results import Requirement, Result, Table
from benchmarks.workspace import workspace

MOST = 3 * 10**9
RUN = "run4"
EPOCHS = re.compile(r"\bepochs: \d+")


def run(*, quick: bool, data: Path | None) -> Result:
    """Compile and run in a fresh copy; with `quick`, one epoch and so without R-Drop. `data` is not used."""
    with workspace() as root:
        if quick:
            _shorten(root / "specs" / "profiles" / "demo.yaml")
        compiled = spend(["-m", "hsdc", "compile"], root)
        ran = spend(["-m", "hsdc", "run", RUN], root, loud=True)
        record = json.loads((root / "generated" / "demo" / f"{RUN}.record.json").read_bytes())
        size = sum(path.stat().st_size for path in (root / ".hsdc").rglob("*") if path.is_file())
    own = int(record["peak_memory_bytes"])
    required = f"`hsdc run {RUN}` stays under {MOST / 1e9:.0f} GB"
    rows = (
        ("hsdc compile", f"{compiled.peak / 1e9:.3f}", f"{compiled.cpu:.1f}"),
        (f"hsdc run {RUN}", f"{ran.peak / 1e9:.3f}", f"{ran.cpu:.1f}"),
        ("the same, by its own record", f"{own / 1e9:.3f}", f"{sum(s['cpu_seconds'] for s in record['stages']):.1f}"),
    )
    return Result(
        name="demo_memory",
        command="python -m benchmarks demo_memory",
        compared=f"peak resident memory and CPU time of whole processes, profile demo, {RUN} from an empty store",
        tables=(Table("Peak memory", ("call", "peak GB", "CPU s"), rows),),
        required=(Requirement(required, f"{ran.peak / 1e9:.3f} GB", ran.peak < MOST),),
        figures={
            "compile": {"peak_bytes": compiled.peak, "cpu_seconds": compiled.cpu},
            "run": {"peak_bytes": ran.peak, "cpu_seconds": ran.cpu},
            "record_peak_bytes": own,
            "stage_cpu_seconds": {stage["name"]: stage["cpu_seconds"] for stage in record["stages"]},
            "store_bytes": size,
        },
        notes=(
            "GB are 10⁹ bytes. The peak is the kernel's (ru_maxrss of the child).",
            f"The store of the finished run holds {size / 1e6:.0f} MB.",
        ),
    )


def _shorten(profile: Path) -> None:
    """Cap a profile at one epoch."""
    text, found = EPOCHS.subn("epochs: 1", profile.read_text("utf-8"))
    if found != 1:
        raise RuntimeError(f"{profile.name} does not cap the epochs once")
    profile.write_text(text, "utf-8")
