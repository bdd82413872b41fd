"""The page on data runs: what it says is printed is printed, and its tables are the language's."""

from __future__ import annotations

import re

import yaml

from docs.data_faults import BEGINS, PAGE, part
from hsdc_schemas.making import DataExperiment, Shape, Source

TEXT = PAGE.read_text("utf-8")


def test_what_goes_wrong_is_told_as_the_page_says() -> None:
    assert BEGINS + TEXT.partition(BEGINS)[2] == part(), "python -m docs.data_faults writes it anew"


def test_every_filter_is_in_the_table() -> None:
    schema = DataExperiment.model_json_schema()
    kinds = schema["properties"]["filters"]["items"]["discriminator"]["mapping"]
    assert sorted(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == sorted(kinds)


def test_the_blocks_are_of_the_language() -> None:
    sources, columns, splits = (
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    )
    for source in sources["corpus"]["sources"].values():
        Source.model_validate({**source, "shapes": tuple(source["shapes"])})
    fields = {"concept_id": {}, "output": {}, "label": {}}
    shape = Shape.model_validate({"fields": fields, **columns})
    assert set(shape.columns) == {"id", "vision", "confidence", "label"}
    assert all(split.startswith("run:") for split in splits["splits"].values())
