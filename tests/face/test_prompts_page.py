"""The page on prompt runs: its tables are the code's, its blocks can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from hsdc_schemas.answer_forms import FAULTS, MAX_REPLY
from hsdc_schemas.components import Endpoint
from hsdc_schemas.prompting import TOLERATED
from hsdc_schemas.spec import Execution

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/prompts.md").read_text(encoding="utf-8")
AGAINST = PAGE[PAGE.index("## Against an endpoint") : PAGE.index("## With a model on this machine")]
LOCAL = PAGE[PAGE.index("## With a model on this machine") : PAGE.index("## How replies are read")]
READ = PAGE[PAGE.index("## How replies are read") :]


def test_the_tables_name_what_is_tolerated_and_every_fault() -> None:
    assert re.findall(r"^\| `(\w+)` \|", READ, re.MULTILINE) == [*TOLERATED, *FAULTS]
    assert f"{MAX_REPLY:,}" in READ


def test_the_blocks_are_components_and_a_part_of_a_profile() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", AGAINST, re.DOTALL | re.MULTILINE)]
    endpoints = [block for block in blocks if "kind" in block]
    assert [block["model"] for block in endpoints] == [
        "gpt_oss",
        "smollm2_served",
    ]
    for block in endpoints:
        Endpoint.model_validate({key: value for key, value in block.items() if key not in ("hsdc", "model")})
    [profile] = [block["execution"] for block in blocks if "execution" in block]
    found = Execution.model_validate(profile).requests
    assert (found.most_seconds, found.most_cost, found.retries) == (3600, 5, 6)


def test_the_local_model_is_the_shipped_one() -> None:
    [shown] = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", LOCAL, re.DOTALL | re.MULTILINE)]
    shipped = yaml.safe_load((ROOT / "specs/models/smollm2.yaml").read_text(encoding="utf-8"))
    assert shown.items() <= shipped.items()
    for line in re.findall(r"^```json\n(.*?)^```$", LOCAL, re.DOTALL | re.MULTILINE):
        assert list(json.loads(line)) == sorted(json.loads(line))
