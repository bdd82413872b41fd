"""The grammar of the command line."""

from __future__ import annotations

import argparse
import re

EXAMPLES = """\
examples:
  hsdc compile                         lock every run of the default profile, demo
  hsdc compile --check                 say what is stale and why, write nothing (for CI)
  hsdc run run4 run8_restore_r4        bring two runs up to date
  hsdc run --profile full run4         the same specs on the real data, model and device

exit codes: 0 done; 1 the answer is no; 2 the spec or the call is wrong; 3 policy; 4 the environment;
            70 a fault of hsdc; 75 interrupted or busy, run again
"""

EXAMPLES_OF = {
    "new": """\
examples:
  hsdc new run9 --from run4                          a run that changes nothing yet
  hsdc new run9 --from run4 --set training.learning_rate=2e-5 --why 'Slower may be steadier.'
  hsdc new run9 --from run4 --set training.epochs=8 --set training.r_drop=null --why 'Shorter.'
""",
    "set": """\
examples:
  hsdc set run9 training.learning_rate=3e-5          one value; the rest of the file stays
  hsdc set run9 training.epochs=8 budget=2           a second change, and the budget for it
  hsdc set run9 'heads.sentiment.labels=[negative, positive]' 'why=Two labels are enough.'
""",
    "fmt": """\
examples:
  hsdc fmt                                           format all of specs/
  hsdc fmt specs/run4.yaml specs/profiles            a file, and a folder
  hsdc fmt --check                                   write nothing, say what would change (for CI)
""",
    "compile": """\
examples:
  hsdc compile                                       lock every run of the default profile, demo
  hsdc compile run4 --profile full                   one run and what it stands on, for the real data
  hsdc compile --check                               say what is stale and why, write nothing
  hsdc compile --check --format github               the same as annotations of a pull request
""",
    "run": """\
examples:
  hsdc run                                           whatever is out of date
  hsdc run run4 run8_restore_r4                      two runs, in this order
  hsdc run run4 --profile full --frozen              on a node that has manifests, and no specs
""",
    "explain": """\
examples:
  hsdc explain run4                                  every value, and what set it
  hsdc explain run8_restore_r4 training.learning_rate
  hsdc explain E801                                  what a message means, and the way out
""",
    "show": """\
examples:
  hsdc show run4                                     the whole run, with the origin of each line
  hsdc show run4 --json                              the same for programs
""",
    "ls": """\
examples:
  hsdc ls                                            the tree of runs, their budgets, scores and states
  hsdc ls --profile full                             the same for another place
""",
    "diff": """\
examples:
  hsdc diff                                          the working tree against HEAD
  hsdc diff main...HEAD --markdown                   a branch, as the comment of a pull request
  hsdc diff HEAD~1 --exit-code                       exit 1 where values or inputs differ
""",
    "verify": """\
examples:
  hsdc verify run4                                   what exists of it, hashed again
  hsdc verify run4 --profile full --rerun            every stage executed again, and compared
  hsdc verify --store                                all that is stored and generated
""",
    "gc": """\
examples:
  hsdc gc                                            what nobody needs, and how large it is
  hsdc gc --delete                                   remove it
""",
    "schema": """\
examples:
  hsdc schema                                        write schemas/*.schema.json
  hsdc schema --check                                exit 1 where one of them is stale
""",
}
COMPLETION = {
    "--install-completion": "write a completion script for bash, zsh or fish, and say what is left to do",
    "--show-completion": "print that script",
}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of examples, and wraps what is one line."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the way out."""

    def error(self, message: str) -> None:  # type: ignore[override]
        wrong = re.search(r"(?:unrecognized arguments: |invalid choice: ')([\w-]+)", message)
        meant = _meant(wrong[1], command_line()) if wrong else ""
        self.exit(2, f"error[E000] {message}{meant}\n  = see: {self.prog} --help\n")


def _meant(word: str, parser: argparse.ArgumentParser) -> str:
    """The command, option or choice that a misspelt word is nearest to, of any command."""
    from difflib import get_close_matches

    known: dict[str, None] = {}
    below = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for item in (parser, *(item for choices in below for item in choices.values())):
        for action in item._actions:
            known |= dict.fromkeys((*action.option_strings, *map(str, action.choices or ())))
    near = get_close_matches(word, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


class _Completion(argparse.Action):
    """Writes or shows the completion script of a shell, and leaves."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        from hsdc import completion

        shell = str(values) if values else None
        try:
            if self.dest == "show_completion":
                print(completion.script(shell or completion.current_shell(), parser), end="")
            else:
                print("\n".join(completion.install(shell, parser)))
        except ValueError as error:
            parser.error(str(error))
        except OSError as error:
            parser.exit(4, f"error[E433] {error.strerror}: {error.filename}\n")
        parser.exit()


def parse(arguments: list[str]) -> argparse.Namespace:
    """The parsed call; wrong calls exit with 2."""
    return command_line().parse_args(arguments)


def command_line() -> argparse.ArgumentParser:
    """The whole grammar."""
    about = "Experiments as text that can be reviewed, results that can be trusted."
    parser = _Parser(prog="hsdc", description=about, epilog=EXAMPLES, formatter_class=_Help, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=_version(), help="show the version, and leave")
    for option, text in COMPLETION.items():
        choices = ("bash", "zsh", "fish")
        parser.add_argument(option, action=_Completion, nargs="?", choices=choices, metavar="SHELL", help=text)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for grammar in (_new, _set, _fmt, _compile, _run, _explain, _show, _ls, _diff, _verify, _gc, _schema):
        grammar(commands)
    for name, below in commands.choices.items():
        below.epilog, below.formatter_class = EXAMPLES_OF.get(name), _Help
    return parser


def _version() -> str:
    from hsdc import __version__

    return f"hsdc {__version__}"


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}(\.[a-z0-9_+-]+)*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a name; names match [a-z][a-z0-9_]*")
    return text


def _runs(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", type=_name, help=meaning)
    parser.add_argument("--profile", type=_name, default="demo", metavar="P", help="where it runs (default: demo)")
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _compile(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Resolve every spec, check it, hash every input, and write the locked manifests to generated/."
    parser = commands.add_parser("compile", help="specs to locked manifests", description=text, allow_abbrev=False)
    _runs(parser, "runs to compile; all by default")
    check = "write nothing; exit 1 and say why where a manifest is stale"
    parser.add_argument("--check", "--locked", action="store_true", dest="check", help=check)
    parser.add_argument("--rehash", action="store_true", help="read every input again, whatever the cache knows")
    parser.add_argument("--supersede", action="store_true", help="replace what a finished record stands on")
    formats = ("text", "github", "sarif")
    shapes = "how diagnostics are written: for people, as workflow annotations, or as SARIF 2.1.0 on stdout"
    parser.add_argument("--format", choices=formats, default="text", help=shapes)


def _run(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Bring results up to date: execute what is not in the store, write the records, show the scores."
    parser = commands.add_parser("run", help="locked manifests to records", description=text, allow_abbrev=False)
    _runs(parser, "runs to bring up to date; all that are out of date by default")
    parser.add_argument("--frozen", action="store_true", help="trust the manifests; do not look at the specs")
    allow = "run although installed packages differ from the locked ones; the record says so"
    parser.add_argument("--allow-environment", action="store_true", help=allow)


def _verify(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "Hash again what exists of a run: manifest, record, stored objects, inputs, ledger. Changes nothing; exit 1 "
        "where something is damaged or changed. What is absent here is said, and contradicts nothing."
    )
    parser = commands.add_parser("verify", help="whether results still hold", description=text, allow_abbrev=False)
    parser.add_argument("run", nargs="?", type=_name, metavar="RUN", help="the run")
    _profile(parser)
    again = "execute every stage again beside the store; exit 0 only where every output is identical"
    parser.add_argument("--rerun", action="store_true", help=again)
    everything = "instead of a run: every object, action, manifest and record, and the ledger"
    parser.add_argument("--store", action="store_true", help=everything)
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _gc(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "List what of the store no manifest and no record in generated/ needs; what only superseded records name is "
        "not needed. Removes nothing unless asked to, and never while a run is going on."
    )
    parser = commands.add_parser("gc", help="make room in the store", description=text, allow_abbrev=False)
    parser.add_argument("--delete", action="store_true", help="remove what is listed")
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _schema(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Write the JSON Schemas that editors and other programs use."
    parser = commands.add_parser("schema", help="JSON Schemas for editors", description=text, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a schema is stale")


def _profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", type=_name, default="demo", metavar="P", help="where it runs (default: demo)")


def _new(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Write the spec of a new run that extends another; its budget is the number of factors that it changes."
    parser = commands.add_parser("new", help="a run from another", description=text, allow_abbrev=False)
    parser.add_argument("run", type=_name, metavar="RUN", help="name of the new run, and of its file")
    parser.add_argument("--from", dest="parent", type=_name, required=True, metavar="RUN", help="the run it extends")
    parser.add_argument("--set", dest="values", action="append", default=[], metavar="PATH=VALUE", help="a change")
    parser.add_argument("--why", default="", help="one sentence: why the change is made")
    parser.add_argument("--title", default="", help="one line for people")
    _profile(parser)


def _set(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Change values in a run's spec; comments, order and layout stay."
    parser = commands.add_parser("set", help="change a spec", description=text, allow_abbrev=False)
    parser.add_argument("run", type=_name, metavar="RUN", help="the run whose spec is changed")
    parser.add_argument(
        "values", nargs="+", metavar="PATH=VALUE", help="path in the experiment, or a key of the header"
    )
    _profile(parser)


def _fmt(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Bring specs into one layout; comments and meaning stay."
    parser = commands.add_parser("fmt", help="format specs", description=text, allow_abbrev=False)
    parser.add_argument("files", nargs="*", metavar="FILE", help="spec files; all of specs/ by default")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what would change")


def _explain(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Say where a value comes from: every layer that set it, the winner last. Or what a code means."
    parser = commands.add_parser(
        "explain",
        help="where a value comes from, what a code means",
        description=text,
        allow_abbrev=False,
    )
    parser.add_argument("subject", metavar="RUN|CODE", help="a run, or the code of a message")
    parser.add_argument("path", nargs="?", metavar="PATH", help="a value, or a section; every leaf by default")
    _profile(parser)
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _show(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "The resolved run as YAML, with the origin of each line as a comment."
    parser = commands.add_parser("show", help="a resolved run", description=text, allow_abbrev=False)
    parser.add_argument("run", type=_name, metavar="RUN", help="the run")
    _profile(parser)
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _ls(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "The runs as a tree of inheritance, each with its state: new, stale, locked or finished."
    parser = commands.add_parser("ls", help="the runs and their states", description=text, allow_abbrev=False)
    _profile(parser)
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _diff(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "What a change of specs does: the values that change and where they are set, the stages that must run again, "
        "the finished results that become void. Compares the working tree with HEAD by default."
    )
    parser = commands.add_parser("diff", help="what a change does", description=text, allow_abbrev=False)
    parser.add_argument("revisions", nargs="?", default="HEAD", metavar="BASE[...HEAD]", help="git revisions")
    _profile(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="versioned JSON on stdout")
    form.add_argument("--markdown", action="store_true", help="Markdown for a pull request's comment")
    parser.add_argument("--exit-code", action="store_true", help="exit 1 where resolved values or inputs differ")
