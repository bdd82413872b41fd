"""Whatever a stranger's pull request holds, compiling it ends soon, with a message, and reads nothing outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsdc_compiler.parse import MAX_BYTES, parse
from hsdc_schemas.errors import HsdcError
from tests.cases.update import HERE, Outcome, lay, outcome

HEAD = "hsdc: 1\nrun: child\nextends: parent\nbudget: 1\nwhy: It means no good.\n"
MATRIX = f"matrix:\n  axes: {{training.seed: {list(range(10_000))}}}\n  max_runs: 10000\n"
SECONDS = 5  # of CPU time: far more than any of these needs
PATIENCE = 60  # on a clock, for what would wait for good


@contextmanager
def soon() -> Iterator[None]:
    """A limit on the time that is taken, however busy the machine is, and on what would otherwise hang for good."""

    def over(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s of CPU time, or {PATIENCE} s")

    before = [(sign, signal.signal(sign, over)) for sign in (signal.SIGALRM, signal.SIGPROF)]
    signal.alarm(PATIENCE)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for sign, handler in before:
            signal.signal(sign, handler)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return lay(HERE / "valid/claims", tmp_path / "project")


def compiled(project: Path, text: str | bytes) -> Outcome:
    (project / "specs/child.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    with soon():
        return outcome(project)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("change: " + "[" * 100_000, "E108"),
        ("change: " + "{a: " * 100_000, "E108"),
        ("change: " + "{? " * 100_000, "E108"),
        ("change:\n  - " + "- " * 100_000, "E108"),
        ("change:\n" + "".join(f"{' ' * i}a:\n" for i in range(1, 1000)), "E108"),
        ("change: " + "[" * 50 + "]" * 100_000, "E103"),
        ('change: "' + "x" * 1_000_000, "E103"),
        ("change: {" + "a" * 1_000_000 + ": 1}", "E103"),  # a key of one line has at most 1024 characters
        ("change: '" + "\\" * 1_000_000 + "'", "E307"),
        ("change: " + "1" * 1_000_000, "E112"),
        ("change: 0x" + "f" * 1_000_000, "E112"),
        ("change: {training: {seed: 0o" + "7" * 1_000_000 + "}}", "E112"),
        ("change: {training: {seed: " + "-" * 1_000_000 + "}}", "E203"),
        ("change: !<" + "x" * 1_000_000 + "> 1", "E107"),
        ("#" * 1_040_000, "E802"),
        ("\n" * 1_040_000, "E802"),
        ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 30)), "E104"),
        ("change: {training: {" + "".join(f"k{i}: 1, " for i in range(20_000)) + "}}", "E201"),
        ("change:\n  training:\n" + "".join(f"    k{i}: 1\n" for i in range(20_000)), "E201"),
        ("".join(f"k{i}: 1\n" for i in range(20_000)), "E307"),
        ("".join("budget: 1\n" for _ in range(20_000)), "E110"),
        ("change:\n  training:\n" + "".join(f"    k{i}: {{$unset: true}}\n" for i in range(20_000)), "E312"),
        ("change:\n" + "".join(f"  r{i}: {{$ref: r{i + 1}}}\n" for i in range(20_000)), "E323"),
        ("change:\n" + "".join(f"  r{i}: {{$ref: x{i}}}\n" for i in range(20_000)), "E321"),
        (
            "change:\n"
            + "".join(f"  r{i}: {'{k: ' * 60}{{$ref: r{i + 1}}}{'}' * 60}\n" for i in range(15))
            + "  r15: 1",
            "E323",
        ),
        ("change: {head: {hidden: {$ref: " + "head." * 150_000 + "layers}}}", "E321"),
        ("change: {sampling: {boosts: {" + "".join(f"b{i}: {{a: 1}}, " for i in range(20_000)) + "}}}", "E701"),
        ("change: {sampling: {boosts: {tone: {" + "".join(f"b{i}: 1, " for i in range(20_000)) + "}}}}", "E701"),
        ("change: {heads: {topic: {labels: [" + "".join(f"b{i}, " for i in range(20_000)) + "b19999]}}}", "E703"),
        ("change: {heads: {topic: {labels: {$remove: [" + "".join(f"b{i}, " for i in range(50_000)) + "]}}}}", "E312"),
        ("restore: {from: parent, paths: [" + "".join(f"training.b{i}, " for i in range(40_000)) + "]}", "E341"),
        (MATRIX + "  exclude: [" + "".join(f"{{seed: {i % 10_000}}}, " for i in range(40_000)) + "]", "E332"),
        (MATRIX + "  exclude: [" + "".join(f"{{side{i}: 1}}, " for i in range(40_000)) + "]", "E332"),
        (MATRIX + "  replicate: [" + "".join(f"training.side{i}, " for i in range(40_000)) + "]", "E332"),
        (MATRIX + "  zip: [" + "".join(f"[side{i}], " for i in range(40_000)) + "]", "E332"),
        (MATRIX + "  exclude: [" + "".join(f"{{seed: {i}}}, " for i in range(1_000)) + "{}]", "E332"),
    ],
    ids=lambda value: value[:40].replace("\n", " ") if len(value) > 4 else value,
)
def test_a_spec_of_this_kind_ends_soon(project: Path, text: str, code: str) -> None:
    head = HEAD.replace("budget: 1\n", "") if code == "E802" else HEAD
    found = compiled(project, head + text + "\n")
    assert f"[{code}]" in found.text
    assert found.text.endswith("exit 2\n")
    assert len(found.text) < 200_000


def test_a_file_has_at_most_a_mebibyte(project: Path) -> None:
    spec = HEAD.replace("budget: 1", "budget: 0") + "#"
    assert compiled(project, spec + "x" * (MAX_BYTES - len(spec))).text == "exit 0\n"
    found = compiled(project, spec + "x" * (MAX_BYTES + 1 - len(spec))).text
    assert "[E101]" in found
    assert found == compiled(project, spec + "x" * (2 * MAX_BYTES)).text.replace("2,097,203", "1,048,577")


def test_what_is_taken_out_of_a_long_list(project: Path) -> None:
    labels = [f"b{i}" for i in range(50_000)]
    head = "hsdc: 1\nrun: long\nextends: parent\nbudget: 9\nwhy: It is long.\n"
    long = f"{head}change: {{heads: {{topic: {{labels: [{', '.join(labels)}]}}}}}}\n"
    (project / "specs/long.yaml").write_text(long)
    for taken, code in ((labels[:1:-1], "E416"), ([f"c{i}" for i in range(50_000)], "E312")):
        change = f"change: {{heads: {{topic: {{labels: {{$remove: [{', '.join(taken)}]}}}}}}}}\n"
        found = compiled(project, HEAD.replace("parent", "long") + change)
        assert len(found.text) < 200_000
        assert (f"[{code}]" in found.text) or code == "E416"


def test_nul_bytes(project: Path) -> None:
    assert "[E103] the character U+0000" in compiled(project, b"\0" * 1_000_000).text


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.text("{}[]:-?&*!|>'\"%@` \t\r\n#,ab01.~$<\\\x85\u2028\ufeff", max_size=40).map(str.encode)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    codes = []
    try:
        parse("spec.yaml", data)
    except HsdcError as error:
        codes = [fault.code for fault in error.diagnostics]
    assert all(code.startswith("E1") for code in codes)


def test_a_pipe_in_place_of_a_spec(project: Path) -> None:
    os.mkfifo(project / "specs/child.yaml")
    with soon():
        text = outcome(project).text
    assert "[E003] specs/child.yaml is not a regular file" in text
    assert text.endswith("exit 2\n")


@pytest.mark.parametrize("target", ["/etc/hostname", "/dev/zero", "/proc/self/environ", "../../outside.yaml"])
def test_a_link_that_leads_out(project: Path, target: str) -> None:
    (project.parent / "outside.yaml").write_text("secret: 1\n")
    (project / "specs/child.yaml").symlink_to(target)
    with soon():
        text = outcome(project).text
    assert "[E003] specs/child.yaml is a link that leads out of the project" in text
    assert "secret" not in text


@pytest.mark.parametrize("folder", ["datasets", "profiles"])
def test_a_folder_that_is_a_link_that_leads_out(project: Path, folder: str) -> None:
    (project / f"specs/{folder}").rename(project.parent / folder)
    (project / f"specs/{folder}").symlink_to(project.parent / folder)
    with soon():
        text = outcome(project).text
    assert "leads out of the project" in text


@pytest.mark.parametrize(
    "target",
    [
        "child.yaml",
        "nowhere.yaml",
    ],
)
def test_a_link_to_itself_or_to_nothing(project: Path, target: str) -> None:
    (project / "specs/child.yaml").symlink_to(target)
    with soon():
        text = outcome(project).text
    assert "[E003] specs/child.yaml" in text


def test_a_link_inside_the_project_is_a_file_like_others(project: Path) -> None:
    (project / "kept").mkdir()
    (project / "specs/parent.yaml").rename(project / "kept/parent.yaml")
    (project / "specs/parent.yaml").symlink_to("../kept/parent.yaml")
    assert outcome(project).text == "exit 0\n"


def test_data_behind_a_link_or_a_pipe(project: Path) -> None:
    (project / "data/train.csv").rename(project.parent / "train.csv")
    (project / "data/train.csv").symlink_to(project.parent / "train.csv")
    (project / "data/test.csv").unlink()
    os.mkfifo(project / "data/test.csv")
    with soon():
        text = outcome(project).text
    assert "[E402] 'file:data/train.csv' is a link that leaves the project" in text
    assert "[E404] 'file:data/test.csv' is not a regular file" in text


def test_an_environment_variable_is_no_value(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    change = "change: {training: {best_metric: $SECRET}, heads: {topic: {target: '${oc.env:SECRET}'}}}\n"
    text = compiled(project, HEAD + change).text
    assert "$SECRET" in text
    assert "hunter2" not in text
