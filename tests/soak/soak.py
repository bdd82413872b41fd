"""A soak run: processes are killed again and again, and what they leave must be whole, or absent and made anew.

    make soak                                              300 kills, and the guards taken away; a few minutes
    .venv/bin/python tests/soak/soak.py --kills 3000       more of it
    .venv/bin/python tests/soak/soak.py --control          only with guards taken away, one after the other: must fail

A small project (of `tests/runtime/tiny_project.py`) is compiled and run once without interruption. Then, in rounds:

- `hsdc compile` with nothing generated, killed one to four times, then let through;
- `hsdc run` with an empty store, killed and begun again until it finishes;
- `hsdc run` of a longer training, killed again and again in it, a random time after it began or went on;
- eight writers that append 50 entries each to one ledger, of which one after the other is killed and begun again.

SIGKILL comes at a random moment, or just before a random operation that changes a file: in half of a write, or with a
part of the ledger's last line lost. Every command runs in a forked process, one thread each. After each kill, what has
a name is whole, no lock is held by the dead, and `hsdc verify --store` finds no damage. After each round, manifests,
outputs, scores and facts are bit by bit those of the uninterrupted project, nothing has to be made again, and the
ledger's chain holds everything that a writer was promised, once. The exit code is 1 where anything was not so, and
with `--control` where it was noticed that a guard is gone: 0 there would mean that this run is blind.

`--seed` chooses the operations and moments; moments in time fall a little differently each time. Not a test of CI.
With 300 kills or more it writes `benchmarks/results/soak.json` and `soak.md`.
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
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runtime"))
os.environ["OMP_NUM_THREADS"] = "1"

import torch
import whole
from guards import GUARDS
from killed import AIMED, PATIENCE, PHASES, Ending, Moment, Noted, ended, start
from tiny_project import build, spec
from told import result

from benchmarks.results import show, write
from hsdc.__main__ import main
from hsdc_runtime.ledger import Ledger

WRITERS, APPENDS = 8, 50
MOST_KILLS = 12  # of one run; then it is let through
SHARES = {"compile": 0.2, "run": 0.4, "training": 0.2, "ledger": 0.2}
LONG, EPOCHS = "long", 30  # a training that is killed again and again, mostly in an epoch of its own
ENOUGH = 300  # kills of a run whose result is worth keeping
CONTROL = 150  # kills within which a guard that is gone must be noticed


class Soak:
    """Rounds of one kind after the other, in copies of one project; counts what it did, and keeps what it found."""

    def __init__(self, folder: Path, seed: int, guard: Callable[[], None] | None = None) -> None:
        self.folder, self.source, self.guard = folder, folder / "source", guard
        self.moments = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.aimed: Counter[str] = Counter()
        self.of_kind: Counter[str] = Counter()
        self.rounds: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.temporary, self.untold, self.compared = 0, 0, 0
        self.faults: list[str] = []

    def lay(self) -> None:
        """The project, compiled and run once without interruption: what every round is held against."""
        for stage in ("prepare", "train", "score"):
            import_module(f"hsdc_runtime.stages.{stage}")  # once, so that no child has to
        guard, self.guard = self.guard, None
        self.source.mkdir()
        # Not in this process: what writes the model begins a thread, and a process with threads is not to be forked.
        ended(start(lambda: _build(self.source), Moment(), Noted(), self.folder / "output", None), Noted())
        finished = self._copy("finished")
        commands = ("compile", "run base", f"run {LONG}")
        self.whole = {name: self._through(finished, *name.split()) for name in commands}
        self.expected, self.long = whole.expected(finished), whole.expected(finished, LONG)
        self._through(finished, "verify", "--store")
        compiled = self._copy("compiled")
        self._through(compiled, "compile")
        self.guard = guard
        if self.faults:
            raise SystemExit(f"without any kill: {self.faults}")

    def until(self, kind: str, kills: int, *, first_fault: bool = False) -> None:
        """Rounds of a kind until so many kills were made in it."""
        began = time.monotonic()
        while self.of_kind[kind] < kills and not (first_fault and self.faults):
            root = self._copy(f"{kind}-{self.rounds[kind]}", "compiled" if kind in ("run", "training") else "source")
            if kind in ("run", "training"):
                shutil.rmtree(root / ".hsdc")
            if kind == "training":
                self._training(root, kills - self.of_kind[kind])
            else:
                {"compile": self._compile, "run": self._run, "ledger": self._ledger}[kind](root)
            self.temporary += len(whole.temporary(root))
            shutil.rmtree(root)
            self.rounds[kind] += 1
        self.seconds[kind] += time.monotonic() - began

    def _compile(self, root: Path) -> None:
        for _ in range(self.moments.randint(1, 4)):
            self._killed(root, "compile", "compile")
        self._through(root, "compile")
        self._found("compile", () if whole.manifests(root) == self.expected.manifests else ("other manifests",))
        self._through(root, "compile", "--check")

    def _run(self, root: Path) -> None:
        for _ in range(MOST_KILLS):
            if self._killed(root, "run", "run base").killed is None:
                break
        self._through(root, "run", "base")
        self._through(root, "run", "base", "--frozen")
        self.compared += 1
        self._found("run", self._read(lambda: whole.once_finished(root, self.expected)))
        if '"remade":[]' not in (root / whole.LEDGER).read_text().splitlines()[-1]:
            self._found("run", ["a finished run was made again"])
        self._through(root, "verify", "base")
        self.untold += '"run finished"' not in (root / whole.LEDGER).read_text()

    def _training(self, root: Path, kills: int) -> None:
        """One training, killed so many times unless it is over before: in the epoch it goes on with or the next."""
        command = ["run", LONG]
        seconds = self.whole[f"run {LONG}"].seconds * 1.4 / EPOCHS
        for _ in range(kills):
            moment = Moment(seconds=self.moments.uniform(0, seconds), phase="stage train")
            ending = self._command(root, command, moment)
            if ending.killed is None:
                break
            self._count("training", ending, moment)
            self._found("training", self._read(lambda: whole.at_any_time(root, self.expected)))
        self._through(root, *command)
        self.compared += 1
        self._found("training", self._read(lambda: whole.once_finished(root, self.long, LONG)))
        self._through(root, "verify", LONG)

    def _killed(self, root: Path, kind: str, command: str) -> Ending:
        """A command that is killed, unless it is over before; then what it left is looked at."""
        before = self.whole[command]
        kinds = [Moment(seconds=self.moments.uniform(0, before.seconds * 0.9))]
        kinds.append(Moment(operation=self.moments.randint(1, before.operations)))
        if kind == "run":
            kinds.append(Moment(operation=self.moments.randint(1, 4), phase=self.moments.choice(AIMED)))
        moment = self.moments.choice(kinds)
        ending = self._command(root, command.split(), moment)
        if ending.killed is not None:
            self._count(kind, ending, moment)
            faults = self._read(lambda: whole.at_any_time(root, self.expected))
            self._found(f"{kind}, killed in '{ending.killed}'", faults)
            self._through(root, "verify", "--store")
        elif ending.code != 0:
            self._found(kind, [f"hsdc {command} left with {ending.code}: {self._said()}"])
        return ending

    def _ledger(self, root: Path) -> None:
        (root / ".hsdc").mkdir()
        notes = [Noted() for _ in range(WRITERS)]
        alive = {who: self._writer(root, who, notes[who]) for who in range(WRITERS)}
        began = time.monotonic()
        while alive and time.monotonic() - began < PATIENCE:
            time.sleep(self.moments.uniform(0, 0.02))
            aim = self.moments.choice(sorted(alive))
            for who, (pid, moment) in list(alive.items()):
                if who == aim and moment == Moment():
                    ending = ended(pid, notes[who], Moment(seconds=0), time.monotonic())
                elif os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    ending = ended(pid, notes[who], began=time.monotonic())
                else:
                    continue
                del alive[who]
                if ending.killed is not None:
                    self._count("ledger", ending, moment)
                    alive[who] = self._writer(root, who, notes[who])
                elif ending.code != 0:
                    self._found("ledger", [f"a writer left with {ending.code}: {self._said(f'-{who}')}"])
        for who, (pid, _) in alive.items():
            ended(pid, notes[who], Moment(seconds=0))
            self._found("ledger", [f"writer {who} did not end"])
        self._found("ledger", self._read(lambda: self._appended(root)))

    def _writer(self, root: Path, who: int, noted: Noted) -> tuple[int, Moment]:
        moments = [Moment(operation=self.moments.randint(1, 60)), Moment(), Moment(seconds=PATIENCE)]
        moment = self.moments.choices(moments, (6, 3, 1))[0]  # before an operation, by the parent, let through
        noted[0], noted[1] = PHASES.index("8 writers"), 0
        pid = start(lambda: _append(root, who, noted), moment, noted, self.folder / f"output-{who}", self.guard)
        return pid, moment

    def _appended(self, root: Path) -> list[str]:
        """After one more append: the chain, and every writer's entries, once and in order."""
        Ledger(root).append("soak", writer=-1, number=0)
        faults = list(whole.chain(root))
        written: dict[int, list[int]] = {who: [] for who in range(-1, WRITERS)}
        for entry in Ledger(root).entries():
            written[entry["writer"]].append(entry["number"])
        wrong = [who for who in range(WRITERS) if written[who] != list(range(APPENDS))]
        return [*faults, *(f"entries of writer {who}: {written[who]}" for who in wrong), *whole.held(root)]

    def _count(self, kind: str, ending: Ending, moment: Moment) -> None:
        assert ending.killed is not None
        self.kills[ending.killed] += 1
        self.of_kind[kind] += 1
        self.aimed[ending.killed] += moment.operation is not None

    def _command(self, root: Path, arguments: Sequence[str], moment: Moment) -> Ending:
        noted, began = Noted(), time.monotonic()
        guard = None if arguments[0] == "verify" else self.guard
        pid = start(lambda: _main(root, arguments), moment, noted, self.folder / "output", guard)
        return ended(pid, noted, moment, began)

    def _through(self, root: Path, *arguments: str) -> Ending:
        """A command that nobody kills, and that must say yes."""
        ending = self._command(root, arguments, Moment())
        if ending.code != 0:
            self._found("let through", [f"hsdc {' '.join(arguments)} left with {ending.code}: {self._said()}"])
        return ending

    def _read(self, look: Callable[[], object]) -> list[str]:
        try:
            return list(look())  # type: ignore[call-overload, no-any-return]
        except Exception as error:
            return [f"what is there cannot be read: {type(error).__name__}: {error}"]

    def _said(self, which: str = "") -> str:
        return (
            (self.folder / f"output{which}")
            .read_text()
            .strip()
            .rpartition("\n")[2]
            .partition("; please report")[0][:300]
        )

    def _found(self, where: str, faults: Sequence[str]) -> None:
        self.faults += [f"{where}: {fault}" for fault in faults]

    def _copy(self, name: str, source: str = "source") -> Path:
        return Path(shutil.copytree(self.folder / source, self.folder / name))


def _build(root: Path) -> int:
    build(root)
    spec(root, LONG, f"budget: 2\nchange: {{training: {{epochs: {EPOCHS}, early_stopping: {{patience: {EPOCHS}}}}}}}\n")
    return 0


def _main(root: Path, arguments: Sequence[str]) -> int:
    os.chdir(root)
    tempfile.tempdir = str(root.parent)  # where the traceback of a fault goes
    return main(list(arguments))


def _append(root: Path, who: int, noted: Noted) -> int:
    """Append until the ledger has 50 entries of this writer; 3 if it lacks one that was promised, or has one too many.

    `append` that returned is a promise, noted in memory that outlives the writer.
    """
    os.chdir(root)
    ledger = Ledger(root)
    there = sum(entry["writer"] == who for entry in ledger.entries())
    if there not in (noted[2], noted[2] + 1):
        print(f"{there} entries are there, {noted[2]} were promised")
        return 3
    noted[2] = there
    for number in range(there, APPENDS):
        ledger.append("soak", writer=who, number=number)
        noted[2] = number + 1
    return 0


def control(seed: int, only: str | None = None) -> list[tuple[str, int, str]]:
    """For each guard that is taken away: its name, how many kills it took, and what was noticed, "" if nothing."""
    found = []
    for name, (kind, guard) in GUARDS.items():
        if only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                soak = Soak(Path(folder), seed, guard)
                soak.lay()
                soak.until(kind, CONTROL, first_fault=True)
                noticed = soak.faults[0].replace(folder, "…").splitlines()[0] if soak.faults else ""
                found.append((name, soak.of_kind[kind], noticed))
                print(f"without {name}: {soak.of_kind[kind]} kills; noticed: {noticed or 'NOTHING'}", flush=True)
    return found


def run(kills: int, seed: int) -> int:
    """The whole of it; the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), seed)
        soak.lay()
        for kind, share in SHARES.items():
            soak.until(kind, -int(-kills * share // 1))
            print(f"{kind}: {soak.of_kind[kind]} kills, {len(soak.faults)} faults so far", flush=True)
        soak.faults = [fault.replace(folder, "…") for fault in soak.faults]
    found = result(soak, kills, seed, control(seed))
    print("\n".join([*show(found), *soak.faults]))
    if kills >= ENOUGH:
        write(found)
    return int(not all(item.met for item in found.required))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=ENOUGH)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", nargs="?", const="all", choices=("all", *GUARDS), help="take guards away")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.control:
        only = None if options.control == "all" else options.control
        sys.exit(int(all(noticed for *_, noticed in control(options.seed, only))))
    sys.exit(run(options.kills, options.seed))
