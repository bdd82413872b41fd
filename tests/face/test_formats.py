"""`hsdc compile --format github` and `--format sarif`.

The OASIS schema of SARIF is not at hand, so that its constraints on what hsdc writes are spelt out here: required
properties, types, enumerations, ranges and indices (SARIF 2.1.0, sections 3.13 to 3.52).
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hsdc import formats
from hsdc.__main__ import main
from hsdc_schemas.errors import Diagnostic, Exit, Place

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"::(error|warning) ([^:]*)::(.*)\Z")

TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
WHOLE = {"type": "integer", "minimum": 1}
REGION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["startLine"],
    "properties": {"startLine": WHOLE, "startColumn": WHOLE, "endLine": WHOLE, "endColumn": WHOLE},
}
PHYSICAL = {
    "type": "object",
    "additionalProperties": False,
    "required": ["artifactLocation"],
    "properties": {
        "artifactLocation": {
            "type": "object",
            "additionalProperties": False,
            "required": ["uri"],
            "properties": {
                "uri": {"type": "string", "pattern": r"^(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/-]+$"},
                "uriBaseId": {"enum": ["%SRCROOT%"]},
            },
        },
        "region": REGION,
    },
}
LOCATION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["physicalLocation"],
    "properties": {"id": {"type": "integer", "minimum": 0}, "physicalLocation": PHYSICAL, "message": TEXT},
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
RULE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "shortDescription", "help"],
    "properties": {
        "id": {"type": "string", "pattern": r"^[EW]\d{3}$"},
        "shortDescription": TEXT,
        "fullDescription": TEXT,
        "help": TEXT,
        "defaultConfiguration": {"type": "object", "properties": {"level": LEVEL}, "additionalProperties": False},
    },
}
RESULT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["ruleId", "ruleIndex", "level", "message"],
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": LEVEL,
        "message": TEXT,
        "locations": {"type": "array", "items": LOCATION, "minItems": 1, "maxItems": 1},
        "relatedLocations": {"type": "array", "items": LOCATION, "minItems": 1, "uniqueItems": True},
    },
}
DRIVER = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "rules"],
    "properties": {
        "name": {"const": "hsdc"},
        "version": {"type": "string"},
        "semanticVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
        "rules": {"type": "array", "items": RULE, "uniqueItems": True},
    },
}
INVOCATION = {
    "type": "object",
    "additionalProperties": False,
    "required": ["executionSuccessful"],
    "properties": {"executionSuccessful": {"type": "boolean"}, "exitCode": {"type": "integer"}},
}
RUN = {
    "type": "object",
    "additionalProperties": False,
    "required": ["tool", "results"],
    "properties": {
        "tool": {"type": "object", "required": ["driver"], "properties": {"driver": DRIVER}},
        "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
        "originalUriBaseIds": {"type": "object"},
        "invocations": {"type": "array", "items": INVOCATION, "minItems": 1},
        "results": {"type": "array", "items": RESULT},
    },
}
SARIF = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "runs"],
    "properties": {
        "$schema": {
            "type": "string",
            "pattern": r"^https://docs\.oasis-open\.org/sarif/.*/sarif-schema-2\.1\.0\.json$",
        },
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": RUN, "minItems": 1},
    },
}


def valid(log: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of a log that holds to the format."""
    jsonschema.Draft202012Validator(SARIF).validate(log)
    run = log["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        for location in (*result.get("locations", ()), *result.get("relatedLocations", ())):
            region = location["physicalLocation"].get("region", {})
            assert region.get("endColumn", 2) > region.get("startColumn", 1)
            assert location["physicalLocation"]["artifactLocation"]["uriBaseId"] in run["originalUriBaseIds"]
    return list(run["results"])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in a folder of a repository, with an error over two files and a warning."""
    root = tmp_path / "repository/experiments"
    shutil.copytree(ROOT / "tests/cases/base", root)
    (tmp_path / "repository/.git").mkdir()
    (root / "specs/child.yaml").write_text(
        "hsdc: 1\nrun: child\nextends: parent\nbudget: 0\nwhy: A test.\n"
        "change: {training: {epochs: 3, learning_rate: 1.0e-5}}\n"
    )
    monkeypatch.chdir(root)
    return root


def written(capsys: pytest.CaptureFixture[str], *options: str, code: int) -> str:
    capsys.readouterr()
    assert main(["compile", *options]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def unescaped(text: str) -> str:
    for sign, escape in ((":", "%3A"), (",", "%2C"), ("\r", "%0D"), ("\n", "%0A"), ("%", "%25")):
        text = text.replace(escape, sign)
    return text


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The workflow commands in a log, as a service reads them."""
    found = []
    for line in text.splitlines():
        if match := COMMAND.match(line.strip()):
            pairs = (pair.partition("=") for pair in match[2].split(","))
            found.append((match[1], {key: unescaped(value) for key, _, value in pairs}, unescaped(match[3])))
    return found


def test_annotations_of_a_compilation(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = commands(written(capsys, "--format", "github", code=3))
    assert [(level, properties) for level, properties, _ in found] == [
        ("error", place("child", 4, 9, 10, "E801")),
        ("warning", place("child", 6, 29, 30, "W315")),
    ]
    assert "differs from 'parent' in 1 factor; its budget is 0\n" in found[0][2]
    assert "experiments/specs/parent.yaml:27" in found[0][2]


def place(run: str, line: int, column: int, end: int, code: str) -> dict[str, str]:
    where = {"file": f"experiments/specs/{run}.yaml", "line": str(line), "col": str(column), "endColumn": str(end)}
    return {**where, "title": code}


def test_a_stale_manifest_is_annotated(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "specs/child.yaml").unlink()
    written(capsys, "--format", "github", code=0)
    assert commands(written(capsys, "--check", "--format", "github", code=0)) == []
    parent = project / "specs/parent.yaml"
    parent.write_text(parent.read_text().replace("epochs: 3", "epochs: 5"))
    (level, properties, message), *others = commands(written(capsys, "--check", "--format", "github", code=1))
    assert (level, properties["file"], properties["line"]) == ("error", "experiments/specs/parent.yaml", "26")
    assert properties["title"] == "E505"
    assert "training.epochs: 3 → 5" in message
    assert not others
    results = valid(json.loads(written(capsys, "--check", "--format", "sarif", code=1)))
    assert [result["ruleId"] for result in results] == ["E505"]


def test_nothing_of_a_diagnostic_can_end_or_begin_a_command() -> None:
    hostile = "100% ,a:b\r\n::stop-commands::x\x1b[31m\u2028::set-output name=a::b"
    found = Diagnostic("E201", Exit.SPEC, hostile, Place(f"specs/{hostile}.yaml", 1, 2, 3), hostile)
    (line,) = formats.workflow_commands([found])
    assert line.isprintable()
    assert line.startswith("::error file=specs/100%25 %2Ca%3Ab")
    assert "::" not in line[len("::error ") : line.index("title=E201::")], "the properties cannot end early"
    ((level, properties, message),) = commands(line)
    assert level == "error"
    assert set(properties) == {"file", "line", "col", "endColumn", "title"}
    assert message.startswith("100% ,a:b")
    assert len(message.splitlines()) == 2
    (plain,) = formats.workflow_commands([Diagnostic("E001", Exit.SPEC, "no place")])
    assert plain == "::error title=E001::no place"


def test_sarif_of_a_compilation(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = json.loads(written(capsys, "--format", "sarif", code=3))
    budget, warning = valid(log)
    assert (budget["ruleId"], budget["level"], warning["ruleId"], warning["level"]) == (
        "E801",
        "error",
        "W315",
        "warning",
    )
    where = budget["locations"][0]["physicalLocation"]
    assert where["artifactLocation"]["uri"] == "experiments/specs/child.yaml"
    assert where["region"] == {"startLine": 4, "startColumn": 9, "endLine": 4, "endColumn": 10}
    related = budget["relatedLocations"]
    assert [item["id"] for item in related] == [0, 1]
    assert related[1]["physicalLocation"]["artifactLocation"]["uri"] == "experiments/specs/parent.yaml"
    assert log["runs"][0]["invocations"] == [{"executionSuccessful": True, "exitCode": 3}]


def test_sarif_where_nothing_or_no_place_is_to_be_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = valid(json.loads(written(capsys, "--profile", "dmeo", "--format", "sarif", code=2)))
    assert found["ruleId"] == "E002"
    assert "locations" not in found
    (project / "specs/child.yaml").unlink()
    assert valid(json.loads(written(capsys, "--format", "sarif", code=0))) == []
    hostile = Diagnostic("E201", Exit.SPEC, "\x1b[0m[a](b)\n", Place("specs/ü %?#\udc80.yaml", 3, 4, 2))
    (found,) = valid(json.loads(json.dumps(formats.sarif([hostile], 2))))
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "specs/%C3%BC%20%25%3F%23%80.yaml"
    assert "](" not in found["message"]["text"]
    assert found["message"]["text"].isprintable()


def test_columns_count_code_points(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "specs/child.yaml").write_text(
        'hsdc: 1\nrun: child\nextends: parent\nbudget: 0\nchange: {head: {"𝄞": 1, dropuot: 0.1}}\n'
    )
    log = json.loads(written(capsys, "--format", "sarif", code=2))
    assert log["runs"][0]["columnKind"] == "unicodeCodePoints"
    columns = {
        result["message"]["text"].split("'")[1]: result["locations"][0]["physicalLocation"]["region"]
        for result in valid(log)
    }
    assert columns["dropuot"]["startColumn"] == 'change: {head: {"𝄞": 1, dropuot: 0.1}}'.index("dropuot") + 1


def test_rows_stand_in_the_repository_or_outside(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "specs/child.yaml").unlink()
    train = project / "data/train.csv"
    train.write_text(train.read_text() + "zz,A row.,icy,work\n")
    line = len(train.read_text().splitlines())
    ((_, properties, _),) = commands(written(capsys, "--format", "github", code=1))
    assert (properties["file"], properties["line"]) == ("experiments/data/train.csv", str(line))
    outside = Diagnostic("E606", Exit.NO, "'icy' is no label", Place("local:rows/train.csv", 7, 3, 6))
    assert formats.workflow_commands([outside], "here") == [
        "::error title=E606::'icy' is no label (local:rows/train.csv:7)"
    ]
    (found,) = valid(formats.sarif([outside], 1, "here"))
    assert "locations" not in found
    assert found["message"]["text"] == "'icy' is no label (local:rows/train.csv:7)"


def test_two_formats_at_once_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--json", "--format", "sarif"]) == 2
    assert "error[E000]" in capsys.readouterr().err
