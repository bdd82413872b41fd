"""Completion for bash, zsh and fish: plain scripts made from the grammar; names of runs are read while completing."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

SHELLS = ("bash", "zsh", "fish")
# what a metavar stands for
KINDS = {"RUN": "runs", "RUN|CODE": "runs", "RUN[:VARIANT]": "runs", "P": "profiles", "FILE": "files"}
NEW = ("new",)  # commands whose first name is none that exists
FOLDERS = {"runs": "specs", "profiles": "specs/profiles"}
PARTS = Path(__file__).parent / "completions"


@dataclass(frozen=True)
class Argument:
    """An option with its names, or a positional without; `kind` is "" where nothing can be offered for its value."""

    names: tuple[str, ...]
    help: str
    kind: str
    choices: tuple[str, ...]
    valued: bool
    many: bool


@dataclass(frozen=True)
class Command:
    """A command and what it takes; the first of all is hsdc itself, with an empty name."""

    name: str
    help: str
    options: tuple[Argument, ...]
    positionals: tuple[Argument, ...]


def install(shell: str | None, parser: argparse.ArgumentParser) -> list[str]:
    """Write the script to the user's own place, and say what is left to do; raises OSError, and ValueError for shells
    that are none."""
    from hsdc_schemas.digests import write_atomically

    name = shell or current_shell()
    path, text = place(name), script(name, parser)
    fresh = path.is_file() and path.read_bytes() == text.encode()
    if not fresh:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
    return [f"{'there already' if fresh else 'written'}: {path}", *_next(name, path)]


def current_shell() -> str:
    """The shell that $SHELL names."""
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise ValueError(f"your shell is not told by $SHELL; name one: {', '.join(SHELLS)}")
    return name


def place(shell: str) -> Path:
    """Where a shell looks for the completions of its user, or where its user can tell it to look."""
    data = _xdg("XDG_DATA_HOME", ".local/share")
    if shell == "bash":
        own = os.environ.get("BASH_COMPLETION_USER_DIR", "").split(":")[0]
        return (Path(own) if own else data / "bash-completion") / "completions/hsdc"
    if shell == "zsh":
        return data / "zsh/site-functions/_hsdc"
    return _xdg("XDG_CONFIG_HOME", ".config") / "fish/completions/hsdc.fish"


def _xdg(name: str, usual: str) -> Path:
    given = os.environ.get(name, "")
    return Path(given) if Path(given).is_absolute() else Path.home() / usual


def _next(shell: str, path: Path) -> list[str]:
    if shell == "fish":
        return ["next: nothing; fish finds it by itself"]
    if shell == "bash":
        return [
            "next: open a new shell; the package bash-completion finds the script",
            f"without that package, put this line into ~/.bashrc yourself:  source {shlex.quote(str(path))}",
        ]
    return [
        "next: put these lines into ~/.zshrc yourself, unless they are there, and open a new shell:",
        f"  fpath=({shlex.quote(str(path.parent))} $fpath)",
        "  autoload -Uz compinit && compinit",
    ]


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The completion script of a shell."""
    made = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    text = (PARTS / f"hsdc.{shell}").read_text(encoding="utf-8")
    return text.replace("# GRAMMAR\n", "".join(f"{line}\n" for line in made(list(commands(parser)))))


def commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    """hsdc itself, then its commands in their order."""
    yield _command("", "", parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, below in action.choices.items():
                yield _command(name, texts.get(name, ""), below)


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> Command:
    found = [_argument(action) for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    options = tuple(item for item in found if item.names)
    positionals = tuple(item for item in found if not item.names)
    if name in NEW:
        positionals = tuple(replace(item, kind="") for item in positionals)
    return Command(name, text, options, positionals)


def _argument(action: argparse.Action) -> Argument:
    names = tuple(name for name in action.option_strings if name.startswith("--"))
    valued = bool(action.option_strings) and action.nargs != 0
    many = action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction)
    choices = tuple(map(str, action.choices or ()))
    kind = KINDS.get(str(action.metavar), "")
    return Argument(names, (action.help or "").replace("%%", "%"), kind, choices, valued, many)


def _bash(found: list[Command]) -> Iterator[str]:
    """What the function needs to know of each command: its options, which of them take a value, its positionals."""
    named = " ".join(command.name for command in found if command.name)
    yield f"_hsdc_commands='{named}'"
    yield "_hsdc_grammar() {"
    yield "    options='' valued='' kinds=''"
    yield "    case $1 in"
    for command in found:
        options = " ".join(name for option in command.options for name in option.names)
        valued = " ".join(name for option in command.options if option.valued for name in option.names)
        kinds = " ".join(f"{item.kind or 'nothing'}{'*' if item.many else ''}" for item in command.positionals)
        yield f"        '{command.name}') options='{options}' valued=' {valued} ' kinds='{kinds}' ;;"
    yield "    esac"
    yield "}"
    yield "_hsdc_value() {"
    yield '    case "$1 $2" in'
    for command in found:
        for option in command.options:
            for name in option.names if option.valued else ():
                if option.choices:
                    yield f"        '{command.name} {name}') _hsdc_words '{' '.join(option.choices)}' ;;"
                elif option.kind:
                    yield f"        '{command.name} {name}') _hsdc_kind {option.kind} ;;"
    yield "    esac"
    yield "}"


def _zsh(found: list[Command]) -> Iterator[str]:
    top, *below = found
    yield "_hsdc() {"
    yield '    local curcontext="$curcontext" state'
    yield "    local -a commands"
    yield "    typeset -A opt_args"
    yield f"    _arguments -C {' '.join(_zsh_options(top))} '1:command:->command' '*::argument:->rest'"
    yield "    case $state in"
    yield "        command)"
    described = " ".join(_quoted(f"{command.name}:{command.help}") for command in below)
    yield f"            commands=({described})"
    yield "            _describe -t commands command commands ;;"
    yield "        rest)"
    yield "            case $words[1] in"
    for command in below:
        positionals = (
            _quoted(f"{'*' if item.many else index}:{item.kind or 'value'}:{_zsh_action(item)}")
            for index, item in enumerate(command.positionals, start=1)
        )
        specs = " ".join([*_zsh_options(command), *positionals])
        yield f"                {command.name}) _arguments {specs} ;;"
    yield "            esac ;;"
    yield "    esac"
    yield "}"
    yield '_hsdc "$@"'


def _zsh_options(command: Command) -> Iterator[str]:
    for option in command.options:
        text = "".join(f"\\{c}" if c in "[]\\" else c for c in option.help)
        for name in option.names:
            value = f":value:{_zsh_action(option)}" if option.valued else ""
            yield _quoted(f"{'*' if option.many else ''}{name}{'=' if value else ''}[{text}]{value}")


def _zsh_action(item: Argument) -> str:
    if item.choices:
        return f"({' '.join(item.choices)})"
    return {"runs": "_hsdc_runs", "profiles": "_hsdc_profiles", "files": "_files", "": " "}[item.kind]


def _fish(found: list[Command]) -> Iterator[str]:
    top, *below = found
    yield "complete -c hsdc -f"
    for command in below:
        yield f"complete -c hsdc -n __fish_use_subcommand -a {command.name} -d {_quoted(command.help)}"
    for command in (top, *below):
        where = f"'__fish_seen_subcommand_from {command.name}'" if command.name else "__fish_use_subcommand"
        for option in command.options:
            for name in option.names:
                value = f" -x{_fish_offer(option)}" if option.valued else ""
                yield f"complete -c hsdc -n {where} -l {name[2:]}{value} -d {_quoted(option.help)}"
        for item in command.positionals[:1]:
            if offer := _fish_offer(item):
                yield f"complete -c hsdc -n {where}{offer}"


def _fish_offer(item: Argument) -> str:
    if item.choices:
        return f" -a '{' '.join(item.choices)}'"
    if item.kind == "files":
        return " -F"
    return f" -a '(__hsdc_names {FOLDERS[item.kind]})'" if item.kind else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "’") + "'"
