"""SARIF against the schema of OASIS, where `make sarif` has fetched it: every golden message of the compiler."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from hsdc.formats import sarif
from hsdc_compiler.pipeline import compile_project
from hsdc_schemas.errors import Diagnostic, HsdcError
from tests.cases.update import invalid, lay

SCHEMA = Path(__file__).resolve().parents[2] / ".cache/sarif/package/sarif-2.1.0.json"

pytestmark = pytest.mark.skipif(not SCHEMA.exists(), reason="make sarif fetches the schema")


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_bytes()))


def faults(diagnostics: list[Diagnostic], code: int) -> list[str]:
    log = json.loads(json.dumps(sarif(diagnostics, code)))
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(log)]


@pytest.mark.parametrize("case", invalid(), ids=lambda case: case.stem)
def test_what_a_case_gives_is_valid(case: Path, tmp_path: Path) -> None:
    try:
        found = list(compile_project(lay(case, tmp_path / "project")).diagnostics)
    except HsdcError as error:
        found = list(error.diagnostics)
    assert found
    assert faults(found, 2) == []


def test_the_schema_refuses_what_is_no_sarif() -> None:
    log = json.loads(json.dumps(sarif([], 0)))
    del log["runs"][0]["tool"]
    assert list(validator().iter_errors(log)) != []
