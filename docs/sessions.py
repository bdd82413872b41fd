"""Writes commands.md: a terminal session for each command, had in a small project of its own.

The project has some of this project's runs, its sample rows, and a model of four layers with made-up weights, so that
everything takes seconds. `python -m docs.sessions` writes the page anew; a test compares it with what is printed now.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from docs.toy import ROOT, lay

PAGE = ROOT / "docs/commands.md"
PROGRESS = re.compile(r"^ +[a-z_]+ +\d+/\d+ .*\n", re.MULTILINE)  # whether a stage lasts long enough to show any
START = """\
# Commands, by example

Sessions from a small project: some runs of `specs/`, its sample rows, and a toy of a model, so the scores mean nothing.
`python -m docs.sessions` had these sessions and wrote this page; times are cut, and … stands for lines left out.
`hsdc COMMAND --help` has all options and more examples; `hsdc --install-completion` teaches them to bash, zsh or fish.
"""


@dataclass(frozen=True)
class Step:
    """A call, how many lines of its answer are shown, and the exit code that it has to have."""

    call: str
    lines: int = 40
    code: int = 0


@dataclass(frozen=True)
class Session:
    """The sessions of one command, with a sentence before."""

    command: str
    text: str
    steps: tuple[Step, ...]
    heavy: bool = False  # needs the runtime, and prints what differs from one processor to the next


LIGHT = (
    Session(
        "init",
        "A small project to begin with, in a folder of its own; the sessions below are from another one.",
        (Step("hsdc init trial"),),
    ),
    Session(
        "ls",
        "Where the campaign stands: what extends what, how many factors a run changes of those it may, its score and "
        "state. Nothing is locked yet.",
        (Step("hsdc ls"),),
    ),
    Session(
        "compile",
        "Specs to locked manifests. `--check` is the question that CI asks.",
        (
            Step("hsdc compile"),
            Step("hsdc compile --check"),
            Step("git init -q && git add -A && git commit -qm 'Lock the runs'"),
        ),
    ),
    Session(
        "new",
        "A run from another. The compiler counts what differs, and that is the budget.",
        (
            Step("hsdc new run9 --from run4 --set training.learning_rate=2e-5 --why 'Slower may be steadier.'"),
            Step("cat specs/run9.yaml"),
            Step("hsdc new run10 --from run4 --set training.learnig_rate=2e-5 --why 'A typing mistake.'", code=2),
        ),
    ),
    Session(
        "set",
        "Values in a spec; comments and layout stay. A change over the budget is refused until the budget says so.",
        (
            Step("hsdc set run9 training.epochs=8", code=3),
            Step("hsdc set run9 training.epochs=8 budget=2"),
        ),
    ),
    Session(
        "fmt",
        "One layout for all specs; meaning and comments stay.",
        (Step("hsdc fmt --check"),),
    ),
    Session(
        "show",
        "A run as it is resolved, each line with the file and line that set it.",
        (Step("hsdc show run9", lines=16),),
    ),
    Session(
        "explain",
        "Why a value is what it is, the winner last; and what a code means.",
        (
            Step("hsdc explain run9 training.learning_rate"),
            Step("hsdc explain run9 heads.sentiment", lines=8),
            Step("hsdc explain E801"),
        ),
    ),
    Session(
        "diff",
        "What a change of the specs does, before anybody runs anything: here against the last commit, which does not "
        "have run 9, and has another decay in run 6.",
        (
            Step("hsdc set run6_gradient_flow training.layer_decay=0.95"),
            Step("hsdc diff"),
            Step("hsdc diff --markdown", lines=14),
        ),
    ),
    Session(
        "schema",
        "JSON Schemas for editors and other programs.",
        (Step("hsdc schema"), Step("hsdc schema --check")),
    ),
)
HEAVY = (
    Session(
        "run",
        "Locked manifests to records. Stages that are done already are reused; `run8_restore_r4` makes a claim, so it "
        "trains anew and compares every digest.",
        (
            Step("hsdc compile", lines=0),
            Step("hsdc run run4", lines=60),
            Step("hsdc run run4", lines=8),
            Step("hsdc run run8_restore_r4", lines=60),
            Step("hsdc ls"),
        ),
        heavy=True,
    ),
    Session(
        "compare",
        "Runs, or variants of one run's decisions, against the first one named: differences over the same rows, with "
        "intervals, p over all that is compared, and the difference that so many rows could have shown.",
        (
            Step("hsdc compare run4 run4:calibrated --metric f1_macro", code=2),
            Step("hsdc compare run4 run4:calibrated --metric sentiment.f1_macro --metric 'sentiment.fpr[negative]'"),
            Step("hsdc compare run4 run6_gradient_flow --markdown", lines=20),
        ),
        heavy=True,
    ),
    Session(
        "verify",
        "Whether results still hold: what exists is hashed again, and with `--rerun` made again beside the store.",
        (Step("hsdc verify run4 --rerun", lines=60), Step("hsdc verify --store")),
        heavy=True,
    ),
    Session(
        "sign",
        "Who vouches for a result: signatures over manifest and record, which `hsdc verify --signed` asks for.",
        (
            Step("hsdc sign --new-key own.pem"),
            Step("hsdc sign run4 --key own.pem"),
            Step("hsdc verify --signed --trust own.pem.pub", code=1),
        ),
        heavy=True,
    ),
    Session(
        "export",
        "The adapter of a finished run, or the rows of a data run, for other software; other runs have neither.",
        (Step("hsdc export run4 --to adapter", code=2),),
    ),
    Session(
        "gc",
        "What of the store no manifest and no record needs any more.",
        (Step("hsdc gc"),),
        heavy=True,
    ),
)
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "somebody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    **{f"GIT_{who}_DATE": "2025-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
}
TIMES = (
    (re.compile(r"\bin \d+\.\d s\b"), "in … s"),
    (re.compile(r"\(\d+\.\d s saved\)"), "(… s saved)"),
    (re.compile(r"[\d,]+ tokens/s"), "… tokens/s"),
    (re.compile(r"\([0-9a-f]{12}, (?=written|stands)"), "(…, "),  # the digest of a record, which holds times
    (re.compile(r"(?<=record\.json  )[0-9a-f]{12}"), "…"),
    (re.compile(r"(?<=private key |signed with )[0-9a-f]{12}|(?<=signed by )[0-9a-f]{12}"), "…"),
)
OF_THE_MACHINE = (  # what differs from one processor, or from one moment, to the next
    (re.compile(r"^  undefined: .*\n", re.MULTILINE), ""),
    (re.compile(r"^ *(- )?(detectable|selected).*\n", re.MULTILINE), ""),
    (re.compile(r"[<+-]?\d\.\d{2,4}\b|(?<= )–(?= |$)"), "0.0000"),
    (re.compile(r"\b(0\.0000 to 0\.0000)\b"), "0.0000"),
    (re.compile(r"\b(better|worse|no clear difference)\b"), "verdict"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "000000000000"),
    (re.compile(r" {2,}"), "  "),
    (re.compile(r"best epoch \d"), "best epoch 0"),
)


def page(sessions: Iterable[Session]) -> str:
    """The page, had anew in a project of its own."""
    with tempfile.TemporaryDirectory() as scratch, _inside(Path(scratch, "project")):
        return "\n".join([START, *(section(session) for session in sessions)])


def section(session: Session) -> str:
    """A command's part of the page; raises ValueError where a step ends otherwise than it has to."""
    shown = [line for step in session.steps for line in play(step)]
    return "\n".join(
        [f"## hsdc {session.command}", "", *textwrap.wrap(session.text, 116), "", "```console", *shown, "```", ""]
    )


def steady(text: str) -> str:
    """A part of the page without what no two machines agree on."""
    for pattern, neutral in OF_THE_MACHINE:
        text = pattern.sub(neutral, text)
    return text


def play(step: Step) -> Iterator[str]:
    """The lines of a step: the call, what it printed, its exit code; raises ValueError where that is another one."""
    code, answer = _answer(step.call)
    if code != step.code:
        raise ValueError(f"{step.call}: exit {code}, not {step.code}\n{answer}")
    for pattern, cut in TIMES:
        answer = pattern.sub(cut, answer)
    answer = PROGRESS.sub("", answer)
    lines = answer.rstrip().splitlines()
    yield f"$ {step.call}"
    yield from lines[: step.lines]
    if len(lines) > step.lines:
        yield "…"
    if code:
        yield f"[exit code {code}]"


def _answer(call: str) -> tuple[int, str]:
    """What a call prints, on both streams in their order, and its exit code."""
    program, *arguments = shlex.split(call)
    if program != "hsdc" or ">" in arguments:
        done = subprocess.run(
            ["sh", "-c", call], capture_output=True, text=True, env={**os.environ, **GIT}, check=False
        )
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode  # as a shell says who was killed
        return code, done.stdout + done.stderr
    from hsdc.__main__ import main

    stream = io.StringIO()
    with redirect_stdout(stream), redirect_stderr(stream):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, stream.getvalue()


@contextmanager
def _inside(root: Path) -> Iterator[None]:
    """The project laid, as the working folder."""
    before, width = Path.cwd(), os.environ.get("COLUMNS")
    root.mkdir()
    lay(root)
    os.chdir(root)
    os.environ["COLUMNS"] = "100"
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.pop("COLUMNS") if width is None else os.environ.update(COLUMNS=width)


def main() -> None:
    """Write the page."""
    text = page((*LIGHT, *HEAVY))
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"written: {PAGE.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
