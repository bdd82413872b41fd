"""Coverage-guided fuzzing of what reads untrusted bytes: the spec parser and the reader of manifests.

    make fuzz                        both for a minute, on top of the committed corpus

Any exception but HsdcError, and any value that does not come back from its canonical bytes, is a fault. Not a test of
CI: it ends when its time is over. What it finds goes to `.cache/fuzz/`, and from there, small, into the corpus.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hsdc_compiler", "hsdc_schemas"]):
    from hsdc_compiler.merge import merge
    from hsdc_compiler.parse import parse
    from hsdc_schemas.digests import canonical, from_json
    from hsdc_schemas.errors import HsdcError
    from hsdc_schemas.manifest import Manifest, load_sealed, sealed

FILE = Path(tempfile.mkdtemp()) / "fuzzed.lock.json"


def spec(data: bytes) -> None:
    """A document parses to values that canonical JSON can hold, or is refused; merged with itself it is itself."""
    try:
        node = parse("specs/fuzzed.yaml", data)
    except HsdcError:
        return
    plain = node.plain()
    try:
        written = canonical(plain)
    except ValueError:  # whole numbers beyond JSON's, which fields refuse
        return
    assert canonical(from_json(written)) == written
    if node.is_mapping and not any(key.startswith("$") for key in _keys(plain)):
        faults: list[object] = []
        assert merge(node, node, faults.append).plain() == plain
        assert all(fault.severity == "warning" for fault in faults)  # type: ignore[attr-defined]


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return {*value, *(key for item in value.values() for key in _keys(item))}
    return {key for item in value for key in _keys(item)} if isinstance(value, tuple) else set()


def manifest(data: bytes) -> None:
    """Bytes are a manifest or are refused; bytes that are resealed are refused or are one."""
    FILE.write_bytes(data)
    with suppress(HsdcError):
        load_sealed(FILE, FILE.name, Manifest)
    try:
        value = from_json(data)
        resealed = canonical(sealed(value)) + b"\n" if isinstance(value, dict) else b""
    except (ValueError, RecursionError):
        return
    FILE.write_bytes(resealed)
    try:
        found = load_sealed(FILE, FILE.name, Manifest)
    except HsdcError:
        return
    assert found.digest == from_json(resealed)["digest"]


if __name__ == "__main__":
    target = {"spec": spec, "manifest": manifest}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
