"""Endpoints whose place differs from machine to machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsdc_schemas.errors import Exit, HsdcError
from hsdc_schemas.sources import LOCAL_SOURCES, locate_endpoint


def local(root: Path, text: str) -> None:
    (root / LOCAL_SOURCES).parent.mkdir(exist_ok=True)
    (root / LOCAL_SOURCES).write_text(text)


def refused(code: str, root: Path, url: str) -> str:
    with pytest.raises(HsdcError) as raised:
        locate_endpoint(root, url)
    [diagnostic] = raised.value.diagnostics
    assert (diagnostic.code, diagnostic.exit) == (code, Exit.ENVIRONMENT)
    return f"{diagnostic.message} {diagnostic.hint}"


def test_an_endpoint_is_where_it_is_declared_or_where_this_machine_says(tmp_path: Path) -> None:
    assert locate_endpoint(tmp_path, "https://api.example.org/v1") == "https://api.example.org/v1"
    assert "under [endpoints]: box" in refused("E406", tmp_path, "local:box")
    local(tmp_path, '[endpoints]\nbox = "http://10.0.0.2:8000/v1"\nuser = "https://me:word@x/v1"\nnumber = 3\n')
    assert locate_endpoint(tmp_path, "local:box") == "http://10.0.0.2:8000/v1"
    assert "did you mean 'box'?" in refused("E406", tmp_path, "local:boxx")
    for name in ("user", "number"):
        assert "no url" in refused("E406", tmp_path, f"local:{name}")
    local(tmp_path, "endpoints = 3\n")
    refused("E405", tmp_path, "local:box")
