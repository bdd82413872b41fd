"""A benchmark's result as a value, as text for the terminal, and as files."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "transformers", "numpy", "pydantic")


@dataclass(frozen=True)
class Table:
    """Rows of cells under a heading; `text` are the columns that are left-aligned, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Requirement:
    """What the product must reach; `value` is what was measured, `met` whether that is enough."""

    text: str
    value: str
    met: bool


@dataclass(frozen=True)
class Result:
    """What was compared, by which command, and what came out; `figures` are the unrounded numbers behind the tables."""

    name: str
    command: str
    compared: str
    tables: tuple[Table, ...]
    required: tuple[Requirement, ...]
    figures: dict[str, Any]
    notes: tuple[str, ...] = ()
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())


def machine() -> dict[str, Any]:
    """The machine without its name: processor, cores, operating system, interpreter and libraries."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def show(result: Result) -> list[str]:
    """The result as lines for a terminal."""
    lines = ["", f"{result.name}: {result.compared}"]
    for table in result.tables:
        lines += ["", f"  {table.title}", *(f"    {line}" for line in _aligned(table))]
    lines.append("")
    for item in result.required:
        lines.append(f"  {'met' if item.met else 'MISSED'}: {item.text}; measured {item.value}")
    return [*lines, ""]


def _aligned(table: Table) -> list[str]:
    rows = (table.columns, *table.rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in table.text else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown(result: Result) -> str:
    """The result as a Markdown page."""
    described = ", ".join(f"{key} {value}" for key, value in machine().items())
    lines = [f"# {result.name}", "", f"{result.compared}", ""]
    lines += [f"`{result.command}`, {result.date}; {described}."]
    for table in result.tables:
        lines += ["", f"## {table.title}", "", _row(table.columns)]
        marks = ["---" if index in table.text else "---:" for index in range(len(table.columns))]
        lines += [_row(marks), *map(_row, table.rows)]
    if result.required:
        lines += ["", "## Required", "", _row(("requirement", "measured", "")), _row(("---", "---", "---"))]
        lines += [_row((item.text, item.value, "met" if item.met else "**missed**")) for item in result.required]
    if result.notes:
        lines += ["", "## Notes", "", *result.notes]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write(result: Result) -> tuple[Path, Path]:
    """Write the result as JSON and as Markdown."""
    FOLDER.mkdir(exist_ok=True)
    data, page = FOLDER / f"{result.name}.json", FOLDER / f"{result.name}.md"
    data.write_text(json.dumps({**asdict(result), "machine": machine()}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    page.write_text(markdown(result), "utf-8")
    return data, page
