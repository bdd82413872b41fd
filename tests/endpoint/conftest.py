"""A function that asks a server on the loopback; all of it is left out where the library is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("openai") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from hsdc_runtime.endpoint.values import Gathered
    from tests.endpoint.asking import Ask, gathered, requests
    from tests.endpoint.server import Server


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Ask a server some texts; the responses are kept in one folder for the whole test."""

    def call(server: Server, texts: list[str], *rest: Any, parameters: Any = None, **options: Any) -> Gathered:
        wanted = requests(server.url, texts, **(parameters or {}))
        return gathered(server.url, wanted, tmp_path / "replies", *rest, **options)

    return call
