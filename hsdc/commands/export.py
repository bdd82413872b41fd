"""`hsdc export`: a trained adapter for other software, with its card; merged, or pushed to a hub, where asked."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hsdc.commands.verify import project_root, require_known
from hsdc.output import inert, say, say_json
from hsdc_runtime.adapters import export
from hsdc_schemas.digests import short
from hsdc_schemas.errors import Exit, fail
from hsdc_schemas.manifest import Manifest, load_sealed
from hsdc_schemas.places import manifest_path


def execute(options: argparse.Namespace) -> int:
    """Write the folder, then push it if asked to."""
    root = project_root(Path.cwd())
    require_known(root, options.profile, options.run)
    path = manifest_path(options.profile, options.run)
    manifest = load_sealed(root / path, path, Manifest)
    if options.push is not None and options.push.count("/") != 1:
        message = f"'{options.push}' is no name of a repository"
        raise fail("E000", Exit.SPEC, message, None, "write it as OWNER/NAME")
    found = export(root, manifest, Path(options.to), merge=options.merge, doing=_tell)
    commit = None
    if options.push is not None:
        from hsdc.push import push

        commit = push(found.folder, options.push, f"{manifest.run}: manifest {short(manifest.digest)}")
    if options.json:
        told = {"version": 1, "run": manifest.run, "folder": str(options.to), "adapter": found.adapter}
        say_json({**told, "merged_difference": found.merged, "commit": commit})
        return int(Exit.DONE)
    kind = "adapter" if found.merged is None else f"merged model (logits within {found.merged:.2g} of the adapter's)"
    lines = [f"written: {inert(str(options.to))}, {kind} {short(found.adapter)} with its card"]
    say([*lines, *([f"pushed: {options.push} at {commit}"] if commit else [])])
    return int(Exit.DONE)


def _tell(what: str) -> None:
    print(what, file=sys.stderr)
