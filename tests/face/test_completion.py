"""Completion as a shell does it, how the script is installed, and what `--help` teaches."""

from __future__ import annotations

import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hsdc import cli, completion
from hsdc.__main__ import main

BASH = shutil.which("bash")
COMMANDS = [command for command in completion.commands(cli.command_line()) if command.name]
EXAMPLE = re.compile(r"^  (hsdc .*?)(?:   +(\S.*))?$", re.MULTILINE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "a home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "specs/profiles").mkdir(parents=True)
    (root / "deeper").mkdir()
    for name in ("run1", "run2", "other", "profiles/demo", "profiles/full", "No Name", "$(touch harm)", "`id`"):
        (root / f"specs/{name}.yaml").write_text("")
    return root


def called(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def completed(folder: Path, lines: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """What bash offers at the end of each line."""
    assert called(["--show-completion", "bash"]) == 0
    script = capsys.readouterr().out
    asked = "".join(
        f"COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}; _hsdc; printf '%s\\037' \"${{COMPREPLY[@]}}\"; echo\n"
        for line in lines
    )
    text = f"{script}complete -p hsdc >&2 || exit 9\n{asked}"
    done = subprocess.run([str(BASH), "--norc"], input=text, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == "complete -F _hsdc hsdc\n"
    answers = done.stdout.split("\n")[:-1]
    return {line: sorted(filter(None, answer.split("\037"))) for line, answer in zip(lines, answers, strict=True)}


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_offers_what_fits(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["other", "run1", "run2"]
    expected = {
        "hsdc ": sorted(command.name for command in COMMANDS),
        "hsdc com": ["compare", "compile"],
        "hsdc compare run1 r": ["run1", "run2"],
        "hsdc --inst": ["--install-completion"],
        "hsdc --install-completion ": ["bash", "fish", "zsh"],
        "hsdc run ": names,
        "hsdc run run1 r": ["run1", "run2"],
        "hsdc run --profile ": ["demo", "full"],
        "hsdc run --profile=f": ["full"],
        "hsdc run --profile full ru": ["run1", "run2"],
        "hsdc compile --format ": ["github", "sarif", "text"],
        "hsdc compile --form": ["--format"],
        "hsdc compile --zzz": [],
        "hsdc explain o": ["other"],
        "hsdc explain other tr": [],
        "hsdc show run1 r": [],
        "hsdc new r": [],
        "hsdc new next --from r": ["run1", "run2"],
        "hsdc new next --why 'Slower' --from o": ["other"],
        "hsdc fmt sp": ["specs"],
        "hsdc diff --ex": ["--exit-code"],
        "hsdc nothing ": [],
    }
    assert completed(project, list(expected), capsys) == expected
    assert completed(project / "deeper", ["hsdc run ", "hsdc ls --profile d"], capsys) == {
        "hsdc run ": names,
        "hsdc ls --profile d": ["demo"],
    }
    assert not (project / "harm").exists(), "a file's name was run"


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_offers_nothing_outside_a_project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(tmp_path, ["hsdc run ", "hsdc compile --ch"], capsys) == {
        "hsdc run ": [],
        "hsdc compile --ch": ["--check"],
    }


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_scripts_hold_every_command_and_option(shell: str) -> None:
    text = completion.script(shell, cli.command_line())
    assert "GRAMMAR" not in text
    for command in COMMANDS:
        assert len(command.options) >= 2
        for name in (command.name, *(name for option in command.options for name in option.names)):
            assert name.removeprefix("--") in text, (shell, command.name, name)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_scripts_are_read_without_a_fault(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(completion.script(shell, cli.command_line()))
    done = subprocess.run([program, "-n", str(tmp_path / "script")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shell", "place", "said"),
    [
        ("bash", ".local/share/bash-completion/completions/hsdc", "~/.bashrc yourself"),
        ("zsh", ".local/share/zsh/site-functions/_hsdc", "~/.zshrc yourself"),
        ("fish", ".config/fish/completions/hsdc.fish", "next: nothing"),
    ],
)
def test_install_writes_one_file_and_says_what_is_left(
    home: Path, capsys: pytest.CaptureFixture[str], shell: str, place: str, said: str
) -> None:
    (home / ".bashrc").write_text("# mine\n")
    assert called(["--install-completion", shell]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"written: {home / place}\n")
    assert said in out
    assert (home / place).read_text() == completion.script(shell, cli.command_line())
    assert sorted(path.name for path in home.rglob("*") if path.is_file()) == sorted([".bashrc", Path(place).name])
    assert (home / ".bashrc").read_text() == "# mine\n"
    stamp = (home / place).stat().st_mtime_ns
    assert called(["--install-completion", shell]) == 0
    assert capsys.readouterr().out.startswith(f"there already: {home / place}\n")
    assert (home / place).stat().st_mtime_ns == stamp
    (home / place).write_text("old")
    assert called(["--install-completion", shell]) == 0
    assert (home / place).read_text() == completion.script(shell, cli.command_line())


def test_install_follows_the_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/usr/local/bin/fish")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert called(["--install-completion"]) == 0
    assert (tmp_path / "config/fish/completions/hsdc.fish").is_file()
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    assert completion.place("zsh") == home / ".local/share/zsh/site-functions/_hsdc"
    monkeypatch.setenv("BASH_COMPLETION_USER_DIR", str(tmp_path / "own"))
    assert completion.place("bash") == tmp_path / "own/completions/hsdc"


def test_what_cannot_be_done_is_said_in_a_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert called(["--show-completion"]) == 2
    assert "error[E000] your shell is not told by $SHELL; name one: bash, zsh, fish" in capsys.readouterr().err
    assert called(["--install-completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
    (home / ".config").write_text("a file in the way")
    assert called(["--install-completion", "fish"]) == 4
    assert "error[E433]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        ("comple", "compile"),
        ("compile --chek", "--check"),
        ("compile --format githbu", "github"),
        ("run --forzen", "--frozen"),
    ],
)
def test_a_misspelt_word_of_a_call_is_recognised(call: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(call.split()) == 2
    assert f"; did you mean '{meant}'?\n" in capsys.readouterr().err
    assert called(["zzzzzz"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_help_teaches_by_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert called([command, "--help"]) == 0
    shown = capsys.readouterr().out
    head, _, examples = shown.partition("\nexamples:\n")
    found = EXAMPLE.findall(examples)
    assert len(found) >= 2
    assert len(found) == len(examples.rstrip().splitlines()), "every example on a line of its own"
    for call, _ in found:
        program, *words = shlex.split(call)
        assert (program, words[0]) == ("hsdc", command)
        assert cli.parse(words).command == command
    assert max(map(len, head.splitlines())) <= 82, "prose is wrapped"
    assert max(map(len, examples.splitlines())) <= 120


def test_help_stays_cheap() -> None:
    code = "import sys; from hsdc.__main__ import main; main(sys.argv[1:])"
    loaded = "; ".join(
        ["import atexit, sys", "atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))", code]
    )
    modules = subprocess.run(
        [sys.executable, "-c", loaded, "run", "--help"], capture_output=True, text=True, check=True
    ).stderr.split()
    assert "argparse" in modules
    heavy = {"pydantic", "yaml", "hsdc.completion", "pathlib", "torch", "hsdc_schemas"}
    assert sorted(heavy & {*modules}) == []
    nothing = min(_cpu(["-c", "pass"]) for _ in range(9))
    assert min(_cpu(["-c", code, "--help"]) for _ in range(9)) < 4 * nothing


def _cpu(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
