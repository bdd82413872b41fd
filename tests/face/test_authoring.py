"""`hsdc new`, `set` and `fmt` as a person meets them: what they write, what they say, and when they write nothing."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from hsdc.__main__ import main
from hsdc_compiler.pipeline import compile_project
from tests.cases.update import HERE

CHILD = """\
hsdc: 1
run: child
extends: parent
budget: 1
why: Learn slower.   # as agreed
change:
  training:          # one thing
    learning_rate: 1.50e-5
"""


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    for folder in ("specs", "locks"):  # no rows and no model: specs are written without them
        for path in sorted((HERE / "base" / folder).rglob("*.*")):
            target = root / path.relative_to(HERE / "base")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (root / "specs/child.yaml").write_text(CHILD)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def hsdc(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def call(*arguments: str) -> Answer:
        try:
            code = main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Answer(code, *capsys.readouterr())

    return call


Call = Callable[..., Answer]


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in (root / "specs").rglob("*") if path.is_file()}


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]


NEW = """\
# yaml-language-server: $schema=../schemas/spec.schema.json
hsdc: 1
run: next
title: 'Slower: a try'
extends: parent
budget: 3
why: It overshot.
change:
  training:
    learning_rate: 2e-5
    r_drop: null
    seed: 43
  heads:
    tone:
      class_weights:
        multipliers: {$replace: {cold: 1.50, warm: 1.1}}
"""


def test_new_writes_a_run_whose_budget_the_compiler_counted(root: Path, hsdc: Call) -> None:
    sets = ["training.learning_rate=2e-5", "training.r_drop=null", "training.seed=43"]
    sets.append("heads.tone.class_weights.multipliers={$replace: {cold: 1.50, warm: 1.1}}")
    options = [word for text in sets for word in ("--set", text)]
    answer = hsdc("new", "next", "--from", "parent", *options, "--why", "It overshot.", "--title", "Slower: a try")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "written: specs/next.yaml\n"
        "3 factors differ from parent: "
        "heads.tone.class_weights.multipliers.warm, training.learning_rate, training.r_drop\n"
        "next: hsdc compile next\n"
    )
    assert (root / "specs/next.yaml").read_text() == NEW
    assert compile_project(root, ["next"], lock=False).diagnostics == ()


def test_new_without_a_change_has_budget_zero(root: Path, hsdc: Call) -> None:
    answer = hsdc("new", "again", "--from", "child", "--profile", "demo")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "written: specs/again.yaml\nno factor differs from child\nnext: hsdc compile again\n"
    assert (root / "specs/again.yaml").read_text().endswith("run: again\nextends: child\nbudget: 0\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("child --from parent", "error[E009] specs/child.yaml is there already; choose another name"),
        ("next --from parnet", "error[E304] there is no run 'parnet' to extend"),
        ("next --from parent --set training.epochs", "error[E008] 'training.epochs' is not of the form PATH=VALUE"),
        ("next --from parent --set =3", "error[E008] '=3' is not of the form PATH=VALUE"),
        ("next --from parent --set a..b=3", "error[E008] 'a..b=3' is not of the form PATH=VALUE"),
        ("next --from parent --set training.epochs=", "error[E006] 'training.epochs' is given no value"),
        ("next --from parent --set training.epochs=*a", "error[E104] an alias (*) is not allowed"),
        (
            "next --from parent --set training.epochs=1 --set training.epochs=2",
            "error[E008] 'training.epochs' is set tw",
        ),
        ("next --from parent --set training.epochs=1 --set training={}", "'training.epochs' and 'training' are both"),
        ("next --from parent --set budget=3", "error[E008] 'budget' is no change; it is counted"),
        ("next --from parent --set run=x", "error[E006] 'run' cannot be set; a run is named by its file"),
        ("next --from parent --set change.training.epochs=4", "write training.epochs"),
        ("next --from parent --set training.epochs=4", "= add --why '…', one sentence"),
        ("next --from parent --why w --set training.epochs=four", "--> specs/next.yaml:9:13"),
        ("next --from parent --why w --set training.epoch=4", "did you mean 'epochs'?"),
        ("next --from parent --profile dmo", "error[E002] there is no profile 'dmo'; did you mean 'demo'?"),
        ("Next --from parent", "error[E000] argument RUN: 'Next' is not a name"),
    ],
)
def test_new_refuses_and_writes_nothing(root: Path, hsdc: Call, arguments: str, said: str) -> None:
    before = files(root)
    answer = hsdc("new", *arguments.split())
    assert answer.code == 2
    assert said in answer.err
    assert files(root) == before


def test_set_changes_the_lines_it_says(root: Path, hsdc: Call) -> None:
    answer = hsdc("set", "child", "training.learning_rate=3.0e-5", "budget=2", "training.epochs=4", "why=A: b")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "written: specs/child.yaml\n"
        "  training.learning_rate  1.50e-5 → 3.0e-5\n"
        "  budget                  1 → 2\n"
        "  training.epochs         4\n"
        "  why                     Learn slower. → 'A: b'\n"
        "2 factors differ from parent: training.epochs, training.learning_rate\n"
        "next: hsdc compile child\n"
    )
    assert changed_lines(CHILD, (root / "specs/child.yaml").read_text()) == [
        "- budget: 1",
        "+ budget: 2",
        "- why: Learn slower.   # as agreed",
        "+ why: 'A: b'   # as agreed",
        "-     learning_rate: 1.50e-5",
        "+     learning_rate: 3.0e-5",
        "+     epochs: 4",
    ]


def test_set_on_a_root_run_sets_at_the_top(root: Path, hsdc: Call) -> None:
    before = (root / "specs/parent.yaml").read_text()
    assert hsdc("set", "parent", "training.epochs=5", "evaluation.cross_slices=true").code == 0
    assert changed_lines(before, (root / "specs/parent.yaml").read_text()) == [
        "-   epochs: 3",
        "+   epochs: 5",
        "+ evaluation:",
        "+   cross_slices: true",
    ]


def test_set_over_the_budget_is_policy_and_names_the_way_out(root: Path, hsdc: Call) -> None:
    before = files(root)
    answer = hsdc("set", "child", "training.epochs=4")
    assert answer.code == 3
    assert "error[E801] 'child' differs from 'parent' in 2 factors; its budget is 1" in answer.err
    assert "--> specs/child.yaml:9:5" in answer.err
    assert "allow for it in the same call: budget=2" in answer.err
    assert answer.out == "specs/child.yaml: nothing written\n"
    assert files(root) == before
    assert hsdc("set", "child", "training.epochs=4", "budget=2").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("chld training.epochs=4", "error[E004] there is no run 'chld'; did you mean 'child'?"),
        (
            "child.seed-1 training.epochs=4",
            "error[E004] there is no run 'child.seed-1'; set it in 'child', whose matrix",
        ),
        ("child training.epochs=four budget=2", "'training.epochs' is the text 'four'"),
        ("child training.learning_rate.x=1", "'change.training.learning_rate' is a single value here"),
        ("child extends=nobody", "error[E304] there is no run 'nobody' to extend"),
        ("child extends=child", "error[E305]"),
        ("child budget=-1", "error["),
    ],
)
def test_set_refuses_and_writes_nothing(root: Path, hsdc: Call, arguments: str, said: str) -> None:
    before = files(root)
    answer = hsdc("set", *arguments.split())
    assert answer.code == 2
    assert said in answer.err
    assert files(root) == before


def test_set_to_what_is_there_writes_nothing(root: Path, hsdc: Call) -> None:
    stamp = (root / "specs/child.yaml").stat().st_mtime_ns
    assert hsdc("set", "child", "budget=1") == (0, "specs/child.yaml: nothing to change\n", "")
    assert (root / "specs/child.yaml").stat().st_mtime_ns == stamp


def test_faults_of_runs_that_it_does_not_descend_from_are_not_its_own(root: Path, hsdc: Call) -> None:
    (root / "specs/broken.yaml").write_text("hsdc: 1\nrun: broken\nextends: parent\nbudget: {\n")
    (root / "specs/lost.yaml").write_text("hsdc: 1\nrun: lost\nextends: nobody\nbudget: 0\n")
    assert hsdc("set", "child", "training.learning_rate=3e-5").err == ""
    assert hsdc("new", "next", "--from", "child").err == ""
    answer = hsdc("new", "heir", "--from", "broken")
    assert (answer.code, answer.out) == (2, "nothing written\n")
    assert "--> specs/broken.yaml" in answer.err
    answer = hsdc("set", "lost", "budget=1")
    assert answer.code == 2
    assert "broken" not in answer.err
    assert hsdc("set", "lost", "extends=parent").code == 0


def test_runs_of_a_matrix(root: Path, hsdc: Call) -> None:
    matrix = "matrix:\n  axes: {training.seed: [13, 42]}\n  replicate: [training.seed]\n"
    (root / "specs/child.yaml").write_text(CHILD + matrix)
    answer = hsdc("set", "child", "training.epochs=4")
    assert (answer.code, answer.err.count("error[E801]")) == (3, 2)
    assert hsdc("set", "child", "training.learning_rate=3e-5", "matrix.axes={training.seed: [7, 8]}").code == 0
    expected = (CHILD + matrix).replace("1.50e-5", "3e-5").replace("13, 42", "7, 8")
    assert (root / "specs/child.yaml").read_text() == expected
    assert hsdc("fmt", "--check").code == 0
    assert hsdc("new", "next", "--from", "child").code == 2
    assert not (root / "specs/next.yaml").exists()
    assert hsdc("new", "next", "--from", "child.seed-7").code == 0


def test_fmt_mends_and_checks(root: Path, hsdc: Call) -> None:
    assert hsdc("fmt", "--check") == (0, "8 specs checked: all in the layout\n", "")
    messy = CHILD.replace("  training", "      training").replace("    learning", "          learning")
    (root / "specs/child.yaml").write_text("budget: 1\r\n\r\n\r\n" + messy.replace("budget: 1\n", "") + "\n\n")
    before = files(root)
    answer = hsdc("fmt", "--check")
    assert answer == (1, "would change: specs/child.yaml\n8 specs checked: 1 would change\n", "")
    assert files(root) == before
    assert hsdc("fmt") == (0, "written: specs/child.yaml\n8 specs in the layout, 1 of them written\n", "")
    assert (root / "specs/child.yaml").read_text() == CHILD
    assert hsdc("fmt", "specs/child.yaml", "specs/models") == (0, "3 specs in the layout already\n", "")


def test_fmt_takes_paths_from_where_it_is_called(root: Path, hsdc: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "specs/models")
    assert hsdc("fmt", "tiny.yaml", "../child.yaml", str(root / "specs/child.yaml")).out.startswith("2 specs in")


@pytest.mark.parametrize("command", [["fmt"], ["fmt", "specs/evil.yaml"], ["set", "evil", "title=x"]])
def test_links_out_of_specs_are_refused(root: Path, hsdc: Call, tmp_path: Path, command: list[str]) -> None:
    for outside in (tmp_path / "outside.yaml", root / "inside.yaml"):
        outside.write_text("run: evil\nhsdc: 1\n")
        (root / "specs/evil.yaml").unlink(missing_ok=True)
        (root / "specs/evil.yaml").symlink_to(outside)
        answer = hsdc(*command)
        assert answer.code == 2
        assert "error[E003] specs/evil.yaml" in answer.err
        assert outside.read_text() == "run: evil\nhsdc: 1\n"
        assert (root / "specs/evil.yaml").is_symlink()


def test_a_linked_folder_of_specs_is_not_written_to(root: Path, hsdc: Call, tmp_path: Path) -> None:
    (root / "specs").rename(tmp_path / "elsewhere")
    (root / "specs").symlink_to(tmp_path / "elsewhere")
    assert hsdc("new", "next", "--from", "parent").code == 2
    assert hsdc("fmt").code == 2
    assert not (tmp_path / "elsewhere/next.yaml").exists()


@pytest.mark.parametrize("name", ["../outside.yaml", "locks/runtime.txt", "/etc/hosts", "specs/none.yaml", "specs/.."])
def test_fmt_refuses_what_is_no_spec(root: Path, hsdc: Call, name: str) -> None:
    answer = hsdc("fmt", name)
    assert answer.code == 2
    assert "error[E003]" in answer.err


def test_fmt_names_hostile_files_and_formats_the_others(root: Path, hsdc: Call) -> None:
    bomb = "a: &a [x, x]\nb: &b [*a, *a]\n"
    (root / "specs/bomb.yaml").write_text(bomb)
    (root / "specs/tag.yaml").write_text("a: !!python/object/apply:os.system [x]\n")
    (root / "specs/child.yaml").write_text(CHILD + "\n\n")
    answer = hsdc("fmt")
    assert answer.code == 2
    assert "error[E104]" in answer.err
    assert "error[E107]" in answer.err
    assert (root / "specs/bomb.yaml").read_text() == bomb
    assert (root / "specs/child.yaml").read_text() == CHILD


def test_terminal_codes_in_a_value_do_not_reach_the_terminal(root: Path, hsdc: Call) -> None:
    answer = hsdc("set", "child", "title=\x1b[31mred")
    assert "\x1b" not in answer.out + answer.err
    assert "\x1b" not in (root / "specs/child.yaml").read_text()


def test_the_writer_is_loaded_by_these_commands_alone(root: Path) -> None:
    import subprocess
    import sys

    code = "import sys, hsdc.__main__ as m; m.main(['compile', '--json']); assert 'ruamel.yaml' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=False).returncode == 0
