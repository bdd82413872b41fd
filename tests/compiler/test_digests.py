"""The same experiment gives the same bytes, however its spec is written and wherever it is compiled."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsdc_compiler.parse import parse
from hsdc_compiler.pipeline import compile_project
from tests.cases.update import HERE, lay

ROOT = HERE.parents[1]
PARENT = parse("parent.yaml", (HERE / "base/specs/parent.yaml").read_bytes()).plain()
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return lay(HERE / "valid/claims", tmp_path / "project")


def written(value: Any, chance: random.Random, depth: int = 0) -> str:
    """A mapping as YAML in some style: order, comments, quotes and flow or block at random."""
    entries = list(value.items())
    chance.shuffle(entries)
    lines = []
    for key, item in entries:
        margin = "  " * depth
        if chance.random() < 0.3:
            lines.append(f"{margin}# {chance.choice(['a comment', 'key: value', '---'])}")
        if isinstance(item, dict) and item and chance.random() < 0.6:
            lines.append(f"{margin}{_quoted(key, chance)}:{chance.choice(['', '  # here'])}")
            lines.append(written(item, chance, depth + 1))
        else:
            lines.append(f"{margin}{_quoted(key, chance)}:{' ' * chance.randint(1, 3)}{_flow(item, chance)}")
    return "\n".join(lines)


def _flow(value: Any, chance: random.Random) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key, chance)}: {_flow(item, chance)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(item, chance) for item in value) + "]"
    return _quoted(value, chance) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str, chance: random.Random) -> str:
    return chance.choice([text, f"'{text}'", f'"{text}"'])


@QUICK
@given(chance=st.randoms(use_true_random=False), end=st.sampled_from(["\n", "\r\n"]), mark=st.booleans())
def test_style_changes_no_digest(project: Path, chance: random.Random, end: str, mark: bool) -> None:
    spec = project / "specs/parent.yaml"
    spec.write_bytes((HERE / "base/specs/parent.yaml").read_bytes())
    before = _digests(project)
    text = ("\ufeff" if mark else "") + written(PARENT, chance) + "\n"
    spec.write_bytes(text.replace("\n", end).encode())
    assert _digests(project) == before


def _digests(project: Path) -> dict[str, str]:
    compilation = compile_project(project)
    assert not compilation.diagnostics
    return {run.name: run.manifest.digest for run in compilation.runs}


def test_prose_changes_no_manifest_and_a_value_does(project: Path) -> None:
    spec = project / "specs/parent.yaml"
    before = _digests(project)
    text = spec.read_text()
    spec.write_text(text.replace("title: The run that cases extend", "title: Other words\nnotes: And a note."))
    assert _digests(project) == before
    spec.write_text(text.replace("alpha: 0.5", "alpha: 0.6"))
    after = _digests(project)
    assert all(after[run] != digest for run, digest in before.items())


def test_the_shipped_specs_give_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """Other hash seeds, locale, time zone, folder and current folder; the model is a few bytes here, to be quick."""
    for name in ("one", "unlikely-name/folder with ä"):
        for part in ("specs", "data", "locks"):
            shutil.copytree(ROOT / part, tmp_path / name / part)
        shutil.copytree(HERE / "base/models", tmp_path / name / "models")
        (tmp_path / name / "specs/models/minilm.yaml").write_text("hsdc: 1\nmodel: minilm\nsource: file:models/tiny\n")
    first = _compiled(tmp_path / "one", PYTHONHASHSEED="0", LC_ALL="C", TZ="UTC")
    second = _compiled(
        tmp_path / "unlikely-name/folder with ä",
        PYTHONHASHSEED="1",
        LC_ALL="C.UTF-8",
        TZ="Asia/Kathmandu",
        PYTHONUTF8="0",
    )
    assert first == second
    assert len(first) >= 2 * len(list((ROOT / "specs").glob("*.yaml")))
    assert not any(b"unlikely-name" in data or bytes(tmp_path) in data for data in map(bytes.fromhex, second.values()))


def test_a_run_is_locked_the_same_alone_and_among_runs_of_other_kinds(tmp_path: Path) -> None:
    for part in ("specs", "data", "locks"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copytree(HERE / "base/models", tmp_path / "models")
    (tmp_path / "specs/models/minilm.yaml").write_text("hsdc: 1\nmodel: minilm\nsource: file:models/tiny\n")
    every = {run.name: run.manifest.digest for run in compile_project(tmp_path).runs}
    for name in ("run4", "prompt_baseline"):
        assert [run.manifest.digest for run in compile_project(tmp_path, [name]).runs] == [every[name]]


MEANT = {("W724", "specs/lora_validation.yaml")}  # a gate of the campaign that its rows cannot resolve


def _compiled(root: Path, **environment: str) -> dict[str, str]:
    """Paths and bytes (in hexadecimal) of every file that a compilation in a process of its own would write."""
    script = (
        "import json, sys; from pathlib import Path\n"
        "from hsdc_compiler.pipeline import compile_project\n"
        "found = compile_project(Path(sys.argv[1]))\n"
        "told = [(item.code, item.place.path) for item in found.diagnostics]\n"
        f"assert set(told) <= {MEANT}, found.diagnostics\n"
        "print(json.dumps({path: data.hex() for run in found.runs for path, data in run.files.items()}))\n"
    )
    path = os.pathsep.join(str(ROOT / part) for part in ("schemas", "compiler", "."))
    kept = {key: item for key, item in os.environ.items() if key in ("PATH", "HOME", "SYSTEMROOT")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)],
        env={**kept, "PYTHONPATH": path, **environment},
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_an_expected_manifest_names_the_bytes_of_its_inputs() -> None:
    """Digests in a manifest, counted with nothing of ours."""
    manifest = json.loads((HERE / "valid/claims/expected/claim.lock.json").read_bytes())
    files = {item["name"]: {file["path"]: file["digest"] for file in item["files"]} for item in manifest["inputs"]}
    for split in ("train", "validation", "test"):
        data = (HERE / f"base/data/{split}.csv").read_bytes()
        assert files[f"dataset.{split}"] == {f"{split}.csv": f"sha256:{hashlib.sha256(data).hexdigest()}"}
    for path in (HERE / "base/models/tiny").iterdir():
        assert files["model"][path.name] == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    body = {key: item for key, item in manifest.items() if key != "digest"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    text = text.replace("1e-08", "1e-8").replace("2.5e-05", "0.000025")
    assert manifest["digest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
