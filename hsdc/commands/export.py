"""`hsdc export`: a trained adapter, or the rows of a data run, for other software; pushed to a hub where asked."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hsdc.commands.verify import project_root, require_known
from hsdc.output import inert, say, say_json
from hsdc_runtime.adapters import Exported, export
from hsdc_runtime.rows import export_rows
from hsdc_schemas.digests import short
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.making import DataExperiment
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import manifest_path

if TYPE_CHECKING:
    from hsdc.push import Hub, Pushed


def execute(options: argparse.Namespace) -> int:
    """Write the folder, then push it if asked to."""
    root = project_root(Path.cwd())
    require_known(root, options.profile, options.run)
    path = manifest_path(options.profile, options.run)
    manifest = load_sealed(root / path, path, Manifest)
    to = _hub(options.push) if options.push is not None else None  # before work that may be long
    made = isinstance(manifest.experiment, DataExperiment)
    if made and options.merge:
        message = f"'{manifest.run}' makes rows, and there is no model to merge an adapter into"
        raise fail("E000", Exit.SPEC, message, None, "take --merge out")
    with _folder(options) as folder:
        if made:
            found: Exported | tuple[str, ...] = export_rows(root, manifest, folder)
        else:
            found = export(root, manifest, folder, merge=options.merge, doing=_tell)
        pushed = None
        if to is not None:
            from hsdc.push import push

            _tell(f"pushing to {options.push}")
            told = f"{manifest.run}: manifest {short(manifest.digest)}"
            pushed = push(to, folder, options.push, told, "dataset" if made else "model")
    _show(options, manifest, found, pushed)
    return int(Exit.DONE)


def _hub(repository: str) -> Hub:
    """Whom to push to; HsdcError where the name cannot be one, or nobody is logged in."""
    from hsdc.push import hub, require_name

    require_name(repository)
    return hub()


@contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Path]:
    """The folder that is asked for; where it is only pushed, one that is gone afterwards."""
    if options.to is not None:
        yield Path(options.to)
        return
    if options.push is None:
        message = "'export' has nowhere to write to"
        raise fail("E000", Exit.SPEC, message, None, "name a folder with --to, or a repository with --push")
    with tempfile.TemporaryDirectory(prefix="hsdc-") as scratch:
        yield Path(scratch, options.push.rpartition("/")[2])


def _show(
    options: argparse.Namespace, manifest: Manifest, found: Exported | tuple[str, ...], pushed: Pushed | None
) -> None:
    if options.json:
        told = {"version": 1, "run": manifest.run, "folder": options.to}
        adapter = isinstance(found, Exported)
        what = {"adapter": found.adapter, "merged_difference": found.merged} if adapter else {"files": list(found)}
        say_json({**told, **what, "commit": pushed and pushed.commit, "private": pushed and pushed.private})
        return
    if isinstance(found, Exported):
        kind = "adapter"
        if found.merged is not None:
            kind = f"merged model (logits within {found.merged:.2g} of the adapter's)"
        what = f"{kind} {short(found.adapter)} with its card"
    else:
        what = f"{len(found)} files: {', '.join(found)}"
    lines = [f"written: {inert(options.to)}, {what}"] if options.to is not None else []
    if pushed is not None:
        more = "" if lines else f", {what}"
        lines.append(f"pushed: {options.push} at {pushed.commit}, {'private' if pushed.private else 'public'}{more}")
    say(lines)


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
