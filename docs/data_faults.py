"""Writes the last part of data.md: what goes wrong with files of rows, made to go wrong, and what hsdc prints then.

Each fault is planted in a copy of the packaged sample and its spec. `python -m docs.data_faults` writes the part anew;
a test compares it with what is printed now.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/data.md"
BEGINS = "## What goes wrong, and what hsdc says\n"
COPIED = ("data/sample_teacher/records.jsonl", "specs/po_distillation_data.yaml", "specs/profiles/demo.yaml")
COPIED += tuple(
    f"specs/corpora/{name}.yaml" for name in ("hate_posts", "sample_hate", "teacher_reviews", "sample_teacher")
)
COPIED += ("specs/models/minilm.yaml", "specs/models/smollm2.yaml", "specs/datasets/sample_hate.yaml")
COPIED += ("specs/datasets/sample_adjudications.yaml", "specs/hate_chat_data.yaml", "locks/runtime.txt")
COPIED += tuple(
    f"specs/prompts/{name}.yaml" for name in ("moderation_simple", "combined_optimized", "baseline_standard")
)
COPIED += tuple(f"data/sample_hate/{split}.json" for split in ("train", "validation", "test"))
TEACHER, CHAT = "po_distillation_data", "hate_chat_data"
TRAIN = "data/sample_hate/train.json"
RECORDS, SPEC, POSTS = "data/sample_teacher/records.jsonl", f"specs/{TEACHER}.yaml", f"specs/{CHAT}.yaml"
CORPUS, SAMPLE = "specs/corpora/teacher_reviews.yaml", "specs/corpora/sample_teacher.yaml"
SHOWN = 4
PROFILE = """\
hsdc: 1
profile: demo
bind: {corpus: {hate_posts: sample_hate, teacher_reviews: sample_teacher}}
execution: {device: cpu, threads: 1}
"""

Change = tuple[str, Callable[[str], str]]


@dataclass(frozen=True)
class Fault:
    """What went wrong somewhere, how it is planted, and which run meets it."""

    told: str
    changes: tuple[Change, ...]
    run: str = TEACHER


def _replace(path: str, old: str, new: str) -> Change:
    def change(text: str) -> str:
        if old not in text:
            raise ValueError(f"{path} holds no {old!r}")
        return text.replace(old, new, 1)

    return path, change


def _line(number: int, old: str, new: str) -> Change:
    """A change of one record."""

    def change(text: str) -> str:
        lines = text.splitlines(keepends=True)
        if old not in lines[number - 1]:
            raise ValueError(f"line {number} holds no {old!r}")
        lines[number - 1] = lines[number - 1].replace(old, new, 1)
        return "".join(lines)

    return RECORDS, change


def _score(written: str) -> Change:
    """Another score in the fourth record."""

    def change(text: str) -> str:
        lines = text.splitlines(keepends=True)
        lines[3] = re.sub(r'"score": [0-9.]+', f'"score": {written}', lines[3])
        return "".join(lines)

    return RECORDS, change


def _with_a_post_of_the_test(text: str) -> str:
    rows = json.loads(text)
    rows[6]["text"] = json.loads((ROOT / "data/sample_hate/test.json").read_text("utf-8"))[0]["text"].upper()
    return json.dumps(rows, ensure_ascii=False, indent=0)


ONE_SHAPE = _replace(CORPUS, "shapes: [teacher, by_hand]", "shapes: [teacher]")
ALLOWED = _replace(SAMPLE, "\n  sources:", "\n  rejects: {E613: 10}\n  sources:")
RAISED = _replace(POSTS, "leakage: {exact: drop, similar: drop}\n", "")
OTHER_NAMES = _replace(POSTS, "names: {train: train", "names: {training: train")
MISSPELT = _replace(POSTS, "moderation_simple, combined_optimized", "moderation_simple, combined_optimised")
FAULTS = (
    Fault("Ten records have another form, and a script skips them in silence", (ONE_SHAPE,)),
    Fault("They may be rejected, and a whole class of the data set is lost", (ONE_SHAPE, ALLOWED)),
    Fault("A block of YAML is missing in one of them", (_line(375, "```yaml VISION", "VISION"),)),
    Fault("Records are appended by hand, and one stands twice", ((RECORDS, lambda text: text + text.split("\n")[7]),)),
    Fault("A score is written as a text", (_score('"high"'),)),
    Fault("A score is larger than scores are", (_score("1.5"),)),
    Fault("A score is NaN", (_score("NaN"),)),
    Fault("A key is misspelt", (_line(9, '"concept"', '"concpt"'),)),
    Fault("A part of the file is in another encoding", ((RECORDS, lambda text: text.replace("Bus", "B\udcfcs", 1)),)),
    Fault("The threshold changes, and with it the data set", (_replace(SPEC, "minimum: 0.82}", "minimum: 0.9}"),)),
    Fault("No row of a file is of its own split, and all of the file is used", (OTHER_NAMES,), CHAT),
    Fault("The prompt's name is misspelt, and another format is written", (MISSPELT,), CHAT),
    Fault("A post of the test file stands in the training file", (RAISED, (TRAIN, _with_a_post_of_the_test)), CHAT),
)


def part() -> str:
    """The part of the page, with everything that is printed had anew."""
    lines = [BEGINS]
    for fault in FAULTS:
        code, said = _provoked(fault)
        lines += [f"{fault.told} (exit {code}):\n", *(f"    {line}" for line in said), ""]
    return "\n".join(lines).rstrip() + "\n"


def _provoked(fault: Fault) -> tuple[int, list[str]]:
    with tempfile.TemporaryDirectory() as name, _inside(Path(name)) as root:
        for path in COPIED:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, root / path)
        (root / "specs/profiles/demo.yaml").write_text(PROFILE)
        other = CHAT if fault.run == TEACHER else TEACHER
        (root / f"specs/{other}.yaml").unlink()
        for path, change in fault.changes:
            text = change((root / path).read_text("utf-8"))
            (root / path).write_bytes(text.encode("utf-8", "surrogateescape"))
        code, said = _called("compile")
        if code == 0:
            code, said = _called("run", fault.run)
    told = list(_told(said))
    more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return code, [line for one in [*told[:SHOWN], *more] for line in wrap(one, 114, subsequent_indent="  ")]


def _told(said: str) -> Iterator[str]:
    """Every message, and the line that it is about."""
    lines = said.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("error["):
            where = lines[number + 1].partition("-->")[2].strip() if number + 1 < len(lines) else ""
            yield line + (f" --> {where}" if where else "")


def _called(*arguments: str) -> tuple[int, str]:
    from hsdc.__main__ import main

    out, said = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(said):
        code = main([*arguments])
    return code, said.getvalue()


@contextmanager
def _inside(folder: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)


if __name__ == "__main__":
    kept = PAGE.read_text("utf-8").partition(BEGINS)[0]
    PAGE.write_text(kept + part(), "utf-8")
