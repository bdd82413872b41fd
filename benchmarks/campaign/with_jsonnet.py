"""Evaluate the Jsonnet files of a folder and write JSON: `with_jsonnet.py FROM TO rjsonnet|_jsonnet each|once`.

`each` evaluates and writes file by file; `once` evaluates the one that imports all others, and writes one file.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def main(source: Path, target: Path, module: str, how: str) -> None:
    """Evaluate and write all of them with the module named."""
    evaluate = import_module(module).evaluate_file
    paths = [source / "all.jsonnet"] if how == "once" else sorted(source.glob("chain*.jsonnet"))
    for path in paths:
        (target / f"{path.stem}.json").write_text(evaluate(str(path)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
