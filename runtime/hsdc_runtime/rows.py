"""The rows of a finished data run as files that other software reads, with their card and metadata."""

from __future__ import annotations

import shutil
from pathlib import Path

from hsdc_runtime.leaving import CARD, new_folder, outputs, require_finished, stored
from hsdc_schemas.making import DataExperiment, RowsOutput
from hsdc_schemas.manifest import Manifest

METADATA = {"card": CARD, "croissant": "croissant.json"}


def export_rows(root: Path, manifest: Manifest, to: Path) -> tuple[str, ...]:
    """Write a folder, whole or not at all; the names of its files, which are those of the metadata.

    HsdcError where the run has no record (E550), the folder is there (E551), or a file is not in the store (E436).
    """
    record, experiment = require_finished(root, manifest), manifest.experiment
    assert isinstance(experiment, DataExperiment)
    names = {name: METADATA.get(name) or _named(experiment, name) for name in outputs(record, "write")}
    with new_folder(to) as part:
        for name, file in names.items():
            shutil.copyfile(stored(root, record, "write", name), part / file)
    return tuple(sorted(names.values()))


def _named(experiment: DataExperiment, name: str) -> str:
    output = experiment.outputs[name.partition(".")[0]]
    return f"{name}.{output.format if isinstance(output, RowsOutput) else 'jsonl'}"
