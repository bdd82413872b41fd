"""`hsdc sign`: signatures over finished runs, and keys to make them with."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

from hsdc.commands.verify import project_root, require_known
from hsdc.output import inert, say, say_json
from hsdc_schemas.errors import Exit, fail


def execute(options: argparse.Namespace) -> int:
    """Sign runs, or make a pair of keys."""
    if options.new_key is not None:
        if options.runs or options.key is not None:
            raise fail("E000", Exit.SPEC, "--new-key makes keys and signs nothing", None, "see: hsdc sign --help")
        return _new_key(Path(options.new_key), as_json=options.json)
    if not options.runs or options.key is None:
        message = "name the runs to sign and the key to sign with"
        raise fail("E000", Exit.SPEC, message, None, "hsdc sign RUN --key FILE; hsdc sign --new-key FILE makes one")
    signatures = signing("hsdc_runtime.signatures")
    root = project_root(Path.cwd())
    for run in options.runs:
        require_known(root, options.profile, run)
    key = signing("hsdc_runtime.keys").private_key(Path(options.key))
    paths = [signatures.sign(root, options.profile, run, key) for run in options.runs]
    signer = signatures.key_id(key.public_key())
    if options.json:
        signed = [{"run": run, "path": path} for run, path in zip(options.runs, paths, strict=True)]
        say_json({"version": 1, "key": signer, "signed": signed})
    else:
        say([f"signed with {signer[:12]}: {path}" for path in paths])
    return int(Exit.DONE)


def signing(name: str) -> ModuleType:
    """A module that needs the extra; HsdcError (E546) where that is not installed."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        if (error.name or "").startswith("hsdc_"):
            raise
        message = f"signatures need the extra 'sign', and '{(error.name or name).partition('.')[0]}' is not installed"
        raise fail("E546", Exit.ENVIRONMENT, message, None, "pip install 'hsdc[sign]'") from None


def _new_key(path: Path, *, as_json: bool) -> int:
    signer = signing("hsdc_runtime.keys").new_pair(path)
    if as_json:
        say_json({"version": 1, "key": signer, "private": str(path), "public": f"{path}.pub"})
        return int(Exit.DONE)
    shown = inert(str(path))
    say(
        [
            f"written: {shown}, the private key {signer[:12]}, readable by you alone: never commit it",
            f"written: {shown}.pub, for those who trust it: hsdc verify --signed --trust {shown}.pub",
        ]
    )
    return int(Exit.DONE)
