"""The declared inputs, hashed again before anything is allocated: what is not what was locked is refused."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hsdc_runtime.store import Damaged, Store
from hsdc_schemas.components import PretrainedModel
from hsdc_schemas.digests import PREFIX, digest_each, digest_file, digest_json, short
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, fail
from hsdc_schemas.harmless import require_harmless
from hsdc_schemas.making import DataExperiment
from hsdc_schemas.manifest import Input, Manifest
from hsdc_schemas.model_files import model_files
from hsdc_schemas.sources import locate_data, locate_endpoint, locate_file, locate_model

MADE = "run:"  # what begins a source that another run makes


@dataclass(frozen=True)
class Read:
    """A file that was hashed: what to call it, the digest that is locked, and its stat before it was read."""

    shown: str
    path: Path
    digest: str
    stamp: tuple[int, ...]


@dataclass(frozen=True)
class Located:
    """Where the inputs are on this machine: a file per split with its digest, and the model's folder or its URL."""

    splits: dict[str, Path]
    digests: dict[str, str]
    model: Path
    read: tuple[Read, ...] = ()
    endpoint: str = ""


def verify_inputs(manifest: Manifest, root: Path) -> Located:
    """Locate and hash every input, and look into the model; what is missing, changed or refused is named at once."""
    faults: list[Diagnostic] = []
    splits: dict[str, Path] = {}
    read: list[Read] = []
    made: dict[str, str] = {}
    model, endpoint = root, ""
    for item in manifest.inputs:
        try:
            spec = manifest.experiment.model
            if item.name == "model" and isinstance(spec, PretrainedModel):
                model = locate_model(root, item.source, item.revision, spec.folder, spec.gguf)
                names = model_files(model, spec.gguf, code=spec.remote_code)
                differ = _compare(item, [(name, model / name) for name in names], read)
                faults += differ
                if not differ:  # a manifest from elsewhere may lock what is not locked here
                    require_harmless(model, names, code=spec.remote_code)
            elif item.source.startswith(MADE):
                name = item.name.removeprefix("dataset.")
                splits[name], made[name] = _made(root, item)
            elif item.name == "model":
                endpoint = locate_endpoint(root, item.source)
            elif item.files:  # a subset has none: it is drawn from a split's
                name = item.name.removeprefix("dataset.").removeprefix("source.")
                path = _located(root, manifest, item, name)
                splits[name] = path
                faults += _compare(item, [(item.files[0].path, path)], read)
        except HsdcError as error:
            faults += error.diagnostics
    if faults:
        raise HsdcError(faults)
    digests = {item.name.removeprefix("dataset."): item.digest for item in manifest.inputs if item.name != "model"}
    return Located(splits, {**digests, **made}, model, tuple(read), endpoint)


def _located(root: Path, manifest: Manifest, item: Input, name: str) -> Path:
    """The file of a split, or of a source of a data run."""
    if not isinstance(manifest.experiment, DataExperiment):
        return locate_file(root, item.source)
    source = manifest.experiment.corpus.sources[name]
    return locate_data(root, source.source, source.revision, source.files)


def _made(root: Path, item: Input) -> tuple[Path, str]:
    """What a data run wrote, by the key of the stage that did; and its digest."""
    run, _, output = item.source.removeprefix(MADE).partition("/")
    store = Store(root)
    action = store.action(item.revision)
    try:
        if action is not None:
            artifact = action.outputs[output]
            return store.take(artifact.object), artifact.object
    except Damaged:
        pass
    message = f"what '{run}' writes is not in the store: {item.source}"
    raise fail("E422", Exit.ENVIRONMENT, message, None, f"hsdc run {run}")


def still_locked(found: Located) -> None:
    """Raises HsdcError, exit 4, where an input changed after it was verified: a stage may have read either."""
    faults = []
    for item in found.read:
        try:
            if _stamp(item.path) == item.stamp or digest_file(item.path)[0] == item.digest:
                continue
        except OSError:
            pass
        faults.append(_fault(f"{item.shown} changed while the run was reading it; nothing of this stage was kept"))
    if faults:
        raise HsdcError(faults)


def _stamp(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def only_locked(found: Located, manifest: Manifest, folder: Path) -> Located:
    """The same with the model as a folder of links, below `folder`, to the files that were verified and no others.

    Libraries read what lies beside them too: an adapter's configuration, or the file that `config.json` names instead.
    """
    if manifest.experiment.model is None:
        return found
    links = {file.path: str((found.model / file.path).resolve()) for file in manifest.input("model").files}
    view = folder / digest_json(links).removeprefix(PREFIX)[:32]
    if not view.is_dir() or {path.name: str(path.resolve()) for path in view.iterdir()} != links:
        shutil.rmtree(view, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
        for name, target in links.items():
            (part / name).symlink_to(target)
        with suppress(OSError):  # another process was faster, with the same links
            part.rename(view)
        shutil.rmtree(part, ignore_errors=True)
    return replace(found, model=view)


def _compare(item: Input, found: Iterable[tuple[str, Path]], read: list[Read]) -> list[Diagnostic]:
    locked = {file.path: file.digest for file in item.files}
    faults, own = [], []
    for name, path in found:
        expected = locked.pop(name, None)
        shown = item.source if item.name != "model" else f"{item.source}: {name}"
        if expected is None:
            faults.append(_fault(f"{shown} was not there when the run was locked ({item.name})"))
        else:
            own.append(Read(shown, path, expected, _stamp(path)))
    digests = digest_each([one.path for one in own], [one.stamp[0] for one in own])
    for one, (digest, _) in zip(own, digests, strict=True):
        read.append(replace(one, shown=f"{one.shown} ({item.name})"))
        if digest != one.digest:
            change = f"{short(one.digest)} → {short(digest)}"
            faults.append(_fault(f"{one.shown} is not what was locked ({item.name}): {change}"))
    return faults + [_fault(f"{item.source}: {name} is gone ({item.name})") for name in locked]


def _fault(message: str) -> Diagnostic:
    hint = "put the locked file back, or lock the new one: hsdc compile"
    return Diagnostic("E415", Exit.ENVIRONMENT, message, None, hint)
