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


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the way out."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"error[E000] {message}\n  = see: {self.prog} --help\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The parsed call; wrong calls exit with 2."""
    parser = _Parser(
        prog="hsdc",
        description="Experiments as text that can be reviewed, results that can be trusted.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _compile(commands)
    _run(commands)
    _schema(commands)
    return parser.parse_args(arguments)


def _version() -> str:
    from hsdc import __version__

    return f"hsdc {__version__}"


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
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


def _run(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Bring results up to date: execute what is not in the store, write the records, show the scores."
    parser = commands.add_parser("run", help="locked manifests to records", description=text, allow_abbrev=False)
    _runs(parser, "runs to bring up to date; all that are out of date by default")
    parser.add_argument("--frozen", action="store_true", help="trust the manifests; do not look at the specs")
    allow = "run although installed packages differ from the locked ones; the record says so"
    parser.add_argument("--allow-environment", action="store_true", help=allow)


def _schema(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "Write the JSON Schemas that editors and other programs use."
    parser = commands.add_parser("schema", help="JSON Schemas for editors", description=text, allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a schema is stale")
