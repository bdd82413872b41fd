"""`python -m benchmarks [NAME…] [--quick] [--data DIR]`: each benchmark in a process of its own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.results import show, write

NAMES = (
    "start_up",
    "encoder_epoch",
    "trainer",
    "inputs",
    "demo_memory",
    "prompting",
    "finetuning",
    "sft",
    "finetuning_gpu",
    "campaign",
    "hatexplain",
    "million_rows",
)
DATA = "HSDC_TWO_TASK"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def main() -> int:
    """Run what is named, all by default; 1 where something required was missed, 2 where a benchmark failed."""
    options = _parse()
    os.environ.update(ONE_THREAD)  # before anything that reads it is imported, and for every child
    if len(options.names) > 1:
        return max(_alone(name, options) for name in options.names)
    (name,) = options.names
    result = import_module(f"benchmarks.{name}").run(quick=options.quick, data=options.data)
    if result is None:  # what it needs is not here, and it said so
        return 0
    print("\n".join(show(result)), flush=True)
    if not options.quick:
        for path in write(result):
            print(f"written  benchmarks/results/{path.name}")
    return int(not all(item.met for item in result.required) and not options.quick)


def _alone(name: str, options: argparse.Namespace) -> int:
    """A benchmark in its own process: what one imports and allocates is not there when the next one measures."""
    flags = ["--quick"] if options.quick else []
    flags += ["--data", str(options.data)] if options.data else []
    code = subprocess.run([sys.executable, "-m", "benchmarks", name, *flags], check=False).returncode
    return code if code in (0, 1) else 2


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, to see that it works; writes nothing")
    told = "folder of the data set two_task, for encoder_epoch; the sample data by default"
    parser.add_argument("--data", type=Path, default=os.environ.get(DATA), metavar="DIR", help=f"{told} (or ${DATA})")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    options.names = list(dict.fromkeys(options.names)) or list(NAMES)
    options.data = Path(options.data).resolve() if options.data else None
    return options


if __name__ == "__main__":
    sys.exit(main())
