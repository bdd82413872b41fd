"""`hsdc compare`: finished runs against the first one, over the same rows."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from hsdc import comparison_view
from hsdc.commands.verify import project_root
from hsdc.output import say, say_json
from hsdc_runtime.run import finished_record
from hsdc_runtime.store import Damaged, Store
from hsdc_schemas.alignment import Entrant
from hsdc_schemas.answers import load_answers
from hsdc_schemas.comparison import Ask, compare, default_metrics
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, did_you_mean, fail
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.metrics import Metric, parse_metric
from hsdc_schemas.places import GENERATED, manifest_path, record_path
from hsdc_schemas.record import Record

SUFFIXES = (".lock.json", ".record.json")
WIDEST = 200


def execute(options: argparse.Namespace) -> int:
    """Compare runs; exit 3 where they may not be compared as asked."""
    root = project_root(Path.cwd())
    runs = _named(root, options.profile, options.runs)
    for name in runs:
        _require_scores(root, options.profile, name.partition(":")[0])
    entrants = [_entrant(root, options.profile, name) for name in runs]
    if entrants[0].answers is None:
        message = f"there is nothing to compare with: '{entrants[0].name}' {entrants[0].reason}"
        raise fail("E823", Exit.ENVIRONMENT, message, None, "hsdc run makes it, or name another run first")
    ask = Ask(
        metrics=_metrics(entrants, options.metrics),
        margin=options.margin,
        intersect=options.intersect,
        across_methods=options.across_methods,
        unparseable=options.unparseable,
    )
    found = compare(entrants, ask)
    _note_former(root, options.profile, runs)
    if options.json:
        say_json(comparison_view.as_json(found))
    elif options.markdown:
        say([comparison_view.markdown(found).rstrip()])
    else:
        say(comparison_view.text(found, min(WIDEST, shutil.get_terminal_size((120, 24)).columns)))
    return int(Exit.DONE)


def _named(root: Path, profile: str, asked: list[str]) -> list[str]:
    """The runs that are meant, each with its variant if one is named; a matrix stands for all of its runs."""
    folder = root / GENERATED / profile
    known = sorted({p.name.removesuffix(suffix) for suffix in SUFFIXES for p in folder.glob(f"*{suffix}")})
    runs, unknown = [], []
    for name in asked:
        run, colon, variant = name.partition(":")
        meant = [run] if run in known else [item for item in known if item.startswith(f"{run}.")]
        runs += [f"{item}{colon}{variant}" for item in meant]
        unknown += [] if meant else [run]
    if unknown:
        raise HsdcError(
            Diagnostic("E004", Exit.SPEC, f"there is no run '{name}'", None, did_you_mean(name, known))
            for name in unknown
        )
    twice = next((name for name in runs if runs.count(name) > 1), None)
    if twice or len(runs) < 2:
        message = f"'{twice}' is named twice" if twice else "one run alone compares with nothing"
        raise fail("E000", Exit.SPEC, message, None, "name two runs or more, or two variants of one: RUN:VARIANT")
    return runs


def _note_former(root: Path, profile: str, runs: list[str]) -> None:
    """Say of which runs the record is of a former manifest: it is compared, since that is what was measured."""
    for run in dict.fromkeys(name.partition(":")[0] for name in runs):
        paths = (manifest_path(profile, run), record_path(profile, run))
        if all((root / path).exists() for path in paths):
            manifest = load_sealed(root / paths[0], paths[0], Manifest)
            if finished_record(root, manifest) is None:
                print(f"note: the record of {run} is of a former manifest", file=sys.stderr)


def _require_scores(root: Path, profile: str, run: str) -> None:
    """HsdcError where a run is of a kind that answers nothing."""
    path = manifest_path(profile, run)
    if (root / path).exists() and load_sealed(root / path, path, Manifest).experiment.kind == "data":
        hint = "compare runs that learn from its rows; hsdc export writes them, and hsdc diff says what a change does"
        raise fail("E824", Exit.SPEC, f"'{run}' makes rows, which are not scored", None, hint)


def _entrant(root: Path, profile: str, name: str) -> Entrant:
    """A run, or the reason why it has no answers here; raises HsdcError where it has no such variant."""
    run, _, variant = name.partition(":")
    path = record_path(profile, run)
    if not (root / path).exists():
        return Entrant(name, None, reason="has no record")
    record = load_sealed(root / path, path, Record)
    scored = next((stage for stage in record.stages if "answers" in stage.outputs), None)
    if scored is None:
        return Entrant(name, None, reason="has a record without answers")
    try:
        answers = load_answers(Store(root).look(scored.outputs["answers"].object), f"the answers of '{run}'")
    except Damaged as damaged:
        return Entrant(name, None, reason=f"has no answers here: {damaged}")
    variants = answers.header.variants
    if variant and variant not in variants:
        hint = did_you_mean(variant, variants)
        raise fail("E004", Exit.SPEC, f"'{run}' has no variant '{variant}'", None, hint)
    return Entrant(name, answers, variant, background=scored.facts.get("background"))


def _metrics(entrants: list[Entrant], asked: list[str]) -> list[Metric]:
    if not asked:
        return default_metrics(entrants)
    header = entrants[0].held.header
    try:
        return list(dict.fromkeys(parse_metric(name, header.heads, header.numbers or {}) for name in asked))
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise fail("E708", Exit.SPEC, message, None, hint) from None
