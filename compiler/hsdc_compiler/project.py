"""The project on disk: its root, its spec files, and the documents in them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from hsdc_compiler.merge import Report, merge
from hsdc_compiler.node import Node
from hsdc_compiler.node import Path as Path_
from hsdc_compiler.parse import parse
from hsdc_compiler.stamp import LOCAL, Seen, read, seen
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, Place, did_you_mean, fail
from hsdc_schemas.manifest import Matrix
from hsdc_schemas.spec import SLOTS

SPECS = "specs"
SUFFIX = ".yaml"
OTHER_SUFFIX = ".yml"
FOLDERS = frozenset((*(folder for folder, _ in SLOTS.values()), "profiles", "reported"))
LOCK = "locks/runtime.txt"
MAX_GENERATIONS = 16
COMPONENT_HEADERS = ("hsdc", "extends", "title", "notes", "change")
HEADERS = ("hsdc", "run", "title", "notes", "extends", "budget", "why", "restore", "change", "matrix", "reproduces")


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds `specs/`."""
    for folder in (start, *start.parents):
        if (folder / SPECS).is_dir():
            return folder
    raise fail(
        "E001",
        Exit.SPEC,
        f"no folder '{SPECS}' here or above",
        None,
        "run hsdc inside a project, or make one: hsdc init",
    )


@dataclass(frozen=True)
class Document:
    """A parsed spec file: its name, its path relative to the root, its tree.

    One that a matrix made knows its place in it, and which of its paths are free of the budget.
    """

    name: str
    path: str
    node: Node
    matrix: Matrix | None = None
    free: tuple[Path_, ...] = ()

    @cached_property
    def body(self) -> Node:
        """A component's values: all but its header."""
        entries = {key: item for key, item in self.node.value.items() if key != "hsdc" and key not in SLOTS}
        return self.node._replace(value=entries, op="use")


class Project:
    """Reads files once, lazily; a path that leads out of the root through a link is refused.

    `overlay` holds files, by path, that count as if they were on disk.
    """

    def __init__(self, root: Path, overlay: Mapping[str, bytes] | None = None) -> None:
        self.root = root
        self.overlay = overlay or {}
        self._documents: dict[str, Document] = {}
        self._bodies: dict[str, Document] = {}  # of components that extend another, by path
        self.warnings: list[Diagnostic] = []  # about them
        self.seen: dict[str, Seen] = {path: seen(str(root), path) for path in LOCAL}
        self._plain: set[str] = set()  # regular files that no link leads to
        self.strays: dict[str, str] = {}  # what looks like a spec and is read by nobody, with the way out
        self.may_refer = False  # whether what was read may hold a `$ref`, plain or with an escape in it

    @cached_property
    def runs(self) -> Mapping[str, str]:
        """Run names and the paths of their specs."""
        return self._listing(SPECS)

    @cached_property
    def _laid(self) -> Mapping[str, Mapping[str, str]]:
        """The paths of the overlay's specs, by folder and name."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for path in sorted(self.overlay):
            folder, _, name = path.rpartition("/")
            if name.endswith(SUFFIX):
                found[folder][name] = path
        return found

    def _listing(self, folder: str) -> dict[str, str]:
        laid = self._laid.get(folder, {})
        try:
            entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            entries = []
        for name in (*laid, *(entry.name for entry in entries)):
            if not name.isprintable() and name.endswith(SUFFIX):
                message = f"{folder} holds a file with an unreadable name: {name!a}"
                raise fail("E003", Exit.SPEC, message, Place(folder, 1), "rename it")
        found = {name.removesuffix(SUFFIX): path for name, path in laid.items()}
        for entry in entries:
            path = f"{folder}/{entry.name}"
            self._note_stray(folder, entry)
            if entry.name.endswith(SUFFIX) and not entry.is_dir(follow_symlinks=False):
                found[entry.name.removesuffix(SUFFIX)] = path
                if entry.is_file(follow_symlinks=False) and not self._linked(folder):
                    self._plain.add(path)
        return dict(sorted(found.items()))

    def _note_stray(self, folder: str, entry: os.DirEntry[str]) -> None:
        path = f"{folder}/{entry.name}"
        if entry.name.endswith(OTHER_SUFFIX):
            self._warn_of(path, f"rename it: {path.removesuffix(OTHER_SUFFIX)}{SUFFIX}")
        elif folder == SPECS and "." not in entry.name and entry.name not in FOLDERS and entry.is_dir():
            for below in os.scandir(entry):
                if below.name.endswith((SUFFIX, OTHER_SUFFIX)):
                    self._warn_of(f"{path}/{below.name}", f"runs are at the top of {SPECS}: move it there")

    def _warn_of(self, path: str, hint: str) -> None:
        self.strays[path] = hint
        self.warnings.append(Diagnostic("W013", Exit.SPEC, f"{path} is not read", None, hint, severity="warning"))

    @cache  # noqa: B019 - a project lives as long as one compilation
    def _linked(self, folder: str) -> bool:
        return (self.root / folder).resolve() != self.root.resolve() / folder

    @cache  # noqa: B019 - a project lives as long as one compilation
    def names(self, folder: str) -> tuple[str, ...]:
        """Names of the components in `specs/<folder>`."""
        return tuple(self._listing(f"{SPECS}/{folder}"))

    def run(self, name: str) -> Document:
        """The spec of a run."""
        return self._document(self.runs[name], "run", name)

    def component(self, slot: str, name: str, wanted_at: Place | None) -> Document:
        """The component of a slot; unknown names are a fault at the place that asks for it."""
        folder = SLOTS[slot][0]
        known = self.names(folder)
        if name not in known:
            message = f"there is no {slot} component '{name}' in {SPECS}/{folder}"
            raise fail("E303", Exit.SPEC, message, wanted_at, did_you_mean(name, known))
        return self._derived(slot, self._document(f"{SPECS}/{folder}/{name}.yaml", slot, name), (name,))

    def _derived(self, slot: str, document: Document, trail: tuple[str, ...]) -> Document:
        """A component with what it changes laid over the component that it extends."""
        extends = document.node.value.get("extends")
        if extends is None:
            return document
        if document.path not in self._bodies:
            place, known = extends.mark.place(), self.names(SLOTS[slot][0])
            if extends.value not in known:
                raise fail(
                    "E303", Exit.SPEC, f"there is no {slot} '{extends.plain()}'", place, _nearest(extends, known)
                )
            if extends.value in trail:
                way = " → ".join((*trail[trail.index(extends.value) :], extends.value))
                raise fail("E305", Exit.SPEC, f"the components extend each other in a circle: {way}", place)
            if len(trail) >= MAX_GENERATIONS:
                message = f"'{trail[0]}' has more than {MAX_GENERATIONS} generations"
                raise fail("E306", Exit.SPEC, message, place, "write a component without 'extends' that holds it all")
            parent = self._document(f"{SPECS}/{SLOTS[slot][0]}/{extends.value}.yaml", slot, extends.value)
            base = self._derived(slot, parent, (*trail, extends.value))
            self._bodies[document.path] = _changed(document, base, self.warnings.append)
        return self._bodies[document.path]

    @cache  # noqa: B019 - a project lives as long as one compilation
    def paths(self, slot: str, name: str) -> tuple[str, ...]:
        """The files of a component that was read: its own, and those of the components that it extends."""
        path = f"{SPECS}/{SLOTS[slot][0]}/{name}{SUFFIX}"
        extends = self._documents[path].node.value.get("extends")
        return (path, *(self.paths(slot, extends.value) if extends is not None else ()))

    def profile(self, name: str) -> Document:
        """A profile."""
        known = self.names("profiles")
        if name not in known:
            raise fail("E002", Exit.SPEC, f"there is no profile '{name}'", None, did_you_mean(name, known))
        return self._document(f"{SPECS}/profiles/{name}.yaml", "profile", name)

    def _document(self, path: str, kind: str, name: str) -> Document:
        if path not in self._documents:
            data = self.read(path)
            node = parse(path, data)
            self.may_refer |= b"$ref" in data or b"\\" in data
            _check_header(node, path, kind, name)
            self._documents[path] = Document(name, path, node)
        return self._documents[path]

    def read(self, path: str) -> bytes:
        """The bytes of a file of the project, which must be a regular file inside the root."""
        if path in self.overlay:
            return self.overlay[path]
        if path in self._plain:
            data, self.seen[path] = read(f"{self.root}/{path}")
            return data
        full = self.root / path
        real = Path(os.path.realpath(full))
        if not real.is_relative_to(os.path.realpath(self.root)):
            raise fail("E003", Exit.SPEC, f"{path} is a link that leads out of the project", Place(path, 1))
        if not real.is_file():
            raise fail("E003", Exit.SPEC, f"{path} is not a regular file", Place(path, 1))
        data, self.seen[path] = read(str(real))
        return data


def _nearest(node: Node, known: tuple[str, ...]) -> str:
    return did_you_mean(str(node.value), known)


def _changed(document: Document, base: Document, warn: Report) -> Document:
    """A component that extends another: its base's values with its changes merged in."""
    entries = document.node.value
    faults: list[Diagnostic] = []
    for key, item in entries.items():
        if key not in (*COMPONENT_HEADERS, *SLOTS):
            hint = f"move '{key}' under 'change'"
            message = f"a derived component holds its changes under 'change', not '{key}'"
            faults.append(Diagnostic("E307", Exit.SPEC, message, item.key.place(), hint))
    change = entries.get("change")
    body = base.body
    if change is not None and not (change.is_mapping and not any(key.startswith("$") for key in change.value)):
        faults.append(Diagnostic("E307", Exit.SPEC, "'change' is a mapping of fields", change.mark.place()))
    elif change is not None and change.value:
        body = merge(body, change, faults.append)
    else:
        message = f"'{document.name}' is what '{base.name}' is: it changes nothing"
        hint = f"use '{base.name}' itself, or write what differs under 'change'"
        faults.append(Diagnostic("W315", Exit.SPEC, message, entries["extends"].mark.place(), hint, (), "warning"))
    if any(fault.severity == "error" for fault in faults):
        raise HsdcError(faults)
    for fault in faults:
        warn(fault)
    prose = {key: entries[key] for key in ("title", "notes") if key in entries}
    return replace(document, node=body._replace(value={**body.value, **prose}))


def spec_of(run: str) -> str:
    """The name of the spec that declares a run; those of a matrix share one."""
    return run.partition(".")[0]


def _check_header(node: Node, path: str, kind: str, name: str) -> None:
    faults = []
    if not node.is_mapping:
        raise fail(
            "E301",
            Exit.SPEC,
            f"a {kind} spec is a mapping",
            node.mark.place(),
            f"start with 'hsdc: 1' and '{kind}: {name}'",
        )
    version = node.value.get("hsdc")
    if version is None:
        faults.append(
            Diagnostic("E301", Exit.SPEC, "'hsdc: 1' is missing", node.mark.place(), "add it as the first line")
        )
    elif version.value != 1 or type(version.value) is not int:
        faults.append(
            Diagnostic("E301", Exit.SPEC, "this hsdc reads language version 1", version.mark.place(), "write 'hsdc: 1'")
        )
    named = node.value.get(kind)
    if named is None:
        faults.append(
            Diagnostic("E301", Exit.SPEC, f"'{kind}: {name}' is missing", node.mark.place(), "a spec says its own name")
        )
    elif named.value != name:
        hint = f"the file's name decides: write '{kind}: {name}', or rename the file"
        faults.append(
            Diagnostic("E302", Exit.SPEC, f"the file {path} holds '{kind}: {named.value}'", named.mark.place(), hint)
        )
    if faults:
        raise HsdcError(faults)


def locked_packages(project: Project) -> dict[str, str]:
    """Exact versions from the committed lock of the runtime."""
    if LOCK not in project.overlay and not (project.root / LOCK).exists():
        return {}
    packages = {}
    for line in project.read(LOCK).decode(errors="replace").splitlines():
        name, pinned, version = line.split("#")[0].strip().partition("==")
        if pinned:
            packages[name.strip().lower().replace("_", "-")] = version.split(";")[0].strip()
    if not packages:
        raise fail("E005", Exit.SPEC, f"{LOCK} pins nothing", None, "write lines of the form name==version")
    return packages
