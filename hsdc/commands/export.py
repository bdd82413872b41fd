"""`hsdc export`: a trained adapter for other software, with its card; merged, or pushed to a hub, where asked."""

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
from hsdc_schemas.digests import short
from hsdc_schemas.errors import Exit, fail
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
    with _folder(options) as folder:
        found = export(root, manifest, folder, merge=options.merge, doing=_tell)
        pushed = None
        if to is not None:
            from hsdc.push import push

            _tell(f"pushing to {options.push}")
            pushed = push(to, folder, options.push, f"{manifest.run}: manifest {short(manifest.digest)}")
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


def _show(options: argparse.Namespace, manifest: Manifest, found: Exported, pushed: Pushed | None) -> None:
    if options.json:
        told = {"version": 1, "run": manifest.run, "folder": options.to, "adapter": found.adapter}
        where = {"commit": pushed and pushed.commit, "private": pushed and pushed.private}
        say_json({**told, "merged_difference": found.merged, **where})
        return
    kind = "adapter" if found.merged is None else f"merged model (logits within {found.merged:.2g} of the adapter's)"
    what = f"{kind} {short(found.adapter)} with its card"
    lines = [f"written: {inert(options.to)}, {what}"] if options.to is not None else []
    if pushed is not None:
        more = "" if lines else f", {what}"
        lines.append(f"pushed: {options.push} at {pushed.commit}, {'private' if pushed.private else 'public'}{more}")
    say(lines)


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
