"""Diagnostics for other programs: workflow annotations of a CI service, and SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from hsdc import __version__, codes
from hsdc.output import inert
from hsdc_schemas.errors import Diagnostic, Place

SARIF_VERSION = "2.1.0"
SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
BASE = "%SRCROOT%"
LONGEST_MESSAGE = 4000
OUTSIDE = ("local:", "hf:", "package:")
_LEVELS = {"error": "error", "warning": "warning"}


def repository_folder(root: Path) -> str:
    """The path of a project inside the repository that holds it, "" where it is the repository itself."""
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            inside = root.relative_to(folder).as_posix()
            return "" if inside == "." else inside
    return ""


def workflow_commands(diagnostics: Iterable[Diagnostic], folder: str = "") -> list[str]:
    """A workflow command for each diagnostic, as `::error file=…,line=…::message`; paths begin at the repository."""
    return [_annotation(diagnostic, folder) for diagnostic in diagnostics]


def _annotation(diagnostic: Diagnostic, folder: str) -> str:
    properties: dict[str, str] = {}
    place = _inside(diagnostic.place)
    if place is not None:
        properties |= {"file": _path(place, folder), "line": str(place.line)}
        if place.column:
            properties |= {"col": str(place.column), "endColumn": str(max(place.end, place.column + 1))}
    properties["title"] = diagnostic.code
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    lines = [_told(diagnostic)]
    related = [(text, found) for text, place in diagnostic.related if (found := _inside(place))]
    lines += [f"{text}: {_path(found, folder)}:{found.line}" for text, found in related]
    lines += [diagnostic.hint] if diagnostic.hint else []
    message = "\n".join(inert(line) for line in lines)[:LONGEST_MESSAGE]
    return f"::{_LEVELS[diagnostic.severity]} {listed}::{_data(message)}"


def _inside(place: Place | None) -> Place | None:
    """The place as one in the repository; rows of a `file:` source are there, those of other sources are not."""
    if place is None or place.path.startswith(OUTSIDE):
        return None
    return replace(place, path=place.path.removeprefix("file:"))


def _told(diagnostic: Diagnostic) -> str:
    """The message, and where it is about if that is nowhere in the repository."""
    place = diagnostic.place
    outside = place is not None and place.path.startswith(OUTSIDE)
    return f"{diagnostic.message} ({place.path}:{place.line})" if place and outside else diagnostic.message


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(inert(text)).replace(":", "%3A").replace(",", "%2C")


def sarif(diagnostics: Sequence[Diagnostic], exit_code: int, folder: str = "") -> dict[str, Any]:
    """A SARIF log of one run; columns count code points, and each rule carries the page of its code."""
    used = sorted({diagnostic.code for diagnostic in diagnostics})
    driver: dict[str, Any] = {"name": "hsdc", "version": __version__, "semanticVersion": __version__}
    driver["rules"] = [_rule(code) for code in used]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {BASE: {"description": {"text": "The root of the repository."}}},
        "invocations": [{"executionSuccessful": exit_code in (0, 1, 2, 3, 4), "exitCode": exit_code}],
        "results": [_result(diagnostic, used.index(diagnostic.code), folder) for diagnostic in diagnostics],
    }
    return {"$schema": SARIF_SCHEMA, "version": SARIF_VERSION, "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    level = "warning" if code.startswith("W") else "error"
    rule: dict[str, Any] = {"id": code, "defaultConfiguration": {"level": level}}
    page = codes.pages().get(code)
    if page is not None:
        rule["shortDescription"] = {"text": page.title}
        rule["fullDescription"] = {"text": page.title}
        rule["help"] = {"text": "\n".join(page.plain()), "markdown": page.text}
    return rule


def _result(diagnostic: Diagnostic, rule: int, folder: str) -> dict[str, Any]:
    text = f"{_told(diagnostic)}; {diagnostic.hint}" if diagnostic.hint else _told(diagnostic)
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": _message(text)},
    }
    place = _inside(diagnostic.place)
    if place is not None:
        result["locations"] = [{"physicalLocation": _location(place, folder)}]
    related = [(words, found) for words, place in diagnostic.related if (found := _inside(place))]
    if related:
        result["relatedLocations"] = [
            {"id": number, "physicalLocation": _location(place, folder), "message": {"text": _message(words)}}
            for number, (words, place) in enumerate(related)
        ]
    return result


def _message(text: str) -> str:
    """A message's text; SARIF would read `[…](…)` in it as a link."""
    return inert(text)[:LONGEST_MESSAGE].replace("](", "] (")


def _location(place: Place, folder: str) -> dict[str, Any]:
    region: dict[str, Any] = {"startLine": place.line}
    if place.column:
        region |= {"startColumn": place.column, "endLine": place.line, "endColumn": max(place.end, place.column + 1)}
    uri = PurePosixPath("/", folder, place.path).as_uri().removeprefix("file:///")
    return {"artifactLocation": {"uri": uri, "uriBaseId": BASE}, "region": region}


def _path(place: Place, folder: str) -> str:
    return f"{folder}/{place.path}" if folder else place.path
