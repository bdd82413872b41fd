"""Inputs of a side of a comparison: from the working tree, from a commit, or by the word of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from hsdc_compiler.cache import InputCache
from hsdc_compiler.git import FAULTS as GIT_FAULTS
from hsdc_compiler.git import Blobs, Entry, Tree, is_plain
from hsdc_compiler.lock import Locker, Reading
from hsdc_schemas.components import Endpoint, PretrainedModel
from hsdc_schemas.digests import digest_file, digest_json
from hsdc_schemas.errors import Exit, HsdcError, fail
from hsdc_schemas.making import Source
from hsdc_schemas.manifest import Input, InputFile, Manifest
from hsdc_schemas.model_files import PATTERNS
from hsdc_schemas.sources import parse_source

OWN, OTHER, UNKNOWN = "the manifest's word", "the other side's word", "unknown"  # whose word an input is
MOST_INPUT = 2 << 30

Words: TypeAlias = Sequence[tuple[Callable[[], Iterable[Manifest]], str]]
"""Manifests that are asked for an input, and whose word it is then."""


class TreeCache(InputCache):
    """What the project knows of rows by digest; files from git are always hashed, and nothing is written down."""

    def known(self, path: Path) -> tuple[str, int] | None:
        return digest_file(path)

    def save(self) -> None:
        return


class SideLocker(Locker):
    """Reads inputs of the working tree where they are and those of a commit from git; takes a manifest's word else.

    `unread` says, per input name and source, whose word it is.
    """

    def __init__(self, root: Path, cache: InputCache, tree: Tree | None, blobs: Blobs | None, words: Words) -> None:
        super().__init__(root, cache, None)
        self.tree, self.blobs, self.words = tree, blobs, words
        self.unread: dict[str, str] = {}

    def comes_to(self, manifest: Manifest) -> bool:
        """Whether this side has the inputs of a manifest, the same ones; the other side's word is not asked for."""
        words, self.words = self.words, [pair for pair in self.words if pair[1] == OWN]
        before = self._done, self._locked, self.unread
        self._done, self._locked, self.unread = self._done.copy(), self._locked.copy(), self.unread.copy()
        found = self.lock(manifest.experiment)
        same = not found.faults and found.inputs == manifest.inputs
        if not same:
            self._done, self._locked, self.unread = before
        self.words = words
        return same

    def _split(self, reading: Reading, split: str, source: str) -> Input:
        try:
            self._bring(source)
            return super()._split(reading, split, source)
        except HsdcError as error:
            if error.exit is not Exit.ENVIRONMENT or error.diagnostics[0].code in GIT_FAULTS:
                raise
            return self._word(f"dataset.{split}", source, "", "")

    def _source(self, name: str, source: Source) -> Input:
        try:
            self._bring(source.source)
            return super()._source(name, source)
        except HsdcError as error:
            if error.exit is not Exit.ENVIRONMENT or error.diagnostics[0].code in GIT_FAULTS:
                raise
            return self._word(f"source.{name}", source.source, source.revision, "")

    def _subset(self, reading: Reading, name: str) -> Input:
        try:
            self._bring(reading.dataset.splits[reading.dataset.subsets[name].split])
            return super()._subset(reading, name)
        except HsdcError as error:
            if error.exit is not Exit.ENVIRONMENT or error.diagnostics[0].code in GIT_FAULTS:
                raise
            return self._word(f"subset.{name}", f"dataset.{reading.dataset.subsets[name].split}", "", "")

    def _model(self, model: PretrainedModel | Endpoint) -> Input:
        if isinstance(model, Endpoint):
            return super()._model(model)
        try:
            self._bring(model.source, (model.gguf,) if model.gguf else PATTERNS)
            return super()._model(model)
        except HsdcError as error:
            if error.exit is not Exit.ENVIRONMENT or error.diagnostics[0].code in GIT_FAULTS:
                raise
            return self._word("model", model.source, model.revision, model.folder)

    def _bring(self, source: str, patterns: tuple[str, ...] = ()) -> None:
        """Write a file of the commit, or those of a folder that match, to where they are looked for."""
        tree, blobs = self.tree, self.blobs
        if tree is None or blobs is None:
            return
        try:
            parsed = parse_source(source)
        except ValueError:
            return
        if parsed.kind != "file":
            raise fail("E403", Exit.ENVIRONMENT, f"'{source}' is not in git")
        path = PurePosixPath(parsed.path).as_posix()
        if not is_plain(path):
            return
        found = tree.find(path)
        wanted: dict[str, Entry | None] = {} if patterns else {path: found}
        if patterns and found is None:
            for name in tree.entries(path.partition("/")[0]):
                inside = name.removeprefix(f"{path}/")
                if inside != name and any(fnmatchcase(inside, pattern) for pattern in patterns) and "/" not in inside:
                    wanted[name] = tree.find(name)
        for name, entry in wanted.items():
            if entry is not None and not (self.root / name).exists():
                blobs.copy(entry, self.root / name, MOST_INPUT)

    def _word(self, name: str, source: str, revision: str, folder: str) -> Input:
        """An input by the word of a manifest that names the same source, of this side or of the other."""
        for manifests, whose in self.words:
            for manifest in manifests():
                for item in manifest.inputs:
                    model = manifest.experiment.model
                    same_folder = name != "model" or (isinstance(model, PretrainedModel) and model.folder == folder)
                    if (item.name, item.source, item.revision) == (name, source, revision) and same_folder:
                        self.unread[f"{name} {source}"] = whose
                        return item
        self.unread[f"{name} {source}"] = UNKNOWN
        digest = digest_json(["not read", source, revision, folder])
        files = (InputFile(path="config.json", digest=digest, bytes=0),)
        return Input(name=name, source=source, revision=revision, digest=digest, files=files)
