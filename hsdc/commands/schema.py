"""`hsdc schema`: export the JSON Schemas, or check that the committed ones are fresh."""

from __future__ import annotations

import argparse
from pathlib import Path

from hsdc_compiler.project import find_root
from hsdc_schemas.digests import write_atomically
from hsdc_schemas.errors import Exit
from hsdc_schemas.export import schemas


def execute(options: argparse.Namespace) -> int:
    """Write what differs; with `--check` name it and exit 1."""
    root = find_root(Path.cwd())
    stale = [path for path, data in schemas().items() if not _holds(root / path, data)]
    for path in stale:
        if options.check:
            print(f"stale: {path}; hsdc schema writes it anew")
        else:
            write_atomically(root / path, schemas()[path])
            print(f"written: {path}")
    if not stale:
        print(f"{len(schemas())} schemas are fresh")
    return int(Exit.NO if stale and options.check else Exit.DONE)


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data
