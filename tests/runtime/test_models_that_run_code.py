"""A model that would run code is refused when it is locked, and again when it is run, before a library is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hsdc_compiler.lock

ASK = """\
import sys
from hsdc.__main__ import main
code = main(sys.argv[1:])
print(code, sorted({"torch", "transformers", "safetensors", "tokenizers"} & {*sys.modules}))
"""


def plant(root: Path, what: str) -> str:
    """Harm the model; the code that it is refused with."""
    if what == "settings":
        path = root / "model/config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoModel": "own.Own"}}))
        return "E427"
    path = root / "model/model.safetensors"
    data = path.read_bytes()
    begin, other = b'"data_offsets":[128,', b'"data_offsets":[127,'  # it overlaps the tensor before
    assert begin in data
    path.write_bytes(data.replace(begin, other, 1))
    return "E428"


@pytest.mark.parametrize("what", ["settings", "weights"])
def test_it_is_refused_when_it_is_locked_and_when_it_is_run(
    fresh: Path, hsdc: Callable, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    code = plant(fresh, what)
    exit_code = {"E427": 3, "E428": 4}[code]
    before = (fresh / "generated/demo/base.lock.json").read_bytes()
    answer = hsdc("compile")
    assert (answer.code, f"error[{code}]" in answer.err) == (exit_code, True)
    assert (fresh / "generated/demo/base.lock.json").read_bytes() == before
    with monkeypatch.context() as patched:  # a manifest from a compiler that does not look
        patched.setattr(hsdc_compiler.lock, "require_harmless", lambda *_, **__: None)
        assert hsdc("compile").code == 0
    for frozen in ((), ("--frozen",)):
        asked = subprocess.run([sys.executable, "-c", ASK, "run", "base", *frozen], capture_output=True, text=True)
        assert asked.stdout.splitlines()[-1] == f"{exit_code} []", asked.stdout + asked.stderr
        assert f"error[{code}]" in asked.stderr
