"""Which package may import what, read from the syntax trees: no code of ours runs here.

A rule takes one source file and yields its faults. Every rule is shown to bite on planted sources, and to leave alone
what is allowed, so that a rule which has come to match nothing is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from functools import cache
from pathlib import Path

import pytest

from tests.syntax import PACKAGES, Source

ROOT = Path(__file__).resolve().parent.parent
OUTSIDE = ("tests", "benchmarks")  # our code too: may import anything, but not grow without end
ABOVE = {  # what of ours each package may not import
    "hsdc_schemas": {"hsdc_compiler", "hsdc_runtime", "hsdc"},
    "hsdc_compiler": {"hsdc_runtime", "hsdc"},
    "hsdc_runtime": {"hsdc_compiler", "hsdc"},
    "hsdc": set[str](),
}
HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers"}
HEAVY |= {"numpy", "sklearn", "scipy", "pandas", "datasets"}
HEAVY_ROOMS = ("runtime/hsdc_runtime/stages/", "runtime/hsdc_runtime/nn/", "runtime/hsdc_runtime/making/")
NUMBERS = {"numpy"}  # alone may also stand where figures are resampled, and those files are imported only when needed
NUMBERS_ROOMS = tuple(f"schemas/hsdc_schemas/{name}.py" for name in ("resampling", "ranking", "numbers", "judged"))
NUMBERS_ROOMS += tuple(f"schemas/hsdc_schemas/{name}.py" for name in ("bound", "contrast", "comparison"))
NETWORK = {"huggingface_hub", "httpx", "httpx2", "urllib", "urllib3", "requests", "aiohttp", "openai", "socket"}
NETWORK |= {"http", "ftplib"}
NETWORK_ROOM = "compiler/hsdc_compiler/hub.py"
RUNTIME_NETWORK_ROOM = "runtime/hsdc_runtime/endpoint/"
UNSTEADY = {"time", "random", "datetime", "secrets", "uuid"}
UNSTEADY_CALLS = {"os.urandom", "os.getrandom"}
# of the compiler, no passes: what passes share
VALUES = {"compilation", "sections", "node", "merge", "cache", "changes"}
VALUES |= {"block", "stream", "stamp", "known", "committed", "project", "diagnostics", "git", "edit", "faults"}
VALUES |= {"encoder_rules", "prompt_rules", "finetune_rules", "adapter_rules", "data_rules"}
VALUES |= {"templates", "patterns", "syntax", "recheck"}
# of the compiler, no passes: may call passes
ORDER = {
    "__init__",
    "families",
    "side_inputs",
    "pipeline",
    "manifests",
    "session",
    "publish",
    "project",
    "recompile",
    "sides",
    "state",
    "untouched",
}
ORDER |= {"comparison", "prose", "diff", "edit", "layout"}
FACE_IMPORTS = {"argparse", "getopt", "optparse"}
FACE_NAMES = {"print", "input", "exit", "quit", "SystemExit"}
FACE_NAMES |= {"sys.argv", "sys.exit", "sys.stdout", "sys.stderr", "os._exit"}
SPEC_PATH = re.compile(r"(\S*[/\\])?specs([/\\]\S*)?|\S*\.ya?ml")  # a message with blanks is not a path
TIRED_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers"}
MOST_LINES = 330


Faults = Iterator[str]
Rule = Callable[[Source], Faults]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _unit(name: str, package: str) -> str | None:
    """The part after `package` in a dotted name below it: a pass or a stage."""
    return name.removeprefix(f"{package}.").partition(".")[0] if name.startswith(f"{package}.") else None


def _imported(source: Source, tops: Set[str], why: str) -> Faults:
    return (f"{source.path}:{line}: {why}: {name}" for line, name in source.imports if _top(name) in tops)


def _read(source: Source, names: Set[str], why: str) -> Faults:
    return (f"{source.path}:{line}: {why}: {name}" for line, name in source.reads if name in names)


def floors(source: Source) -> Faults:
    if source.package:
        yield from _imported(source, ABOVE[source.package] | {*OUTSIDE}, f"{source.package} may not import")


def runtime_knows_no_specs(source: Source) -> Faults:
    if source.package == "hsdc_runtime":
        yield from _imported(source, {"yaml", "ruamel"}, "the runtime reads manifests, never YAML")
        for line, text in source.strings:
            if SPEC_PATH.fullmatch(text):
                yield f"{source.path}:{line}: the runtime never reads specs: {text}"


def heavy_libraries(source: Source) -> Faults:
    if source.package and not source.path.startswith(HEAVY_ROOMS):
        heavy = HEAVY - NUMBERS if source.path in NUMBERS_ROOMS else HEAVY
        yield from _imported(source, heavy, f"belongs below {' or '.join(HEAVY_ROOMS)}")


def compiler_network(source: Source) -> Faults:
    if source.package == "hsdc_compiler" and source.path != NETWORK_ROOM:
        yield from _imported(source, NETWORK, f"belongs in {NETWORK_ROOM}")


def runtime_network(source: Source) -> Faults:
    if source.package == "hsdc_runtime" and not source.path.startswith(RUNTIME_NETWORK_ROOM):
        yield from _imported(source, NETWORK, f"belongs in {RUNTIME_NETWORK_ROOM}")


def compiler_is_steady(source: Source) -> Faults:
    if source.package == "hsdc_compiler":
        yield from _imported(source, UNSTEADY, "the compiler has no clock and no chance")
        yield from _read(source, UNSTEADY_CALLS, "the compiler has no chance")


def stages_stand_alone(source: Source) -> Faults:
    own = _unit(".".join(source.module), "hsdc_runtime.stages")
    if own not in {None, "__init__"}:
        for line, name in source.imports:
            if _unit(name, "hsdc_runtime.stages") not in {None, own}:
                yield f"{source.path}:{line}: the stage {own} may not import {name}"


def passes_stand_alone(source: Source) -> Faults:
    own = _unit(".".join(source.module), "hsdc_compiler")
    if own not in {None, *ORDER}:
        for line, name in source.imports:
            if _unit(name, "hsdc_compiler") not in {None, own} | VALUES:
                yield f"{source.path}:{line}: the pass {own} may not import {name}"


def only_the_face_speaks(source: Source) -> Faults:
    if source.package not in {None, "hsdc"}:
        yield from _imported(source, FACE_IMPORTS, "only hsdc reads the command line")
        yield from _read(source, FACE_NAMES, "only hsdc prints, reads argv or exits")


def short_files(source: Source) -> Faults:
    if (lines := len(source.text.splitlines())) > MOST_LINES:
        yield f"{source.path}: {lines} lines, more than {MOST_LINES}"


def telling_names(source: Source) -> Faults:
    parts = (part for part in source.module if TIRED_NAMES & {*part.lower().split("_")})
    yield from (f"{source.path}: a name that says nothing: {part}" for part in parts)


IMPORTS: tuple[Rule, ...] = (floors, heavy_libraries, compiler_network, stages_stand_alone, passes_stand_alone)
CONDUCT: tuple[Rule, ...] = (runtime_knows_no_specs, runtime_network, compiler_is_steady, only_the_face_speaks)
SHAPE: tuple[Rule, ...] = (short_files, telling_names)
RULES = IMPORTS + CONDUCT + SHAPE


@cache
def sources(root: Path) -> list[Source]:
    folders = [*map(str, PACKAGES.values()), *OUTSIDE]
    files = sorted(file for folder in folders for file in (root / folder).rglob("*.py"))
    return [Source(file.relative_to(root).as_posix(), file.read_text("utf-8")) for file in files]


@pytest.mark.parametrize("rule", RULES)
def test_rule_holds(rule: Rule) -> None:
    assert [fault for source in sources(ROOT) for fault in rule(source)] == []


def test_every_package_is_read() -> None:
    assert {source.package for source in sources(ROOT)} == {*PACKAGES, None}


SCHEMA, PASS, HUB = "schemas/hsdc_schemas/spec.py", "compiler/hsdc_compiler/merge.py", NETWORK_ROOM
PIPELINE, PLAN = "compiler/hsdc_compiler/pipeline.py", "runtime/hsdc_runtime/plan.py"
STAGE, NN, FACE = "runtime/hsdc_runtime/stages/train.py", "runtime/hsdc_runtime/nn/loop.py", "hsdc/commands/run.py"

PLANTED: tuple[tuple[Rule, str, str], ...] = (
    (floors, SCHEMA, "import hsdc_compiler"),
    (floors, SCHEMA, "def f():\n    from hsdc_runtime.plan import plan"),
    (floors, PASS, "import hsdc_runtime.plan as p"),
    (floors, PASS, "import importlib\nimportlib.import_module('hsdc_runtime')"),
    (floors, PASS, "from hsdc import api"),
    (floors, STAGE, "from importlib import import_module\nimport_module(f'hsdc_compiler.{name}')"),
    (floors, PLAN, "if TYPE_CHECKING:\n    from hsdc_compiler import node"),
    (floors, PLAN, "__import__('hsdc')"),
    (floors, SCHEMA, "from tests import cases"),
    (runtime_knows_no_specs, PLAN, "import yaml"),
    (runtime_knows_no_specs, PLAN, "text = (root / 'specs' / name).read_text()"),
    (runtime_knows_no_specs, PLAN, "open(f'specs/{run}')"),
    (runtime_knows_no_specs, PLAN, "open(f'{folder}/{run}.yaml')"),
    (heavy_libraries, SCHEMA, "import numpy as np"),
    (heavy_libraries, NUMBERS_ROOMS[0], "import scipy"),
    (heavy_libraries, PASS, "from transformers import AutoTokenizer"),
    (heavy_libraries, PLAN, "def f():\n    import torch.nn"),
    (compiler_network, PASS, "from urllib.request import urlopen"),
    (compiler_network, PIPELINE, "def f():\n    import huggingface_hub"),
    (runtime_network, STAGE, "def f():\n    import openai"),
    (runtime_network, PLAN, "import urllib.request"),
    (compiler_is_steady, PASS, "from time import monotonic"),
    (compiler_is_steady, HUB, "import datetime"),
    (compiler_is_steady, PASS, "import os as o\nname = o.urandom(4)"),
    (compiler_is_steady, PASS, "from os import urandom"),
    (stages_stand_alone, STAGE, "from hsdc_runtime.stages import predict"),
    (stages_stand_alone, STAGE, "from . import predict"),
    (stages_stand_alone, STAGE, "from ..stages.predict import run"),
    (passes_stand_alone, PASS, "from hsdc_compiler.expand import expand"),
    (passes_stand_alone, PASS, "from .expand import expand"),
    (passes_stand_alone, PASS, "from hsdc_compiler import pipeline"),
    (passes_stand_alone, "compiler/hsdc_compiler/node.py", "from .expand import expand"),
    (only_the_face_speaks, SCHEMA, "print(1)"),
    (only_the_face_speaks, PASS, "report = print"),
    (only_the_face_speaks, PASS, "import argparse"),
    (only_the_face_speaks, PLAN, "import sys\nsys.exit(1)"),
    (only_the_face_speaks, PLAN, "import sys as s\nname = s.argv[1]"),
    (only_the_face_speaks, PLAN, "from sys import exit as leave"),
    (only_the_face_speaks, STAGE, "raise SystemExit(75)"),
    (only_the_face_speaks, STAGE, "def f(exit):\n    print(exit)"),
    (short_files, FACE, "x = 1\n" * (MOST_LINES + 1)),
    (short_files, "tests/test_long.py", "x = 1\n" * (MOST_LINES + 1)),
    (telling_names, "schemas/hsdc_schemas/utils.py", ""),
    (telling_names, "runtime/hsdc_runtime/common/rows.py", ""),
    (telling_names, "hsdc/run_manager.py", ""),
)

ALLOWED: tuple[tuple[str, str], ...] = (
    (SCHEMA, "from hsdc_schemas.digests import digest\nfrom .errors import Fault\nimport pydantic"),
    (PASS, "from .node import Node\nfrom hsdc_compiler.diagnostics import Fault\nimport hsdc_schemas, yaml"),
    (PASS, '"""Reads specs/*.yaml; never prints."""\nprintable = "print"\nself.print(x)\ndef f(exit): return exit'),
    ("compiler/hsdc_compiler/project.py", "from .parse import parse"),
    (PIPELINE, "from hsdc_compiler import merge, expand\nfrom .hub import fetch"),
    (HUB, "import huggingface_hub"),
    ("runtime/hsdc_runtime/endpoint/client.py", "import openai\nfrom urllib.parse import urlsplit"),
    (PLAN, 'from hsdc_schemas.rows import read\nfrom .stages import train\nhint = "edit specs/run1.yaml and compile"'),
    (PLAN, "import time\nimport os\nseed = os.urandom(4)\nmonotonic = time.monotonic()"),
    (STAGE, "import torch\nfrom hsdc_runtime.nn import loop\nfrom ..store import Store\nfrom . import train"),
    (NN, "from torch import nn\nimport numpy"),
    (NUMBERS_ROOMS[0], "import numpy as np"),
    ("runtime/hsdc_runtime/stages/__init__.py", "from . import train, predict"),
    (FACE, "import argparse, sys\nfrom hsdc_compiler import compile_all\nimport hsdc_runtime\nprint(1)\nsys.exit(3)"),
    ("tests/test_run.py", "import torch, hsdc, random\nfrom hsdc_compiler import merge\nprint('specs/run1.yaml')"),
    (SCHEMA, "x = 1\n" * MOST_LINES),
    ("schemas/hsdc_schemas/utility_of_a_choice.py", ""),
)


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_planted_fault_is_found(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_allowed_source_is_left_alone(path: str, text: str) -> None:
    assert [fault for rule in RULES for fault in rule(Source(path, text))] == []


def test_every_rule_has_a_planted_fault() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


def test_a_fault_in_a_tree_is_found_and_placed(tmp_path: Path) -> None:
    file = tmp_path / PASS
    file.parent.mkdir(parents=True)
    file.write_text('"""A pass."""\n\nimport random\n', "utf-8")
    faults = [fault for source in sources(tmp_path) for rule in RULES for fault in rule(source)]
    assert faults == [f"{PASS}:3: the compiler has no clock and no chance: random"]
