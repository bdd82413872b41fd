"""The cases in `tests/cases`: manifests and messages, byte for byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hsdc_compiler import stream
from tests.cases.update import invalid, lay, of_case, outcome, valid

ROOT = Path(__file__).resolve().parents[2]
CODE = re.compile(r'"([EW]\d{3})"')
IMPORT = re.compile(r"^ *from hsdc_compiler(?:\.(\w+) import| import ([\w, ]+))", re.MULTILINE)
ELSEWHERE = {  # codes of the compiler that no spec can show, and the tests that do
    "E001": "no project around: tests/face/test_compile_command.py",
    "E002": "a profile that is not there, by its name in the call: tests/face/test_compile_command.py",
    "W013": "a file that is no spec: tests/face/test_stray_specs.py",
    "W012": "no lock at all: tests/face/test_init.py",
    "E003": "links out of the project, and what is no file: tests/compiler/test_hostile.py",
    "E004": "a run that is not there, by its name in the call: tests/face/test_compile_command.py",
    "E101": "a file larger than anyone wants in here: tests/compiler/test_hostile.py",
    "E419": "local sources under version control: tests/compiler/test_git.py",
    "E414": "a model that cannot be fetched: tests/hub/test_hub.py",
    **{f"E45{n}": "what git cannot give: tests/compiler/test_git.py" for n in range(1, 7)},
    "E616": "a reason for which a data run rejects, which `rejects` may name: tests/making",
    "E804": "a finished record on disk: tests/face/test_compile_command.py",
}


@pytest.mark.parametrize("case", invalid(), ids=lambda case: case.stem)
def test_invalid_case_says_this(case: Path) -> None:
    assert of_case(case).text == case.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", valid(), ids=lambda case: case.name)
def test_valid_case_becomes_these_manifests(case: Path) -> None:
    found = of_case(case)
    assert found.text == "exit 0\n"
    expected = {path.name.removesuffix(".lock.json"): path.read_bytes() for path in (case / "expected").iterdir()}
    assert found.manifests == expected


def test_expectations_and_cases_match() -> None:
    assert {case.with_suffix(".txt") for case in invalid()} == set((ROOT / "tests/cases/invalid").glob("*.txt"))
    assert all(any((case / "expected").iterdir()) for case in valid())


def sources_of(module: str, found: dict[str, str] | None = None) -> dict[str, str]:
    """The text of a module of the compiler, and of all of the compiler that it imports."""
    found = {} if found is None else found
    if module not in found:
        found[module] = (ROOT / f"compiler/hsdc_compiler/{module}.py").read_text(encoding="utf-8")
        for one, several in IMPORT.findall(found[module]):
            for below in [one] if one else several.split(", "):
                sources_of(below, found)
    return found


def test_every_code_of_the_compiler_has_a_case() -> None:
    known = {code for text in sources_of("pipeline").values() for code in CODE.findall(text)}
    shown = "".join(case.with_suffix(".txt").read_text(encoding="utf-8") for case in invalid())
    covered = set(re.findall(r"^(?:error|warning)\[([EW]\d{3})\]", shown, re.MULTILINE))
    assert known - covered - set(ELSEWHERE) == set()
    assert set(ELSEWHERE) <= known, "take out what the compiler no longer says"
    assert not covered & set(ELSEWHERE), "take out what a case shows"


def test_a_misspelt_key_is_reported_once_however_many_inherit_it() -> None:
    case = ROOT / "tests/cases/invalid/misspelt_key_inherited.yaml"
    text = of_case(case).text
    assert text.count("error[") == 1
    assert "unknown key 'learnig_rate'" in text
    assert "did you mean 'learning_rate'?" in text


def test_a_claim_of_a_run_whose_heads_are_wrong(tmp_path: Path) -> None:
    project = lay(ROOT / "tests/cases/invalid/head_called_overall.yaml", tmp_path / "project")
    with (project / "specs/child.yaml").open("a") as spec:
        spec.write("reproduces: {run: parent, metric: overall.f1_macro}\n")
    assert "[E703] 'overall' is the mean of all heads" in outcome(project).text


def test_a_change_of_kind_drops_what_was_inherited_under_it(tmp_path: Path) -> None:
    manifests = outcome(lay(ROOT / "tests/cases/valid/kinds", tmp_path / "project")).manifests
    assert b'"gamma":2.5' in manifests["parent"]
    assert b'"gamma"' not in manifests["child"]
    assert b'"boosts"' not in manifests["child"]


@pytest.mark.parametrize("case", [*invalid(), *valid()], ids=lambda case: case.stem)
def test_the_parser_in_pure_python_says_the_same(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_EventParser", yaml.SafeLoader)
    found = of_case(case)
    if case.is_dir():
        expected = {path.name.removesuffix(".lock.json"): path.read_bytes() for path in (case / "expected").iterdir()}
        assert (found.text, found.manifests) == ("exit 0\n", expected)
        return
    written = case.with_suffix(".txt").read_text(encoding="utf-8")
    if "[E103]" in written or "[E111]" in written:  # each parser words these, and points, in its own way
        assert _codes_and_lines(found.text) == _codes_and_lines(written)
    else:
        assert found.text == written


def _codes_and_lines(text: str) -> list[str]:
    return re.findall(r"^(?:error|warning)\[\w+\]|^  --> [^:\n]+:\d+|^exit \d+", text, re.MULTILINE)
