"""A campaign written down in hsdc's language, and in the languages of its peers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from benchmarks.campaign.values import Spec, Values, leaves
from benchmarks.workspace import ROOT

TINY = {"architectures": ["BertModel"], "hidden_size": 8, "model_type": "bert", "num_hidden_layers": 1}
WEIGHTS = b"\2\0\0\0\0\0\0\0{}"  # safetensors without a tensor: the length of its header, and the header
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def as_yaml(values: Values) -> str:
    """Values as YAML in block style, in their order."""
    return str(yaml.dump(values, Dumper=DUMPER, sort_keys=False))


def write_hsdc(folder: Path, specs: Iterable[Spec]) -> None:
    """A project of hsdc: the specs, this project's data sets, rows and lock, and a model of a few bytes."""
    for part in ("specs/datasets", "locks", "data/sample_adjudications"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    model = folder / "data" / "tiny"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(TINY))
    (model / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "WordPiece", "vocab": {"[UNK]": 0}}}')
    (model / "model.safetensors").write_bytes(WEIGHTS)
    components: dict[str, Values] = {
        "models/mbert": {"hsdc": 1, "model": "mbert", "source": "local:mbert"},
        "models/tiny": {"hsdc": 1, "model": "tiny", "source": "file:data/tiny"},
        "profiles/demo": {
            "hsdc": 1,
            "profile": "demo",
            "bind": {"dataset": {"adjudications": "sample_adjudications"}, "model": {"mbert": "tiny"}},
            "execution": {"device": "cpu", "precision": "float32", "threads": 1},
        },
    }
    for name, values in components.items():
        path = folder / "specs" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(as_yaml(values))
    for spec in specs:
        (folder / "specs" / f"{spec.name}.yaml").write_text(spec_text(spec))


def spec_text(spec: Spec) -> str:
    """A spec in hsdc's language; its budget is what it changes."""
    if spec.parent is None:
        return as_yaml({"hsdc": 1, "run": spec.name, "title": f"Root of {spec.name}", **spec.said})
    head = {"hsdc": 1, "run": spec.name, "title": f"After {spec.parent}", "extends": spec.parent}
    count = len(list(leaves(spec.said)))
    return as_yaml({**head, "budget": count, "why": "See what these values do.", "change": spec.said})


def write_omegaconf(folder: Path, specs: Sequence[Spec]) -> None:
    """YAML files; a child's key `extends` names its parent."""
    for spec in specs:
        head = {} if spec.parent is None else {"extends": spec.parent}
        (folder / f"{spec.name}.yaml").write_text(as_yaml({**head, **spec.said}))


def write_hydra(folder: Path, specs: Sequence[Spec]) -> None:
    """Primary configurations; a child's list of defaults names its parent, then itself."""
    for spec in specs:
        head = {} if spec.parent is None else {"defaults": [spec.parent, "_self_"]}
        (folder / f"{spec.name}.yaml").write_text(as_yaml({**head, **spec.said}))


def write_jsonnet(folder: Path, specs: Sequence[Spec]) -> None:
    """Objects; a child imports its parent and inherits from it. `all.jsonnet` holds all of them by name."""
    for spec in specs:
        text = json.dumps(spec.said, indent=2)
        if spec.parent is not None:
            text = f"(import '{spec.parent}.jsonnet') + {_inheriting(spec.said)}"
        (folder / f"{spec.name}.jsonnet").write_text(text + "\n")
    lines = [f"  {spec.name}: import '{spec.name}.jsonnet'," for spec in specs]
    (folder / "all.jsonnet").write_text("\n".join(["{", *lines, "}\n"]))


def _inheriting(values: Values) -> str:
    parts = [
        f"{key}+: {_inheriting(value)}" if isinstance(value, dict) else f"{key}: {json.dumps(value)}"
        for key, value in values.items()
    ]
    return f"{{ {', '.join(parts)} }}"


def write_pkl(folder: Path, specs: Sequence[Spec]) -> None:
    """Modules; a child amends its parent."""
    for spec in specs:
        head = [] if spec.parent is None else [f'amends "{spec.parent}.pkl"', ""]
        body = _pkl(spec.said, "")
        (folder / f"{spec.name}.pkl").write_text("\n".join([*head, *body, ""]))


def _pkl(values: Values, indent: str) -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}`{key}` {{", *_pkl(value, indent + "  "), f"{indent}}}"]
        elif isinstance(value, list):
            lines.append(f"{indent}`{key}` = List({', '.join(json.dumps(item) for item in value)})")
        else:
            lines.append(f"{indent}`{key}` = {json.dumps(value)}")
    return lines


def write_dvc(folder: Path, specs: Sequence[Spec]) -> None:
    """A pipeline of one stage a spec: it depends on a file of its own parameters and on its parent's output."""
    (folder / "rows.csv").write_text("id,text\n1,a\n")
    (folder / "params").mkdir()
    (folder / "out").mkdir()
    for spec in specs:
        (folder / "params" / f"{spec.name}.yaml").write_text(as_yaml(spec.resolved))
        (folder / "out" / spec.name).write_text(f"{spec.name}\n")
    stages = {
        spec.name: {
            "cmd": f"echo {spec.name} > out/{spec.name}",
            "deps": ["rows.csv" if spec.parent is None else f"out/{spec.parent}"],
            "params": [{f"params/{spec.name}.yaml": None}],
            "outs": [{f"out/{spec.name}": {"cache": False}}],
        }
        for spec in specs
    }
    (folder / "dvc.yaml").write_text(as_yaml({"stages": stages}))


def write_dbt(folder: Path, specs: Sequence[Spec]) -> None:
    """A project of one model a spec, which selects from its parent and carries its values as meta data."""
    project = {"name": "campaign", "version": "1.0", "profile": "campaign", "model-paths": ["models"]}
    profile = {"target": "dev", "outputs": {"dev": {"type": "duckdb", "path": "campaign.duckdb"}}}
    (folder / "dbt_project.yml").write_text(as_yaml(project))
    (folder / "profiles.yml").write_text(as_yaml({"campaign": profile}))
    (folder / "models").mkdir()
    for spec in specs:
        query = "select 1 as n" if spec.parent is None else f"select n + 1 as n from {{{{ ref('{spec.parent}') }}}}"
        (folder / "models" / f"{spec.name}.sql").write_text(query + "\n")
    described = [{"name": spec.name, "config": {"meta": spec.resolved}} for spec in specs]
    (folder / "models" / "schema.yml").write_text(as_yaml({"version": 2, "models": described}))
