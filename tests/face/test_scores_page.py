"""docs/scores.md: its tables and examples are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from hsdc_schemas import comparison, metrics
from hsdc_schemas.answers import Answer, Header
from hsdc_schemas.gates import needed_rows, parse_gate
from hsdc_schemas.scores import parse_metric

TEXT = (Path(__file__).resolve().parents[2] / "docs/scores.md").read_text(encoding="utf-8")
HEADS = {"label": ("normal", "hate")}
TWO = {"sentiment": ("negative", "positive"), "stance": ("objective", "partisan"), **HEADS}


def cells(title: str) -> list[str]:
    """The first column of a table, given its heading."""
    rows = re.search(rf"^\| {title} \|.*\n\| ---.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert rows is not None, title
    return [line.split("|")[1].strip() for line in rows[1].splitlines()]


def test_every_figure_is_there() -> None:
    named = [name.partition("[")[0] for cell in cells("figure") for name in re.findall(r"`(\w+[^`]*)`", cell)]
    assert sorted(named) == sorted((*metrics.WHOLE, *metrics.BY_LABEL, *metrics.OF_NUMBERS, "coverage"))


def test_every_verdict_is_there() -> None:
    words = {word for cell in cells("verdict") for word in cell.split(", ")}
    fixed = (comparison.BETTER, comparison.WORSE, comparison.UNCLEAR, comparison.NOT_COMPARABLE, comparison.INCOMPLETE)
    assert words == {*fixed, "within ±MARGIN"}


def test_every_field_of_a_file_of_answers_is_there() -> None:
    for title, fields in (("header", Header.__struct_fields__), ("row", Answer.__struct_fields__)):
        named = [name for cell in cells(title) for name in re.findall(r"`(\w+)`", cell)]
        assert sorted(named) == sorted(set(fields) - {"hsdc"})


def test_examples_are_metrics_and_gates() -> None:
    examples = re.findall(r"^    (\S+) {2,}\S", TEXT, re.MULTILINE)
    assert len(examples) == 5
    assert [str(parse_metric(name, TWO)) for name in examples] == examples
    numbers = {"score": (0.0, 1.0)}
    gates = [parse_gate(text, HEADS, numbers) for text in re.findall(r"^        - (.+)$", TEXT, re.MULTILINE)]
    assert len(gates) == 7
    need = needed_rows(next(gate for gate in gates if gate.delta), 545)
    assert "about 31,000 rows" in TEXT
    assert round(need.rows, -3) == 31_000
