"""The cases: what each one is, what the compiler makes of it, and the command that writes the expectations anew."""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hsdc.terminal import render
from hsdc_compiler.compilation import Compilation
from hsdc_compiler.pipeline import compile_project
from hsdc_compiler.project import spec_of
from hsdc_schemas.errors import HsdcError

HERE = Path(__file__).resolve().parent
NAMED = re.compile(rb"^run: ([a-z][a-z0-9_]*) *\r?$", re.MULTILINE)
FILE = re.compile(rb"^# file: (\S+)\n", re.MULTILINE)
"""In an invalid case this line begins another file of the project."""


@dataclass(frozen=True)
class Outcome:
    """What people see of a compilation, and the manifests by run."""

    text: str
    manifests: dict[str, bytes]


def valid() -> list[Path]:
    """Folders that are laid over the base project, each with its manifests in `expected/`."""
    return sorted(path for path in (HERE / "valid").iterdir() if path.is_dir())


def invalid() -> list[Path]:
    """Files that are each laid over the base project, with the whole message beside them as `.txt`."""
    return sorted((HERE / "invalid").glob("*.yaml"))


def parts(case: Path) -> Iterator[tuple[str, bytes]]:
    """The files of an invalid case: the spec of the run that it names, and what follows each `# file: PATH`."""
    pieces = FILE.split(case.read_bytes())
    if pieces[0]:
        found = NAMED.search(pieces[0])
        yield f"specs/{found.group(1).decode() if found else 'case'}.yaml", pieces[0]
    for name, data in zip(pieces[1::2], pieces[2::2], strict=True):
        yield name.decode(), data


def lay(case: Path, root: Path) -> Path:
    """The project of a case in the new folder `root`."""
    shutil.copytree(HERE / "base", root)
    (root / ".hsdc").mkdir()
    (root / ".hsdc/cache").touch()  # no folder, so that no time is lost with writing a cache that nobody reads
    if case.is_dir():
        shutil.copytree(case, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("expected"))
        return root
    for name, data in parts(case):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def outcome(root: Path) -> Outcome:
    """Compile a project; its messages are those that the command shows, with the exit code in the last line."""
    try:
        compilation = compile_project(root)
        diagnostics, code = compilation.diagnostics, compilation.exit
        manifests = _manifests(compilation)
    except HsdcError as error:
        diagnostics, code, manifests = error.diagnostics, error.exit, {}
    blocks = ["\n".join(render(diagnostic, io.StringIO())) + "\n" for diagnostic in diagnostics]
    return Outcome("".join(blocks) + f"exit {int(code)}\n", manifests)


def _manifests(compilation: Compilation) -> dict[str, bytes]:
    files = ((path, data) for run in compilation.runs for path, data in run.files.items())
    return {Path(path).name.removesuffix(".lock.json"): data for path, data in files if path.endswith(".lock.json")}


def of_case(case: Path) -> Outcome:
    """What the compiler makes of a case; of a valid one, only the manifests of its own runs."""
    with tempfile.TemporaryDirectory() as scratch:
        found = outcome(lay(case, Path(scratch, "project")))
    if not case.is_dir():
        return found
    own = {path.stem for path in (case / "specs").glob("*.yaml")}
    return Outcome(found.text, {run: data for run, data in found.manifests.items() if spec_of(run) in own})


def main() -> None:
    """Write every expectation; a diff then shows what changed."""
    for case in valid():
        found = of_case(case)
        if found.text != "exit 0\n":
            sys.exit(f"{case.name} is no valid case:\n{found.text}")
        shutil.rmtree(case / "expected", ignore_errors=True)
        (case / "expected").mkdir()
        for run, data in found.manifests.items():
            (case / "expected" / f"{run}.lock.json").write_bytes(data)
    for left in (HERE / "invalid").glob("*.txt"):
        left.unlink()
    for case in invalid():
        case.with_suffix(".txt").write_text(of_case(case).text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
