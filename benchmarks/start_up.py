"""What the command costs before it does anything: CPU time of whole processes, as ratios to an empty Python."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.processes import output_of, spend
from benchmarks.results import Requirement, Result, Table
from benchmarks.workspace import workspace

EMPTY = "python -c pass"
HEAVY = ("torch", "transformers", "numpy")
LOADED = """
import json, sys
from contextlib import redirect_stdout
from hsdc.__main__ import main
before = sys.stdout
with redirect_stdout(sys.stderr):
    try:
        code = main(sys.argv[1:])
    except SystemExit as end:
        code = end.code
assert not code, code
tops = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(name for name in tops - sys.stdlib_module_names if name[0] != "_")), file=before)
"""


@dataclass(frozen=True)
class Case:
    """One call: its name, the interpreter's arguments, and what is removed before each run, untimed."""

    name: str
    arguments: tuple[str, ...]
    removed: tuple[str, ...] = ()

    def ready(self, root: Path) -> None:
        """Bring the project to where the call starts."""
        for part in self.removed:
            shutil.rmtree(root / part, ignore_errors=True)


def _hsdc(name: str, *arguments: str, removed: tuple[str, ...] = ()) -> Case:
    return Case(name, ("-m", "hsdc", *arguments), removed)


CASES = (
    Case(EMPTY, ("-c", "pass")),
    _hsdc("hsdc --version", "--version"),
    _hsdc("hsdc --help", "--help"),
    _hsdc("hsdc compile, unchanged", "compile"),
    _hsdc("hsdc compile --check, unchanged", "compile", "--check"),
    _hsdc("hsdc compile, nothing generated, inputs known", "compile", removed=("generated",)),
    _hsdc("hsdc compile, from scratch", "compile", removed=("generated", ".hsdc")),
)


def run(*, quick: bool, data: Path | None) -> Result:
    """Every call in turn, several rounds; medians of the CPU seconds. `data` is not used."""
    rounds = 3 if quick else 15
    with workspace() as root:
        environment = {"PYTHONPYCACHEPREFIX": str(root / ".bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
        _each(root, environment, lambda case: spend(case.arguments, root, environment))  # compiles the bytecode
        seconds: dict[str, list[float]] = {case.name: [] for case in CASES}
        for _ in range(rounds):
            _each(root, environment, lambda case: seconds[case.name].append(_cpu(case, root, environment)))
        modules = {case.name: _modules(case, root, environment) for case in CASES[1:]}
    return _result(rounds, seconds, modules)


def _each(root: Path, environment: dict[str, str], act: Callable[[Case], object]) -> None:
    """Act on every case; one that removes something leaves the project whole for the next."""
    for case in CASES:
        case.ready(root)
        act(case)


def _cpu(case: Case, root: Path, environment: dict[str, str]) -> float:
    return spend(case.arguments, root, environment).cpu


def _modules(case: Case, root: Path, environment: dict[str, str]) -> list[str]:
    """Top-level modules from outside the standard library that the call leaves imported."""
    case.ready(root)
    arguments = [argument for argument in case.arguments if argument not in ("-m", "hsdc")]
    modules: list[str] = json.loads(output_of(["-c", LOADED, *arguments], root, environment))
    return modules


def _result(rounds: int, seconds: dict[str, list[float]], modules: dict[str, list[str]]) -> Result:
    typical = {name: median(values) for name, values in seconds.items()}
    found = {name: sorted(set(names) & set(HEAVY)) for name, names in modules.items()}
    rows = tuple(
        (
            name,
            f"{1000 * value:.0f}",
            f"{1000 * min(seconds[name]):.0f} to {1000 * max(seconds[name]):.0f}",
            f"{value / typical[EMPTY]:.1f}",
            "–" if name == EMPTY else ", ".join(found[name]) or "none",
        )
        for name, value in typical.items()
    )
    columns = ("call", "CPU ms, median", "range", f"ratio to {EMPTY}", f"of {', '.join(HEAVY)}")
    ours = {"hsdc", "hsdc_schemas", "hsdc_compiler", "hsdc_runtime"}
    others = tuple((name, ", ".join(n for n in names if n not in ours) or "none") for name, names in modules.items())
    loaded = sorted({name for names in found.values() for name in names})
    return Result(
        name="start_up",
        command="python -m benchmarks start_up",
        compared=f"CPU time (user and system) of whole processes, median of {rounds} interleaved rounds",
        tables=(
            Table("CPU time", columns, rows),
            Table("Imported from outside the standard library and hsdc", ("call", "modules"), others, text=(0, 1)),
        ),
        required=(Requirement(f"none of {', '.join(HEAVY)} is imported", ", ".join(loaded) or "none", not loaded),),
        figures={"rounds": rounds, "cpu_seconds": seconds, "median": typical, "modules": modules},
        notes=(
            "`inputs known` keeps `.hsdc`, whose cache holds the digests of unchanged files; `from scratch` does not.",
            "Both write every manifest of the default profile; from scratch, the model is hashed and every row read.",
            "Bytecode is compiled before the first round, in a folder of the benchmark's own.",
        ),
    )
