"""An adapter that leaves hsdc: plain peft says the same with it, merged the model does, and a hub gets its files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from hsdc.__main__ import main
from hsdc_runtime.nn.adapter import put_on
from hsdc_runtime.nn.causal import pretrained_causal
from hsdc_schemas.finetuning import Lora
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import manifest_path
from hsdc_schemas.spec import Execution
from tests.finetune.test_run import output, record_of

TOKENS = [[5, 9, 17, 30, 4, 88]]
ELSEWHERE = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
torch.set_num_threads(1)
model, adapter, target = sys.argv[1:]
adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter).eval()
assert not any("hsdc" in name for name in sys.modules)
with torch.inference_mode():
    torch.save(adapted(torch.tensor(%r)).logits, target)
"""


@pytest.fixture
def there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished)
    return finished


def ours(root: Path) -> torch.Tensor:
    """What the run's own adapter says on its base."""
    lora = Lora(kind="lora", r=8, alpha=16.0, dropout=0.05, targets=("all-linear",))
    model = pretrained_causal(root / "model", Execution())
    put_on(model, lora, output(root, "train", "adapter"))
    with torch.inference_mode():
        return model(torch.tensor(TOKENS)).logits


def test_plain_peft_in_another_process_says_the_same(there: Path, tmp_path: Path) -> None:
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 0
    arguments = [str(there / "model"), str(tmp_path / "out"), str(tmp_path / "logits.pt")]
    command = [sys.executable, "-c", ELSEWHERE % (TOKENS,), *arguments]
    subprocess.run(command, check=True, cwd=tmp_path, env={"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"})
    assert torch.equal(torch.load(tmp_path / "logits.pt"), ours(there))


def test_the_card_names_figures_and_manifest(there: Path, tmp_path: Path) -> None:
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out/README.md").read_text()
    record = record_of(there)
    manifest = load_sealed(there / manifest_path("demo", "tune"), "tune", Manifest)
    assert manifest.digest in text
    assert record.digest in text
    (gate,) = [gate for gate in record.gates if gate.gate.startswith("delta")]
    assert f"| `{gate.gate}` | {gate.outcome} | {gate.value:.4f} | {gate.low:.3f} to {gate.high:.3f} |" in text
    assert "| `label.f1_macro` | " in text
    assert "On 24 rows of split `test`, answers by `rank`; answers that cannot be read: `wrong`." in text


def test_the_card_tells_what_was_asked_and_how_it_was_learnt(there: Path, tmp_path: Path) -> None:
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out/README.md").read_text()
    assert "```jinja title=system\nanswer {{ labels | join(' or ') }}\n```" in text
    assert "```jinja title=user\ntext {{ text }}\n```" in text
    said = " ".join(text.split())
    assert "Learnt from 40 rows of `train`, the epoch chosen on 12 rows of `validation`" in said
    assert "AdamW at 0.02, linear after a warm-up of 2 steps, weight decay 0.01, 8 rows a step, 15 steps." in said
    history = json.loads(output(there, "train", "history").read_text())
    best = min(history, key=lambda entry: entry["metrics"]["loss"])["epoch"]
    rows = re.findall(r"^\| (\d) \| 5 \| ([\d.]+) \| ([\d.]+) \| (kept|) \|$", text, re.MULTILINE)
    assert [(int(epoch), kept) for epoch, *_, kept in rows] == [(n, "kept" if n == best else "") for n in (1, 2, 3)]
    assert [validation for _, _, validation, _ in rows] == [f"{entry['metrics']['loss']:.4f}" for entry in history]


def test_the_folder_holds_three_files(there: Path, tmp_path: Path) -> None:
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_merged_it_is_a_model_of_its_own(there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "tune", "--to", str(tmp_path / "out"), "--merge"]) == 0
    assert "merged model (logits within " in capsys.readouterr().out
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.inference_mode():
        found = merged(torch.tensor(TOKENS)).logits
        base = AutoModelForCausalLM.from_pretrained(there / "model").eval()(torch.tensor(TOKENS)).logits
    torch.testing.assert_close(found, ours(there), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, base, atol=1e-2)


def test_a_merged_model_that_says_something_else_is_not_written(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hsdc_runtime.nn import merging

    right = merging.merge
    monkeypatch.setattr(merging, "merge", lambda *given, **named: right(*given, **named) + 0.1)
    assert main(["export", "tune", "--to", str(tmp_path / "out"), "--merge"]) == 1
    assert "E552" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "tune", "--to", str(tmp_path)]) == 2
    assert "E551" in capsys.readouterr().err


def test_a_run_that_is_not_finished(fresh: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "tune", "--to", str(tmp_path / "out")]) == 2
    assert "'tune' is not finished" in capsys.readouterr().err
