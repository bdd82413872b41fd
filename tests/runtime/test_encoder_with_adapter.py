"""A run that trains an adapter and heads on an encoder: killed and resumed, executed again, and read by plain peft."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file
from test_processes import ELASTIC, PATIENCE, last_step, planned, wait_for
from tiny_project import digests, edit, record, spec, stored
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from hsdc.__main__ import main

LORA = "adapter: {kind: lora, r: 4, alpha: 8, dropout: 0.1, targets: [query, value], saves: [heads]}"


@pytest.fixture(scope="module")
def planned_only(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the run `lora`, saved after every step and elastic, of which nothing was run."""
    root = Path(shutil.copytree(compiled, tmp_path_factory.mktemp("adapted") / "project"))
    (root / "specs/profiles/demo.yaml").write_text(ELASTIC.replace("processes: 2, ", ""))
    spec(root, "lora", f"budget: 1\nchange:\n  {LORA}\n")
    return at(root, "compile")


@pytest.fixture(scope="module")
def done(planned_only: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(planned_only, tmp_path_factory.mktemp("done") / "project"))
    return at(root, "run", "lora")


def at(root: Path, *arguments: str) -> Path:
    before = Path.cwd()
    os.chdir(root)
    try:
        assert main(list(arguments)) == 0
    finally:
        os.chdir(before)
    return root


def copied(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = Path(shutil.copytree(source, target / "project"))
    monkeypatch.chdir(root)
    return root


def test_killed_it_goes_on_to_the_same_bits_with_two_processes(
    planned_only: Path, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc: Callable[..., object]
) -> None:
    root = copied(planned_only, tmp_path, monkeypatch)
    arguments = [sys.executable, "-m", "hsdc", "run", "lora"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: last_step(root) >= 6 or process.poll() is not None)
        assert process.poll() is None
        process.kill()
        process.wait(PATIENCE)
    assert last_step(root) >= 6
    for folder in root.glob(".hsdc/store/checkpoints/*/step-*[0-9]"):
        with safe_open(folder / "weights.safetensors", "numpy") as file:
            assert all("lora_" in name or name.startswith("head_") for name in file.keys())  # noqa: SIM118 - no mapping
    answer = hsdc("run", "lora", "--processes", "2")
    assert answer.code == 0, answer.err
    assert "2 processes: the same bits on any number" in answer.err
    assert "epoch 1/" not in answer.err, "it goes on where it was"
    found, expected = record(root, "lora"), record(done, "lora")
    assert digests(found) == digests(expected)
    assert found["scores"] == expected["scores"]


def test_it_is_reproduced(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc: Callable[..., object]
) -> None:
    copied(done, tmp_path, monkeypatch)
    answer = hsdc("verify", "lora", "--rerun")
    assert answer.code == 0, answer.err
    assert "identical" in answer.out


def test_plain_peft_and_the_saved_heads_give_the_logits_of_the_run(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc: Callable[..., object]
) -> None:
    """Tokens, padding, pooling and heads are computed here by hand from what `hsdc export` wrote."""
    root = copied(done, tmp_path, monkeypatch)
    assert hsdc("export", "lora", "--to", "out").code == 0
    card = (root / "out/README.md").read_text()
    assert "- `sentiment`: `negative`, `neutral`, `positive`" in card
    assert json.loads((root / "generated/demo/lora.lock.json").read_bytes())["digest"] in card
    saved = load_file(root / "out/adapter_model.safetensors")
    assert (root / "out/adapter_model.safetensors").stat().st_size < 0.3 * (
        root / "model/model.safetensors"
    ).stat().st_size
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(root / "model"), root / "out").eval()
    logits = load_file(stored(root, record(root, "lora"), "predict", "logits"))
    tokenizer = AutoTokenizer.from_pretrained(root / "model")
    texts = [line.split(",")[1] for line in (root / "data/test.csv").read_text().splitlines()[1:]]
    for number in range(0, len(texts), 9):
        asked = tokenizer(texts[number], truncation=True, max_length=12, return_tensors="pt")
        with torch.inference_mode():
            states = model(**asked, output_hidden_states=True).hidden_states[-4:]
        vector = torch.stack(states).mean(dim=0)[0].mean(dim=0)
        for head in ("sentiment", "stance"):
            part = {n.rsplit(f"head_{head}.")[1]: t for n, t in saved.items() if f".head_{head}." in n}
            hidden = F.relu(vector @ part["1.weight"].T + part["1.bias"])
            found = hidden @ part["4.weight"].T + part["4.bias"]
            torch.testing.assert_close(found, logits[f"test/logits/{head}"][number], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_exported_is_said(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc: Callable[..., object]
) -> None:
    copied(done, tmp_path, monkeypatch)
    for arguments, said in ((("lora", "--merge"), "trains heads beside its adapter"), (("base",), "trains no adapter")):
        answer = hsdc("export", *arguments, "--to", "out")
        assert answer.code == 2
        assert "error[E550]" in answer.err
        assert said in answer.err


@pytest.mark.parametrize(("old", "new"), [("r: 4", "r: 8"), ("dropout: 0.1", "dropout: 0.2"), ("query, ", "")])
def test_another_adapter_voids_the_training_and_what_follows(
    planned_only: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hsdc: Callable[..., object],
    old: str,
    new: str,
) -> None:
    root = copied(planned_only, tmp_path, monkeypatch)
    before = planned(root, "lora")
    assert before["prepare"] == planned(root)["prepare"], "prepared rows are shared with the run without an adapter"
    edit(root, "lora", old, new)
    assert hsdc("compile", "--check").code == 1
    assert hsdc("compile").code == 0
    after = planned(root, "lora")
    assert [name for name in after if after[name] == before[name]] == ["prepare"]


def test_an_adapter_whose_heads_are_not_saved_is_never_run(
    planned_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hsdc: Callable[..., object]
) -> None:
    root = copied(planned_only, tmp_path, monkeypatch)
    edit(root, "lora", ", saves: [heads]", "")
    answer = hsdc("run", "lora")
    assert answer.code == 2
    assert "error[E737] the heads would be trained and not saved" in answer.err
    assert "write saves: [heads]" in answer.err
    assert not list(root.glob(".hsdc/store/checkpoints/*"))
