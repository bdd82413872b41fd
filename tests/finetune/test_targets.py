"""Modules that an adapter is put on are looked for in the headers of the model's files when a run is compiled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsdc.__main__ import main
from hsdc_schemas.modules import module_names
from tests.finetune.project import write

gguf = pytest.importorskip("gguf")


@pytest.mark.parametrize(("target", "known"), [("qproj", "did you mean 'q_proj'?"), ("attn", "known here: ")])
def test_a_target_that_the_model_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str, known: str
) -> None:
    root = write(tmp_path / "project")
    monkeypatch.chdir(root)
    spec = root / "specs/tune.yaml"
    whole = spec.read_text()
    spec.write_text(whole.replace("[all-linear]", f"[v_proj, {target}]"))
    assert main(["compile"]) == 2
    told = capsys.readouterr().err
    assert f"error[E736] the model has no module '{target}'" in told
    assert "specs/tune.yaml:9:" in told
    assert known in told
    spec.write_text(whole.replace("[all-linear]", "[v_proj, mlp.up_proj]"))
    assert main(["compile"]) == 0


def written(path: Path, architecture: str) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("general.name", "small")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b", "ß"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5])
    writer.add_uint32("llama.block_count", 1)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    for name in ("blk.0.attn_q.weight", "blk.0.ffn_down.weight", "blk.0.attn_norm.weight", "token_embd.weight"):
        writer.add_tensor(name, np.zeros((2, 2), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_names_in_a_gguf_file_are_those_that_the_library_gives(tmp_path: Path) -> None:
    path = written(tmp_path / "model.gguf", "llama")
    expected = ("embed_tokens", "model.layers.0.mlp.down_proj", "model.layers.0.self_attn.q_proj")
    assert module_names(tmp_path, (), path.name) == expected
    assert module_names(tmp_path, (), written(tmp_path / "other.gguf", "mamba").name) is None


def test_a_gguf_file_that_is_cut_off_is_not_sound(tmp_path: Path) -> None:
    data = written(tmp_path / "model.gguf", "llama").read_bytes()
    for size in range(12, 200, 7):
        (tmp_path / "cut.gguf").write_bytes(data[:size])
        with pytest.raises(ValueError, match="cut off"):
            module_names(tmp_path, (), "cut.gguf")
    (tmp_path / "cut.gguf").write_bytes(b"no model at all")
    assert module_names(tmp_path, (), "cut.gguf") is None
