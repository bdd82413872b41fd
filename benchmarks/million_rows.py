"""A million rows read strictly, filtered, split and written: CPU time and peak memory, beside pydantic line by line."""

from __future__ import annotations

import json
import random
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.processes import Spent, spend
from benchmarks.results import Requirement, Result, Table
from benchmarks.workspace import workspace

ROWS, FEW = 1_000_000, 50_000
MOST_READ, MOST_REST, MOST_MEMORY = 3.0, 6.0, 200 * 10**6
RUN = "million"
SPEC = """\
hsdc: 1
run: million
kind: data
corpus:
  shapes:
    post:
      fields: {id: {}, text: {}, label: {allowed: [hate, normal]}, score: {type: number}, thread: {}}
      columns: {id: id, text: text, label: label, score: score, thread: thread}
  sources:
    all: {source: "file:data/million.jsonl", format: jsonl, shapes: [post]}
filters:
  - {kind: at_least, column: score, minimum: 0.1}
splits: {kind: drawn, shares: {train: 0.8, validation: 0.1, test: 0.1}, stratify: [label]}
leakage: {exact: drop, similar: allow}
outputs: {rows: {kind: rows}}
"""
PYDANTIC = """
import sys
from collections import Counter
from typing import Literal
from pydantic import BaseModel, ConfigDict
class Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    id: str
    text: str
    label: Literal["hate", "normal"]
    score: float
    thread: str
counts, seen = Counter(), set()
with open("data/million.jsonl", "rb") as file:
    for line in file:
        row = Row.model_validate_json(line)
        assert row.id not in seen
        seen.add(row.id)
        counts[row.label] += 1
"""
DATASETS = """
from collections import Counter
from datasets import load_dataset
rows = load_dataset("json", data_files="data/million.jsonl", split="train", cache_dir="data/cache")
Counter(rows["label"])
"""


def run(*, quick: bool, data: Path | None) -> Result:
    """Write the rows, compile, run; with `quick`, a twentieth of the rows. `data` is not used."""
    rows = FEW if quick else ROWS
    with workspace() as root:
        for path in (root / "specs").glob("*.yaml"):
            path.unlink()
        (root / "specs" / f"{RUN}.yaml").write_text(SPEC, "utf-8")
        size = _write(root / "data" / "million.jsonl", rows)
        spend(["-m", "hsdc", "compile"], root)
        whole = spend(["-m", "hsdc", "run", RUN], root, loud=True)
        record = json.loads((root / "generated" / "demo" / f"{RUN}.record.json").read_bytes())
        pydantic = spend(["-c", PYDANTIC], root)
        datasets = _of_datasets(root)
    counts = record["rows"]["all"]
    if counts["read"] != rows or counts["kept"] + sum(counts["filtered"].values()) != rows:
        raise RuntimeError(f"the rows do not add up: {counts}")
    return _result(rows, size, record, whole, pydantic, datasets)


def _write(path: Path, rows: int) -> int:
    """Rows of about 140 bytes, the same on every machine; how many bytes they are."""
    source = random.Random(1)
    words = [f"word{number}" for number in range(2000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = {
                "id": f"r{number}",
                "text": " ".join(source.choices(words, k=14)),
                "score": round(source.random(), 3),
            }
            row |= {"label": "hate" if source.random() < 0.4 else "normal", "thread": f"t{number // 7}"}
            file.write(json.dumps(row) + "\n")
    return path.stat().st_size


def _of_datasets(root: Path) -> Spent | None:
    if find_spec("datasets") is None:
        return None
    spent = spend(["-c", DATASETS], root)
    shutil.rmtree(root / "data" / "cache", ignore_errors=True)
    return spent


def _result(
    rows: int, size: int, record: dict[str, Any], whole: Spent, pydantic: Spent, datasets: Spent | None
) -> Result:
    seconds = {stage["name"]: stage["cpu_seconds"] for stage in record["stages"]}
    rest = seconds["filter"] + seconds["write"]
    shown = [(f"stage {name}", f"{value:.2f}", "") for name, value in seconds.items()]
    shown.append((f"hsdc run {RUN}, the whole process", f"{whole.cpu:.2f}", f"{whole.peak / 1e6:.0f}"))
    shown.append(("pydantic, a model per line", f"{pydantic.cpu:.2f}", f"{pydantic.peak / 1e6:.0f}"))
    if datasets is not None:
        shown.append(("datasets, load_dataset and a count", f"{datasets.cpu:.2f}", f"{datasets.peak / 1e6:.0f}"))
    million = f"{rows:,} rows"
    read = f"{million} are checked strictly and counted in under {MOST_READ:.0f} s of CPU time"
    after = f"they are filtered, split and written in under {MOST_REST:.0f} s"
    memory = f"the whole process stays under {MOST_MEMORY / 1e6:.0f} MB"
    return Result(
        name="million_rows",
        command="python -m benchmarks million_rows",
        compared=f"{million} of JSON lines ({size / 1e6:.0f} MB) through a data run, beside other ways to check them",
        tables=(Table("CPU time and peak memory", ("way", "CPU s", "peak MB"), tuple(shown)),),
        required=(
            Requirement(read, f"{seconds['read']:.2f} s", seconds["read"] < MOST_READ),
            Requirement(after, f"{rest:.2f} s", rest < MOST_REST),
            Requirement(memory, f"{whole.peak / 1e6:.0f} MB", whole.peak < MOST_MEMORY),
        ),
        figures={
            "rows": rows,
            "bytes": size,
            "stage_cpu_seconds": seconds,
            "whole": {"cpu_seconds": whole.cpu, "peak_bytes": whole.peak},
            "pydantic": {"cpu_seconds": pydantic.cpu, "peak_bytes": pydantic.peak},
            "datasets": None if datasets is None else {"cpu_seconds": datasets.cpu, "peak_bytes": datasets.peak},
            "accounts": record["rows"],
        },
        notes=(
            "A stage's time is what its record says; the whole process also hashes the input and all that is stored.",
            "Texts that are nearly the same are not looked for: `leakage: {similar: allow}`.",
            "pydantic reads into a strict model that forbids further keys, remembers ids and counts labels; it writes"
            " nothing." + ("" if datasets is not None else " `datasets` is not installed here."),
        ),
    )
