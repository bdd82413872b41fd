"""A model from a hub: locked while the hub is there, trained on when it is gone, refused when its cache has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tiny_project import build, record

from hsdc_schemas.digests import digest_file
from tests.hub.server import Hub

REVISION = "0123456789abcdef" * 2 + "01234567"
ROOT = Path(__file__).resolve().parents[2]


def called(project: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: the hub's client reads the environment when it is imported."""
    unset = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE"))}
    path = os.pathsep.join(str(ROOT / part) for part in (".", "schemas", "compiler", "runtime"))
    own = {"PYTHONPATH": path, "HF_ENDPOINT": endpoint, "HF_HOME": str(project / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hsdc", *arguments]
    return subprocess.run(
        command, cwd=project, env={**unset, **own}, capture_output=True, text=True, timeout=120, check=False
    )


def test_locked_with_the_hub_and_run_without_it(tmp_path: Path) -> None:
    build(tmp_path)
    served = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    component = f"hsdc: 1\nmodel: tiny\nsource: hf:acme/tiny\nrevision: {REVISION}\n"
    (tmp_path / "specs/models/tiny.yaml").write_text(component)
    with Hub({"acme/tiny": {REVISION: served}}) as hub:
        locked = called(tmp_path, hub.endpoint, "compile")
        assert locked.returncode == 0, locked.stderr
        hub.stop()
        ran = called(tmp_path, hub.endpoint, "run", "base")
        assert ran.returncode == 0, ran.stderr
        assert "scores of base" in ran.stdout
        assert record(tmp_path, "base")["stages"][1]["facts"]["steps"] > 0
        snapshot = tmp_path / f"cache/hub/models--acme--tiny/snapshots/{REVISION}"
        weights = (snapshot / "model.safetensors").resolve()
        before = digest_file(weights)
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.chmod(0o644)
        weights.write_bytes(data)
        assert digest_file(weights) != before
        for arguments in (("run", "base"), ("run", "base", "--frozen")):
            refused = called(tmp_path, hub.endpoint, *arguments)
            assert refused.returncode == 4, refused.stderr
            assert "hf:acme/tiny" in refused.stderr
            assert "model.safetensors" in refused.stderr
