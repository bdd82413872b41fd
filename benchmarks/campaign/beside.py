"""The peers' cases on the same campaign, and whether all of them come to the same values."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.campaign.measure import Case, aside, nothing
from benchmarks.campaign.peers import Peers
from benchmarks.campaign.values import Spec, Values, campaign, leaves
from benchmarks.campaign.written import (
    write_dbt,
    write_dvc,
    write_hydra,
    write_jsonnet,
    write_omegaconf,
    write_pkl,
)

HERE = Path(__file__).resolve().parent
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
HYDRA = "Hydra: compose"
CHAIN = "OmegaConf: every spec's chain loaded"
ONCE = "OmegaConf: every file loaded once"
RJSONNET = "rjsonnet: file by file"
RJSONNET_ONCE = "rjsonnet: one evaluation, one file out"
JSONNET = "jsonnet (C++): file by file"
PKL = "Pkl: eval, one process"


def composing(folder: Path, specs: Sequence[Spec], peers: Peers) -> tuple[list[Case], dict[str, Path]]:
    """The peers that resolve configurations: their cases, and the folder of what each writes."""
    if peers.programs is None:
        return [], {}
    python = peers.program("python")
    sources: dict[str, Path] = {}
    for name, write in (("omegaconf", write_omegaconf), ("hydra", write_hydra), ("jsonnet", write_jsonnet)):
        sources[name] = folder / name
        sources[name].mkdir(parents=True)
        write(sources[name], specs)
    calls = {
        RJSONNET: ("with_jsonnet.py", "jsonnet", "rjsonnet", "each"),
        RJSONNET_ONCE: ("with_jsonnet.py", "jsonnet", "rjsonnet", "once"),
        JSONNET: ("with_jsonnet.py", "jsonnet", "_jsonnet", "each"),
        ONCE: ("with_omegaconf.py", "omegaconf", "once"),
        CHAIN: ("with_omegaconf.py", "omegaconf", "chain"),
        HYDRA: ("with_hydra.py", "hydra"),
    }
    cases, outputs = [], {}
    for index, (name, (script, source, *rest)) in enumerate(calls.items()):
        outputs[name] = folder / f"out{index}"
        command = (python, str(HERE / script), str(sources[source]), str(outputs[name]), *rest)
        most = 1 if name == JSONNET else 99
        cases.append(Case(name, command, folder, peers.environment, _emptied(outputs[name]), rounds=most))
    if peers.pkl is not None:
        (folder / "pkl").mkdir()
        write_pkl(folder / "pkl", specs)
        outputs[PKL] = folder / "out_pkl"
        modules = tuple(f"pkl/{spec.name}.pkl" for spec in specs)
        command = (str(peers.pkl), "eval", "--format", "json", "-o", "out_pkl/%{moduleName}.json", *modules)
        cases.append(Case(PKL, command, folder, peers.environment, _emptied(outputs[PKL])))
    return cases, outputs


def _emptied(folder: Path) -> Callable[[], None]:
    def prepare() -> None:
        aside(folder, folder.parent / "aside")
        folder.mkdir()

    return prepare


def pipelines(folder: Path, size: int, depth: int, peers: Peers) -> list[Case]:
    """DVC and dbt with one stage or model a spec, where nothing has changed; dbt from scratch as well."""
    if peers.programs is None:
        return []
    specs = list(campaign(size, depth))
    for name, write in (("dvc", write_dvc), ("dbt", write_dbt)):
        (folder / name).mkdir(parents=True)
        write(folder / name, specs)
    dvc, dbt = peers.program("dvc"), peers.program("dbt")
    flags = ("--no-send-anonymous-usage-stats", "--no-version-check", "--quiet")
    for command in ((dvc, "init", "--no-scm", "--quiet"), (dvc, "commit", "--force", "--quiet")):
        done = subprocess.run(
            command, cwd=folder / "dvc", env=peers.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-1000:]}")

    def case(name: str, folder: Path, *command: str, says: str = "", prepare: Callable[[], object] = nothing) -> Case:
        return Case(f"{name}, {size:,}", command, folder, peers.environment, prepare, says)

    same = "Data and pipelines are up to date."
    parse = (dbt, *flags, "parse", "--profiles-dir", ".")
    return [
        case("DVC: status, nothing changed", folder / "dvc", dvc, "status", says=same),
        case("DVC: repro --dry, nothing changed", folder / "dvc", dvc, "repro", "--dry", says=same),
        case("dbt: parse, from scratch", folder / "dbt", *parse, "--no-partial-parse"),
        case("dbt: parse, nothing changed", folder / "dbt", *parse),
    ]


def disagreements(specs: Sequence[Spec], outputs: dict[str, Path], generated: Path) -> list[str]:
    """Values in which a tool's output is not what the campaign says, of every spec; the first few of each tool."""
    found = []
    for name, folder in {**outputs, "hsdc": generated}.items():
        wrong = list(_wrong(specs, name, folder))
        found += wrong[:3]
    return found


def _wrong(specs: Sequence[Spec], name: str, folder: Path) -> Iterator[str]:
    together = folder / "all.json"
    whole = json.loads(together.read_bytes()) if together.exists() else None
    for spec in specs:
        got = whole[spec.name] if whole is not None else _read(folder, spec.name)
        for path, value in leaves(spec.resolved):
            if name == "hsdc" and path in ("dataset.use", "model.use"):
                continue  # a manifest holds the component itself
            if _at(got, path) != value:
                yield f"{name}: {spec.name} has {path} = {_at(got, path)!r}, not {value!r}"


def _read(folder: Path, name: str) -> Any:
    if (folder / f"{name}.lock.json").exists():
        return json.loads((folder / f"{name}.lock.json").read_bytes())["experiment"]
    if (folder / f"{name}.json").exists():
        return json.loads((folder / f"{name}.json").read_bytes())
    return yaml.load((folder / f"{name}.yaml").read_bytes(), Loader=LOADER)


def _at(values: Values, path: str) -> Any:
    place: Any = values
    for key in path.split("."):
        if not isinstance(place, dict) or key not in place:
            return None
        place = place[key]
    return place
