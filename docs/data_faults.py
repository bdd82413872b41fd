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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
TEACHER, CHAT, SHARED = "po_distillation_data", "hate_chat_data", "po_distillation_splits"
COPIED += (f"specs/{SHARED}.yaml",)
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


def replaced(path: str, old: str, new: str) -> Change:
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


def _of_the_test(text: str) -> str:
    """A record written by hand about what a record asks that is drawn into the test."""
    lines = text.splitlines(keepends=True)
    record = json.loads(lines[375])
    asked = json.loads(lines[2])["concept"]
    record["prompt"] = re.sub("Concept: .*", f"Concept: {asked}", record["prompt"], count=1)
    return "".join([*lines[:375], json.dumps(record) + "\n", *lines[376:]])


ONE_SHAPE = replaced(CORPUS, "shapes: [teacher, by_hand]", "shapes: [teacher]")
ALLOWED = replaced(SAMPLE, "\n  sources:", "\n  rejects: {E613: 10}\n  sources:")
RAISED = replaced(POSTS, "leakage: {exact: drop, similar: drop}\n", "")
OTHER_NAMES = replaced(POSTS, "names: {train: train", "names: {training: train")
MISSPELT = replaced(POSTS, "moderation_simple, combined_optimized", "moderation_simple, combined_optimised")
OLDER_COUNT = replaced("specs/corpora/sample_hate.yaml", "{minimum: 545, maximum: 545}", "{minimum: 55, maximum: 55}")
OTHER_LABEL, NO_LABEL = (
    replaced(TRAIN, '"label": "hate"', '"label": "hate_speech"'),
    replaced(TRAIN, '"label": "hate", ', ""),
)
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
    Fault("The threshold changes, and with it the data set", (replaced(SPEC, "minimum: 0.82}", "minimum: 0.9}"),)),
    Fault("No row of a file is of its own split, and all of the file is used", (OTHER_NAMES,), CHAT),
    Fault("The prompt's name is misspelt, and another format is written", (MISSPELT,), CHAT),
    Fault("A post of the test file stands in the training file", (RAISED, (TRAIN, _with_a_post_of_the_test)), CHAT),
    Fault("A record is written by hand from a case that the student is tested on", ((RECORDS, _of_the_test),), SHARED),
    Fault("Two pages tell two numbers of rows, and the older one is believed", (OLDER_COUNT,), CHAT),
    Fault("A label is written as another script writes it", (OTHER_LABEL,), CHAT),
    Fault("A row has no label, and counts as the other one", (NO_LABEL,), CHAT),
)


def part() -> str:
    """The part of the page, with everything that is printed had anew."""
    return told(BEGINS, [(fault.told, *_provoked(fault)) for fault in FAULTS])


def told(begins: str, had: Sequence[tuple[str, int, str]]) -> str:
    """What goes wrong, with its exit code and what was said: first a table of them all, then each message whole."""
    found = [(fault, code, list(_messages(said))) for fault, code, said in had]
    rows = [f"| {fault} | {code} | {', '.join(_codes(messages))} |" for fault, code, messages in found]
    lines = [begins, "| what goes wrong | exit | code |", "| --- | ---: | --- |", *rows, ""]
    for fault, code, messages in found:
        more = [f"and {len(messages) - SHOWN} more"] if len(messages) > SHOWN else []
        wrapped = [line for one in [*messages[:SHOWN], *more] for line in wrap(one, 114, subsequent_indent="  ")]
        lines += [f"{fault} (exit {code}):\n", *(f"    {line}" for line in wrapped), ""]
    return "\n".join(lines).rstrip() + "\n"


def _codes(messages: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(message.partition("[")[2].partition("]")[0] for message in messages))


def _provoked(fault: Fault) -> tuple[int, str]:
    specs = {TEACHER: (TEACHER,), SHARED: (TEACHER, SHARED), CHAT: (CHAT,)}[fault.run]
    copied = [path for path in COPIED if path.rpartition("/")[2][:-5] not in {TEACHER, SHARED, CHAT} - {*specs}]
    return provoked(copied, {"specs/profiles/demo.yaml": PROFILE}, fault.changes, ("run", fault.run))


def provoked(
    copied: Sequence[str], written: Mapping[str, str], changes: Sequence[Change], call: Sequence[str]
) -> tuple[int, str]:
    """A project of copied and written files with a fault in it: the exit code of compiling it, or else of a call."""
    with tempfile.TemporaryDirectory() as name, _inside(Path(name)) as root:
        for path in copied:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, root / path)
        for path, text in written.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        for path, change in changes:
            text = change((root / path).read_text("utf-8"))
            (root / path).write_bytes(text.encode("utf-8", "surrogateescape"))
        code, said = _called("compile")
        return (code, said) if code or not call else _called(*call)


def _messages(said: str) -> Iterator[str]:
    """Every error, or where there is none every warning, with the line that it is about and the way out."""
    lines = said.splitlines()
    kinds = ("error[",) if any(line.startswith("error[") for line in lines) else ("warning[",)
    for number, line in enumerate(lines):
        if line.startswith(kinds):
            end = next((at for at, other in enumerate(lines[number:], number) if not other.strip()), len(lines))
            block = [other.strip() for other in lines[number + 1 : end]]
            places = [f" {other}" for other in block if other.startswith("--> ")]
            hints = [f"; {other[2:]}" for other in block if other.startswith("= ")]
            yield "".join([line, *places[:1], *hints])


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
