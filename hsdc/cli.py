"""The grammar of the command line."""

from __future__ import annotations

import argparse
import re

from hsdc.examples import EXAMPLES, EXAMPLES_OF

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
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: object = None
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
    return command_line(*arguments[:1]).parse_args(arguments)


def command_line(command: str = "") -> argparse.ArgumentParser:
    """The whole grammar, or for a command that is known its own: to make them all takes as long as to import this."""
    about = "Experiments as text that can be reviewed, results that can be trusted."
    parser = _Parser(prog="hsdc", description=about, epilog=EXAMPLES, formatter_class=_Help, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=_version(), help="show the version, and leave")
    for option, text in COMPLETION.items():
        choices = ("bash", "zsh", "fish")
        parser.add_argument(option, action=_Completion, nargs="?", choices=choices, metavar="SHELL", help=text)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    authoring = (_init, _new, _set, _fmt, _compile, _run, _explain, _show, _ls, _diff)
    every = (*authoring, _compare, _verify, _sign, _export, _gc, _schema)
    for grammar in [grammar for grammar in every if grammar.__name__ == f"_{command}"] or every:
        grammar(commands)
    for name, below in commands.choices.items():
        below.epilog, below.formatter_class = EXAMPLES_OF.get(name), _Help
    return parser


def _version() -> str:
    from hsdc import __version__

    return f"hsdc {__version__}"


def _name(text: str) -> str:
    if file := re.fullmatch(r"(?:.*/)?([a-z][a-z0-9_]*)\.ya?ml", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a name; did you mean '{file[1]}'?")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}(\.[a-z0-9_+-]+)*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a name; names match [a-z][a-z0-9_]*")
    return text


def _variant(text: str) -> str:
    run, colon, variant = text.partition(":")
    if colon:
        _name(variant)
    return f"{_name(run)}{colon}{variant}"


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no share above 0 and up to 1, such as 0.02")
    return value


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
    _processes(parser)


def _processes(parser: argparse.ArgumentParser) -> None:
    text = "processes that share the training, where the profile says elastic: the result is the same"
    parser.add_argument("--processes", type=int, choices=range(1, 65), metavar="N", help=text)


def _compare(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "Finished runs against the first one, over the same rows: differences with intervals, p over all comparisons, "
        "and what so many rows could have shown. Other rows, or another way to measure, are refused (exit 3)."
    )
    parser = commands.add_parser("compare", help="runs against a baseline", description=text, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN[:VARIANT]", type=_variant, help="the baseline, then others")
    _profile(parser)
    metric = "what is compared, as in f1_macro or 'tone.fpr[hate]@group=lgbtq'; again for more (default: macro-F1)"
    parser.add_argument("--metric", dest="metrics", action="append", default=[], metavar="M", help=metric)
    margin = "a difference that does not matter: what surely lies within it is said to"
    parser.add_argument("--margin", type=_share, metavar="X", help=margin)
    rows = "compare on the rows that all runs have, although they were scored on others too"
    parser.add_argument("--intersect", action="store_true", help=rows)
    methods = "compare although the runs were measured in different ways"
    parser.add_argument("--across-methods", action="store_true", help=methods)
    policy = "how unreadable answers count in all runs (default: as the runs say)"
    parser.add_argument("--unparseable", choices=("wrong", "drop", "error"), help=policy)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="versioned JSON on stdout")
    form.add_argument("--markdown", action="store_true", help="Markdown for a pull request's comment")


def _verify(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "Hash again what exists of a run: manifest, record, stored objects, inputs, ledger. Changes nothing; exit 1 "
        "where something is damaged or changed. What is absent here is said, and contradicts nothing."
    )
    parser = commands.add_parser("verify", help="whether results still hold", description=text, allow_abbrev=False)
    parser.add_argument("run", nargs="?", type=_name, metavar="RUN", help="the run")
    _profile(parser)
    again = "execute every stage again beside the store; exit 0 where all is identical, or within a declared tolerance"
    parser.add_argument("--rerun", action="store_true", help=again)
    _processes(parser)
    everything = "instead of a run: every object, action, manifest and record, and the ledger"
    parser.add_argument("--store", action="store_true", help=everything)
    signed = "require signatures of trusted keys over manifest and record; of every finished run without RUN"
    parser.add_argument("--signed", action="store_true", help=signed)
    trust = "public keys that are trusted, in PEM (default: .hsdc/trusted.pem)"
    parser.add_argument("--trust", metavar="FILE", help=trust)
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _sign(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "Sign the manifest and the record of finished runs: an in-toto statement with SLSA provenance in a DSSE "
        "envelope, ed25519, without network. It says who vouches for these bytes, not that they are right."
    )
    parser = commands.add_parser("sign", help="vouch for finished runs", description=text, allow_abbrev=False)
    parser.add_argument("runs", nargs="*", metavar="RUN", type=_name, help="runs to sign")
    _profile(parser)
    parser.add_argument("--key", metavar="FILE", help="the private key, in PEM")
    parser.add_argument(
        "--new-key", metavar="FILE", help="make a pair of keys instead: FILE, and FILE.pub to be trusted"
    )
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _export(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "Write the adapter of a finished run as a folder that PeftModel.from_pretrained reads, with a card of its "
        "figures and manifest; or the rows of a finished data run, with their card and Croissant metadata."
    )
    told = "an adapter or rows for other software"
    parser = commands.add_parser("export", help=told, description=text, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", type=_name, help="a finished run that has an adapter, or of kind data")
    _profile(parser)
    to = "a folder that is not there yet; may be left out with --push"
    parser.add_argument("--to", metavar="FOLDER", help=to)
    merge = "write the whole model with the adapter merged into its weights, and compare what both say"
    parser.add_argument("--merge", action="store_true", help=merge)
    push = "push it to a hub, as OWNER/NAME, with your own login there; a new one is private"
    parser.add_argument("--push", metavar="REPO", help=push)
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


def _gc(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "List what of the store no manifest and no record in generated/ needs; what only superseded records name is "
        "not needed, nor is what killed processes left half written. Removes nothing unless asked to, and never while "
        "a run is going on."
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


def _init(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = (
        "Write a small project that compiles at once: a run, sample rows, a toy of a model, a profile, editor schemas."
    )
    parser = commands.add_parser("init", help="a fresh project", description=text, allow_abbrev=False)
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="where (default: the current folder)")
    parser.add_argument("--json", action="store_true", help="data as JSON on stdout")


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
    told = "where a value comes from, what a code means"
    parser = commands.add_parser("explain", help=told, description=text, allow_abbrev=False)
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
