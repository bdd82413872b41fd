"""A run whose base is held in four bits: its keys, its refusal without the library, and that it can be killed."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from hsdc.__main__ import main
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import manifest_path, record_path
from tests.finetune.test_run import output, record_of

MISSING = importlib.util.find_spec("bitsandbytes") is None


def four_bits(root: Path, version: str) -> dict[str, str]:
    """The keys of the stages, with the library pinned where a version is named."""
    spec, lock = root / "specs/tune.yaml", root / "locks/runtime.txt"
    spec.write_text(spec.read_text().replace("[all-linear]}", "[all-linear], base: nf4}"))
    lines = [line for line in lock.read_text().splitlines() if "bitsandbytes" not in line]
    lock.write_text("\n".join([*lines, *([f"bitsandbytes=={version}"] if version else [])]) + "\n")
    assert main(["compile"]) == 0
    manifest = load_sealed(root / manifest_path("demo", "tune"), "tune", Manifest)
    return {stage.name: stage.key for stage in manifest.stages}


def test_the_version_enters_the_keys_of_what_it_computes(fresh: Path) -> None:
    plain = load_sealed(fresh / manifest_path("demo", "tune"), "tune", Manifest)
    one, two = four_bits(fresh, "0.50.1"), four_bits(fresh, "0.50.2")
    assert {name for name, key in one.items() if two[name] != key} == {
        "train", "rank_adapter", "parse_adapter", "score",
    }  # fmt: skip
    assert {stage.name for stage in plain.stages if stage.key == one[stage.name]} == {
        "prepare", "render", "examples", "rank", "parse",
    }, "before is the model as it is"  # fmt: skip
    assert "bitsandbytes" not in plain.packages


@pytest.mark.skipif(not MISSING, reason="bitsandbytes is installed")
@pytest.mark.parametrize(("version", "code"), [("", "E470"), ("0.50.2", "E431")], ids=["not locked", "locked"])
def test_without_the_library_the_run_ends_with_4(
    fresh: Path, capsys: pytest.CaptureFixture[str], version: str, code: str
) -> None:
    four_bits(fresh, version)
    capsys.readouterr()
    assert main(["run", "tune"]) == 4
    told = capsys.readouterr().err
    assert code in told
    assert "bitsandbytes" in told
    assert "pip install 'hsdc[nf4]'" in told


@pytest.mark.skipif(MISSING, reason="bitsandbytes is not installed")
def test_killed_and_run_again_it_is_the_same(fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    four_bits(fresh, metadata.version("bitsandbytes"))
    command, end = [sys.executable, "-m", "hsdc", "run", "tune"], time.monotonic() + 120
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not list((fresh / ".hsdc/store").rglob("step-00000000[3-9]")):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (fresh / record_path("demo", "tune")).exists()
    assert main(["run", "tune"]) in (0, 1)
    record = record_of(fresh)
    assert record.environment.packages["bitsandbytes"] == metadata.version("bitsandbytes")
    capsys.readouterr()
    assert main(["verify", "tune", "--rerun"]) == 0
    assert "identical" in capsys.readouterr().out
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/adapter_model.safetensors").read_bytes() == output(fresh, "train", "adapter").read_bytes()
