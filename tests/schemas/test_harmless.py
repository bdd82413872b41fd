"""What is refused of a model before any library sees its files: settings that run code, weights that do not add up."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from hsdc_schemas import safetensors_header as header_module
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.harmless import require_harmless
from hsdc_schemas.safetensors_header import Described, safetensors_header

ONE = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
TWO = {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}


def weights(folder: Path, header: object, body: int = 32, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + bytes(body))
    return path


def test_a_sound_header_is_read(tmp_path: Path) -> None:
    path = weights(tmp_path, {"__metadata__": {"format": "pt"}, "b": TWO, "a": ONE})
    start = path.stat().st_size - 32
    assert safetensors_header(path) == {
        "a": Described("F32", (2, 3), start, start + 24),
        "b": Described("BF16", (4,), start + 24, start + 32),
    }
    assert safetensors_header(weights(tmp_path, {}, 0)) == {}


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"a": ONE, "b": {**TWO, "data_offsets": [20, 28]}}, "'b' overlaps another one"),
        ({"a": ONE, "b": {**ONE}, "c": TWO}, "'b' overlaps another one"),
        ({"a": ONE, "b": {**TWO, "data_offsets": [25, 33]}}, "no tensor has the bytes before 'b'"),
        ({"a": ONE}, "8 bytes at its end are no tensor's"),
        ({"a": ONE, "b": {**TWO, "shape": [5], "data_offsets": [24, 34]}}, "it is cut off"),
        ({"a": {**ONE, "shape": [2, 2]}, "b": TWO}, "'a' has other bytes than its type and shape need"),
        ({"a": {**ONE, "shape": [2, -3]}, "b": TWO}, "no shape"),
        ({"a": {**ONE, "shape": [1] * 17}, "b": TWO}, "no shape"),
        ({"a": {**ONE, "shape": [1 << 62, 1 << 62]}, "b": TWO}, "no shape"),
        ({"a": {**ONE, "shape": [True, 6]}, "b": TWO}, "no shape"),
        ({"a": {**ONE, "shape": "6"}, "b": TWO}, "no shape"),
        ({"a": {**ONE, "dtype": "PICKLE"}, "b": TWO}, "an unknown type"),
        ({"a": {**ONE, "dtype": ["F32"]}, "b": TWO}, "an unknown type"),
        ({"a": {**ONE, "data_offsets": [24, 0]}, "b": TWO}, "other bytes"),
        ({"a": {**ONE, "data_offsets": [-24, 0]}, "b": TWO}, "lies nowhere"),
        ({"a": {**ONE, "data_offsets": [0.0, 24.0]}, "b": TWO}, "lies nowhere"),
        ({"a": {**ONE, "more": 1}, "b": TWO}, "not described as safetensors are"),
        ({"a": [1], "b": TWO}, "not described as safetensors are"),
        ({"__metadata__": {"a": 1}, "a": ONE, "b": TWO}, "not that of a safetensors file"),
        ({"__metadata__": [], "a": ONE, "b": TWO}, "not that of a safetensors file"),
        ([], "not that of a safetensors file"),
        (b" {}", "not that of a safetensors file"),
        (b'{"a":1,"a":2}', "a name twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{\xff}", "not UTF-8"),
        (b"{ ", "no JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "."),
    ],
)
def test_a_header_that_does_not_add_up(tmp_path: Path, header: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        safetensors_header(weights(tmp_path, header))
    with pytest.raises(HsdcError) as caught:
        require_harmless(tmp_path, ["model.safetensors"])
    assert [(fault.code, int(fault.exit)) for fault in caught.value.diagnostics] == [("E428", 4)]


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 64) - 1])
def test_a_length_that_no_header_has(tmp_path: Path, length: int) -> None:
    with pytest.raises(ValueError, match="no safetensors file"):
        safetensors_header(weights(tmp_path, {"a": ONE, "b": TWO}, length=length))


def test_a_header_beyond_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights(tmp_path, {"a": ONE, "b": TWO})
    monkeypatch.setattr(header_module, "LONGEST_HEADER", path.stat().st_size - 41)
    with pytest.raises(ValueError, match=r"and at most \d+ are read"):
        safetensors_header(path)


def refused(folder: Path, settings: Any) -> list[str]:
    name = "config.json"
    (folder / name).write_text(json.dumps(settings))
    with pytest.raises(HsdcError) as caught:
        require_harmless(folder, [name])
    assert {(fault.code, int(fault.exit)) for fault in caught.value.diagnostics} == {("E427", 3)}
    return [fault.message for fault in caught.value.diagnostics]


@pytest.mark.parametrize(
    "settings",
    [
        {"auto_map": {"AutoModel": "modeling_own.OwnModel"}},
        {"vision_config": {"layers": [{"auto_map": ["a"]}]}},
        {"trust_remote_code": True},
        {"custom_pipelines": {"own": {"impl": "own.Own"}}},
        {"_attn_implementation_internal": "eager"},
        {"_attn_implementation": "kernels-org/flash"},
        {"attn_implementation": {"text": "sdpa", "vision": "somebody/kernel@main"}},
        {"transformers_weights": "../other.safetensors"},
        {"base_model_name_or_path": "/somewhere"},
        {"configuration_files": ["config.9.9.json"]},
        {"implementation": "lib/own_model.py"},
    ],
)
def test_settings_that_run_code_or_lead_elsewhere(tmp_path: Path, settings: dict[str, Any]) -> None:
    (message,) = refused(tmp_path, {"model_type": "bert", **settings})
    assert f"'config.json' of the model folder '{tmp_path.name}' sets '{next(iter(settings))}" in message


def test_code_that_is_locked_with_the_model_may_be_let_run(tmp_path: Path) -> None:
    own = {"auto_map": {"AutoModel": "modeling_own.OwnModel"}, "implementation": "own.py"}
    (tmp_path / "config.json").write_text(json.dumps(own))
    require_harmless(tmp_path, ["config.json"], code=True)
    fetched = {"auto_map": {"AutoModel": "other/repository--modeling.Model"}, "attn_implementation": "somebody/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(own | fetched | {"transformers_weights": "other.safetensors"}))
    with pytest.raises(HsdcError) as caught:
        require_harmless(tmp_path, ["config.json"], code=True)
    assert [fault.message.partition(" sets ")[2] for fault in caught.value.diagnostics] == [
        "'attn_implementation', which lets a library fetch code and run it",
        "'auto_map', which lets a library fetch code and run it",
        "'transformers_weights', which lets a library read other files than those that are locked",
    ]


def test_ordinary_settings_pass(tmp_path: Path) -> None:
    ordinary = {"model_type": "bert", "auto_map": None, "trust_remote_code": False, "_name_or_path": "org/model.py v2"}
    ordinary |= {"_attn_implementation": "sdpa", "_attn_implementation_autoset": True, "architectures": ["BertModel"]}
    (tmp_path / "config.json").write_text(json.dumps(ordinary))
    tokens = {"special_tokens_map_file": "/root/special_tokens_map.json", "unk_token": {"content": "<unk>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokens))
    require_harmless(tmp_path, ["config.json", "tokenizer_config.json"])


@pytest.mark.parametrize("data", [b"[]", b"{", b"\xff", b"[" * 100_000, b" " * (16 << 20) + b" {}"])
def test_settings_that_are_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(HsdcError) as caught:
        require_harmless(tmp_path, ["config.json"])
    assert [fault.code for fault in caught.value.diagnostics] == ["E428"]
