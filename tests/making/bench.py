"""The stages of a data run on a section of a spec and files in a folder, without a project around them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsdc_runtime.inputs import Located
from hsdc_runtime.stages.filter_rows import filter_rows
from hsdc_runtime.stages.read_records import read_records
from hsdc_runtime.stages.write_rows import write_rows
from hsdc_runtime.watch import Watch
from hsdc_runtime.work import Made, Output, Work
from hsdc_schemas.digests import canonical, digest_file
from hsdc_schemas.making import DataExperiment

STAGES = {"read": read_records, "filter": filter_rows, "write": write_rows}
PLAIN = {
    "fields": {"id": {}, "text": {}, "label": {"allowed": ["hate", "normal"]}, "score": {"type": "number"}},
    "columns": {name: name for name in ("id", "text", "label", "score")},
}
CORPUS = {"shapes": "shapes", "sources": "sources", "rejects": "rejects", "corpus_expect": "expect"}


@dataclass(frozen=True)
class Bench:
    """A folder with sources, and what is asked of them."""

    folder: Path
    experiment: Mapping[str, Any]

    def run(self, upto: str = "write") -> dict[str, Made]:
        """What the stages make, up to one of them."""
        self.folder.mkdir(exist_ok=True)
        section = experiment(self.experiment)
        files = {name: self.folder / source["source"][5:] for name, source in section["corpus"]["sources"].items()}
        digests = {f"source.{name}": digest_file(path)[0] for name, path in files.items()}
        needs: dict[str, dict[str, Output]] = {}
        found = {}
        for name, stage in STAGES.items():
            place = self.folder / name
            place.mkdir(exist_ok=True)
            inputs = Located(files, digests, self.folder / "model")
            watch = Watch(lambda *_: None)
            work = Work(
                {"experiment": section}, inputs, needs, {}, place, place, place, lambda *_: None, lambda: False, watch
            )
            found[name] = made = stage(work)
            needs[name] = {key: Output(path, digest_file(path)[0]) for key, path in made.files.items()}
            if name == upto:
                break
        return found

    def rows(self, output: str = "rows") -> dict[str, list[dict[str, Any]]]:
        """The objects of each split that an output holds."""
        made = self.run()["write"].files
        names = [name for name in made if name.startswith(f"{output}.")]
        return {name.partition(".")[2]: lines(made[name]) for name in names}


def experiment(value: Mapping[str, Any]) -> dict[str, Any]:
    """A whole experiment, from what differs from one source of plain rows that are all in one split.

    What is of its corpus stands beside the rest.
    """
    corpus = {
        "shapes": {"plain": PLAIN},
        "sources": {"all": {"source": "file:rows.jsonl", "format": "jsonl", "shapes": ["plain"]}},
    }
    whole = {
        "kind": "data",
        "corpus": {**corpus, **{CORPUS[name]: item for name, item in value.items() if name in CORPUS}},
        "splits": {"kind": "source"},
        "leakage": {"exact": "allow", "similar": "allow"},
        "outputs": {"rows": {"kind": "rows"}},
        **{name: item for name, item in value.items() if name not in CORPUS},
    }
    found: dict[str, Any] = json.loads(
        canonical(DataExperiment.model_validate_json(canonical(whole)).model_dump(mode="json"))
    )
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def row(number: int, **more: Any) -> dict[str, Any]:
    """A plain row."""
    return {"id": f"r{number}", "text": f"text {number}", "label": "normal", "score": 0.5, **more}


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> None:
    """Rows as JSON lines."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in rows), "utf-8")
