"""One bit flipped in whatever a project holds, again and again: every time, somebody must notice.

    make flips                                             1,000 of them
    .venv/bin/python tests/runtime/flips.py --flips 100    fewer; writes nothing

A small project (of `tiny_project.py`) with a finished run, and a copy of it whose run was stopped in training. A flip
is at a random position of a random file of each kind in turn; size and times of the file stay what they were. Then
those who read such a file are asked, and must refuse it; the bit is flipped back, and they must take it again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from tiny_project import build

from benchmarks.results import Requirement, Result, Table, show, write
from hsdc.__main__ import main
from hsdc_runtime.nn.checkpoint import load_checkpoint
from hsdc_runtime.run import run
from hsdc_runtime.store import Store
from hsdc_runtime.verify import verify_run, verify_store
from hsdc_runtime.work import Interrupted
from hsdc_schemas.digests import PREFIX
from hsdc_schemas.manifest import Manifest, load_sealed

ENOUGH = 1000
MANIFEST = "generated/demo/base.lock.json"
LONGEST = 20  # optimizer steps after which the copy's run is stopped, in its fourth epoch


@dataclass(frozen=True)
class Projects:
    """A project whose run is finished, and one whose run was stopped."""

    finished: Path
    stopped: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the stopped run's checkpoints."""
        (folder,) = (self.stopped / ".hsdc/store/checkpoints").glob("*")
        return folder


@dataclass(frozen=True)
class Kind:
    """A kind of what is stored: its files, who reads it, and what that one says if it refuses it, "" otherwise."""

    files: Callable[[Projects], list[Path]]
    reader: str
    refusal: Callable[[Projects, Path], str]


def _finding(projects: Projects, path: Path) -> str:
    """What `hsdc verify` says, of the run and of the store, that contradicts what is written."""
    root = projects.finished
    found = [*verify_run(root, "demo", "base"), *verify_store(root)]
    return "; ".join(f"{item.kind} {item.name}: {item.note}" for item in found if item.contradicts)


def _taken(projects: Projects, path: Path) -> str:
    """What the store says to the object, which is looked at and left where it is."""
    try:
        Store(projects.finished).look(f"{PREFIX}{path.parent.name}{path.name}")
    except Exception as error:
        return f"{error}; {_finding(projects, path)}"
    return ""


def _known(projects: Projects, path: Path) -> str:
    """Whether the store goes by what it noted of a stage."""
    action = Store(projects.finished).action(f"{PREFIX}{path.stem}")
    return "" if action is not None else _finding(projects, path)


def _resumed(projects: Projects, path: Path) -> str:
    """Whether training goes on from another checkpoint than from the one that the file is in."""
    folder = projects.checkpoints
    snapshot = load_checkpoint(folder)
    aside = path.parent.with_name(f"{path.parent.name}.damaged-1")
    if not aside.exists():
        return ""
    aside.rename(path.parent)
    return f"passed over for {'none' if snapshot is None else f'step {snapshot.step}'}"


def _checked(projects: Projects, path: Path) -> str:
    """What `hsdc compile --check` says."""
    with _inside(projects.finished) as said:
        return said.getvalue() if main(["compile", "--check"]) else ""


def _below(pattern: str) -> Callable[[Projects], list[Path]]:
    return lambda projects: sorted(path for path in projects.finished.glob(pattern) if path.is_file())


def _newest(projects: Projects) -> list[Path]:
    return sorted(sorted(projects.checkpoints.glob("step-*"))[-1].iterdir())


KINDS = {
    "stored object": Kind(_below(".hsdc/store/objects/*/*"), "the store, `hsdc verify`", _taken),
    "action": Kind(_below(".hsdc/store/actions/*.json"), "the store, `hsdc verify`", _known),
    "ledger": Kind(_below(".hsdc/ledger.[jh]*"), "`hsdc verify`", _finding),
    "record": Kind(_below("generated/demo/*.record.json"), "`hsdc verify`", _finding),
    "manifest": Kind(_below("generated/demo/*.lock.json"), "`hsdc verify`", _finding),
    "provenance": Kind(_below("generated/demo/*.provenance.json"), "`hsdc compile --check`", _checked),
    "checkpoint": Kind(_newest, "training that goes on", _resumed),
    "data": Kind(_below("data/*.csv"), "`hsdc verify`, `hsdc run`", _finding),
    "model": Kind(_below("model/*"), "`hsdc verify`, `hsdc run`", _finding),
}


def lay(folder: Path) -> Projects:
    """The projects, made anew."""
    made = folder / "made"
    made.mkdir()
    build(made)
    with _inside(made) as said:
        if main(["compile"]):
            raise SystemExit(said.getvalue())
    stopped = Path(shutil.copytree(made, folder / "stopped"))
    stop_in_training(stopped)
    with _inside(made) as said:
        if main(["run", "base"]):
            raise SystemExit(said.getvalue())
    return Projects(made, stopped)


def stop_in_training(root: Path) -> None:
    """Run `base` until it is stopped between two steps."""
    manifest = load_sealed(root / MANIFEST, MANIFEST, Manifest)
    asked = iter(range(1 << 20))
    try:
        run(root, manifest, observe=lambda event: None, stop=lambda: next(asked) >= LONGEST)
    except Interrupted:
        return
    raise SystemExit("the run was not stopped")


@contextmanager
def _inside(root: Path) -> Iterator[StringIO]:
    before, said = Path.cwd(), StringIO()
    os.chdir(root)
    try:
        with redirect_stdout(said), redirect_stderr(said):
            yield said
    finally:
        os.chdir(before)


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """A file with one bit flipped, as old and as large as before; as it was afterwards."""
    stat, data = path.stat(), path.read_bytes()
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        _write(path, bytes(damaged), stat)
        yield
    finally:
        _write(path, data, stat)


def _write(path: Path, data: bytes, stat: os.stat_result) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(stat.st_mode & 0o777)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@dataclass(frozen=True)
class Flip:
    """One flip: of what kind, in which file, which bit, and what was said to it, "" where nobody noticed."""

    kind: str
    path: str
    bit: int
    said: str


def flips(projects: Projects, count: int, seed: int) -> Iterator[Flip]:
    """Flip bits, each kind in turn; raises AssertionError where what was put back is refused."""
    source = random.Random(seed)
    files = {name: kind.files(projects) for name, kind in KINDS.items()}
    for name, kind in KINDS.items():
        assert files[name], name
        assert not kind.refusal(projects, files[name][0]), f"{name}: refused as it is"
    for number in range(count):
        name = tuple(KINDS)[number % len(KINDS)]
        path = source.choice(files[name])
        bit = source.randrange(8 * path.stat().st_size)
        with flipped(path, bit):
            said = KINDS[name].refusal(projects, path)
        yield Flip(name, path.name, bit, said)
    for name, kind in KINDS.items():
        assert not kind.refusal(projects, files[name][0]), f"{name}: refused though it was put back"


def result(projects: Projects, done: list[Flip], seed: int, seconds: float) -> Result:
    """What was flipped and noticed, as tables."""
    files = {name: kind.files(projects) for name, kind in KINDS.items()}
    made, noticed = Counter(flip.kind for flip in done), Counter(flip.kind for flip in done if flip.said)
    rows = [
        (
            name,
            str(len(files[name])),
            f"{sum(path.stat().st_size for path in files[name]):,}",
            str(made[name]),
            str(noticed[name]),
            KINDS[name].reader,
        )
        for name in KINDS
    ]
    missed = [f"{flip.kind} {flip.path}, bit {flip.bit}" for flip in done if not flip.said]
    return Result(
        "flips",
        f"python tests/runtime/flips.py --flips {len(done)} --seed {seed}",
        "One bit flipped in what a project holds, and whether it is noticed",
        (Table("Flips", ("kind", "files", "bytes", "flips", "noticed", "by"), tuple(rows), (0, 5)),),
        (
            Requirement(f"at least {ENOUGH:,} flips", f"{len(done):,}", len(done) >= ENOUGH),
            Requirement("every flip is noticed", f"{noticed.total():,} of {len(done):,}", not missed),
        ),
        {"missed": missed, "seconds": round(seconds, 1)},
        (
            "Positions are random; a file is as large and as old as before. What was put back is taken again.",
            *(f"Missed: {flip}." for flip in missed[:20]),
        ),
    )


def flip_all(count: int, seed: int) -> int:
    """The whole of it; the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        projects = lay(Path(folder))
        began = time.process_time()
        done = list(flips(projects, count, seed))
        found = result(projects, done, seed, time.process_time() - began)
    print("\n".join([*show(found), *found.notes]))
    if count >= ENOUGH:
        write(found)
    return int(not found.required[1].met)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=ENOUGH)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.exit(flip_all(options.flips, options.seed))
