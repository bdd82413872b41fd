"""Pass 8: every input by its bytes: data sets with rows and labels per split, every file of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from hsdc_compiler.cache import InputCache
from hsdc_compiler.node import Node
from hsdc_schemas.components import Dataset, Endpoint, PretrainedModel
from hsdc_schemas.digests import digest_files, digest_json
from hsdc_schemas.draws import draw, rows_digest
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, fail
from hsdc_schemas.factors import essence
from hsdc_schemas.harmless import require_harmless
from hsdc_schemas.making import Source
from hsdc_schemas.manifest import Input, InputFile, Manifest
from hsdc_schemas.model_files import model_files
from hsdc_schemas.modules import module_names
from hsdc_schemas.rows import label_counts, read_rows
from hsdc_schemas.sources import LOCAL_SOURCES, as_written, locate_data, locate_file, locate_model
from hsdc_schemas.spec import Experiment

MADE = "run:"

Fetch = Callable[[str, str, str], Path]


@dataclass(frozen=True)
class Reading:
    """How the rows of a data set are read: its declaration, the labels that are wanted, and a digest of both."""

    dataset: Dataset
    heads: dict[str, tuple[str, tuple[str, ...]]]
    schema: str


class Locked(msgspec.Struct, frozen=True, gc=False):
    """The inputs that could be read, the faults of the others by name, what was looked at, and runs that make them."""

    inputs: tuple[Input, ...]
    faults: list[tuple[str, Diagnostic]]
    paths: tuple[str, ...]
    makers: tuple[str, ...]


class Locker:
    """Locks inputs once, however many runs share them.

    `made` gives the manifest of a data run, for splits that such a run makes.
    """

    def __init__(self, root: Path, cache: InputCache, fetch: Fetch | None) -> None:
        self.root, self.cache, self.fetch = root, cache, fetch
        self.made: Callable[[str], Manifest | None] = lambda _: None
        self._done: dict[str, Input | HsdcError] = {}
        self._paths: dict[str, list[str]] = {}
        self._locked: dict[object, tuple[Experiment, Locked]] = {}
        self._own_sources: bool | None = None

    def lock(self, experiment: Experiment) -> Locked:
        """Every input of an experiment."""
        if experiment.kind == "data":
            return self._lock(experiment)
        parts = (id(experiment.dataset), id(experiment.model), experiment.subset)
        key = (*parts, tuple(experiment.splits), tuple(dict(experiment.tasks).items()))
        if key not in self._locked:  # the experiment is kept, so that the identity of its parts stays their own
            self._locked[key] = experiment, self._lock(experiment)
        return self._locked[key][1]

    def _lock(self, experiment: Experiment) -> Locked:
        found: list[Input] = []
        faults: list[tuple[str, Diagnostic]] = []
        paths: dict[str, None] = {}
        for name, key, job in self._jobs(experiment):
            result = self._once(key, job)
            paths |= dict.fromkeys(self._paths[key])
            if isinstance(result, HsdcError):
                faults += [(name, fault) for fault in result.diagnostics]
            else:
                found.append(result)
        return Locked(tuple(found), faults + _same_splits(found), tuple(sorted(paths)), _makers(experiment))

    def names(self, experiment: Experiment) -> tuple[str, ...]:
        """The inputs that an experiment has."""
        return tuple(name for name, _, _ in self._jobs(experiment))

    def _jobs(self, experiment: Experiment) -> Iterator[tuple[str, str, Callable[[], Input]]]:
        """Each input's name, what it depends on, and how it is locked."""
        if experiment.kind == "data":
            for name, source in sorted(experiment.corpus.sources.items()):
                key = f"source.{name} {source.source} {source.revision} {source.files}"
                yield f"source.{name}", key, partial(self._source, name, source)
        else:
            reading = _reading(experiment.dataset, dict(experiment.tasks))
            for split in sorted(experiment.splits):
                source_of = reading.dataset.splits[split]
                key = f"dataset.{split} {source_of} {reading.schema}"
                yield f"dataset.{split}", key, partial(self._split, reading, split, source_of)
            if (subset := experiment.subset) is not None:
                source_of = reading.dataset.splits[reading.dataset.subsets[subset].split]
                key = f"subset.{subset} {source_of} {reading.schema}"
                yield f"subset.{subset}", key, partial(self._subset, reading, subset)
        if (model := experiment.model) is not None:
            yield "model", f"model {digest_json(essence(model))}", partial(self._model, model)

    def _once(self, key: str, job: Callable[[], Input]) -> Input | HsdcError:
        if key not in self._done:
            around, self.cache.asked = self.cache.asked, []
            try:
                self._done[key] = job()
            except HsdcError as error:
                self._done[key] = error
            self._paths[key], self.cache.asked = sorted(self.cache.asked), around  # whichever was read first
        return self._done[key]

    def _split(self, reading: Reading, split: str, source: str) -> Input:
        if source.startswith(MADE):
            return self._made(split, source)
        if source.startswith("local:"):
            self._require_own_sources()
        path = self._file(source)
        known = self.cache.known(path)
        facts = self.cache.facts.get(f"{known[0]} {reading.schema}") if known else None
        if known is None or facts is None:
            stat = path.stat()
            read = read_rows(path, source, reading.dataset, reading.heads)
            if read.rejected:
                raise HsdcError(_rejected(source, read.rejected))
            facts = {"rows": read.kept, "labels": label_counts(read.rows, reading.heads)}
            known = (read.digest, read.bytes)
            self.cache.remember(path, *known, stat)
            self.cache.note(f"{read.digest} {reading.schema}", facts)
        digest, size = known
        files = (InputFile(path=path.name, digest=digest, bytes=size),)
        if split == "train":
            _all_labels(source, facts["labels"], reading.heads)
        labels = facts["labels"]
        return Input(
            name=f"dataset.{split}", source=source, digest=digest, files=files, rows=facts["rows"], labels=labels
        )

    def _made(self, split: str, source: str) -> Input:
        """A split that a data run makes: it is known by the key of the stage that writes it."""
        run, _, output = source.removeprefix(MADE).partition("/")
        manifest = self.made(run)
        stage = manifest.stages[-1] if manifest is not None else None
        if manifest is None or manifest.experiment.kind != "data" or stage is None or output not in stage.outputs:
            known = ", ".join(name for name in stage.outputs if "." in name) if stage is not None else ""
            hint = f"it makes {known}" if known else "write run:NAME/OUTPUT.SPLIT of a run of kind data"
            raise fail("E421", Exit.SPEC, f"no data run makes '{source}'", None, hint)
        digest = digest_json([stage.key, output])
        return Input(name=f"dataset.{split}", source=source, revision=stage.key, digest=digest, files=())

    def _source(self, name: str, source: Source) -> Input:
        """A file of records by its bytes; what is in it is for the run to say."""
        if source.source.startswith("local:"):
            self._require_own_sources()
        try:
            path = locate_data(self.root, source.source, source.revision, source.files)
        except HsdcError as error:
            if self.fetch is None or not source.source.startswith("hf:") or error.exit is not Exit.ENVIRONMENT:
                raise
            self.fetch(source.source.removeprefix("hf:"), source.revision, source.files)
            path = locate_data(self.root, source.source, source.revision, source.files)
        digest, size = self.cache.digest(path)
        files = (InputFile(path=source.files or path.name, digest=digest, bytes=size),)
        return Input(name=f"source.{name}", source=source.source, revision=source.revision, digest=digest, files=files)

    def _subset(self, reading: Reading, name: str) -> Input:
        """The rows that a subset draws, by a digest of their own."""
        subset = reading.dataset.subsets[name]
        source = reading.dataset.splits[subset.split]
        path = self._file(source)
        known = f"{self.cache.digest(path)[0]} {reading.schema} {name}"
        if (facts := self.cache.facts.get(known)) is None:
            try:
                rows = draw(read_rows(path, source, reading.dataset, reading.heads).rows, subset)
            except ValueError as error:
                hint = "draw fewer, or from another split"
                raise fail("E420", Exit.NO, f"the subset '{name}' cannot be drawn: {error}", None, hint) from None
            facts = {"digest": rows_digest(rows), "rows": len(rows), "labels": label_counts(rows, reading.heads)}
            self.cache.note(known, facts)
        drawn = f"dataset.{subset.split}"
        return Input(name=f"subset.{name}", source=drawn, files=(), **facts)

    def _file(self, source: str) -> Path:
        """Where the file of a source is; that a link leads there may change."""
        found = locate_file(self.root, source)
        if (written := as_written(self.root, source)) != found:
            self.cache.watch(written)
        return found

    def _require_own_sources(self) -> None:
        """What lies outside the project is named by who compiles it, not by who wrote the specs."""
        if self._own_sources is None:
            from hsdc_compiler.git import tracked  # subprocess is weight that only local sources need

            self._own_sources = not tracked(self.root, LOCAL_SOURCES)
        if not self._own_sources:
            message = f"{LOCAL_SOURCES} is under version control, so others decide what is read on this machine"
            hint = f"git rm --cached {LOCAL_SOURCES}, and read what it names"
            raise HsdcError([Diagnostic("E419", Exit.SPEC, message, None, hint)])

    def _model(self, model: PretrainedModel | Endpoint) -> Input:
        place = model.url if isinstance(model, Endpoint) else model.source
        if place.startswith("local:"):
            self._require_own_sources()
        if isinstance(model, Endpoint):
            digest = digest_json(essence(model))
            return Input(name="model", source=model.url, revision=model.served, digest=digest, files=())
        try:
            folder = locate_model(self.root, model.source, model.revision, model.folder, model.gguf)
            names = model_files(folder, model.gguf, code=model.remote_code)
        except HsdcError as error:
            if self.fetch is None or not model.source.startswith("hf:") or error.exit is not Exit.ENVIRONMENT:
                raise
            folder = self.fetch(model.source.removeprefix("hf:"), model.revision, "")
            names = model_files(folder, model.gguf, code=model.remote_code)
        require_harmless(folder, names, code=model.remote_code)
        self.cache.watch(folder)
        if model.source.startswith(("file:", "local:")):
            self.cache.watch(as_written(self.root, model.source))
        found = self.cache.digests([folder / name for name in names])
        pairs = zip(names, found, strict=True)
        files = [InputFile(path=name, digest=digest, bytes=size) for name, (digest, size) in pairs]
        whole = digest_files((file.path, file.digest) for file in files)
        return Input(name="model", source=model.source, revision=model.revision, digest=whole, files=tuple(files))

    def modules(self, experiment: Experiment, inputs: Sequence[Input]) -> tuple[str, ...] | None:
        """Modules of the locked model that hold matrices; None where they cannot be told, or the model is not here."""
        model, locked = experiment.model, next((item for item in inputs if item.name == "model"), None)
        if not isinstance(model, PretrainedModel) or locked is None:
            return None
        known = f"modules {locked.digest}"
        if known not in self.cache.facts:
            try:
                folder = locate_model(self.root, model.source, model.revision, model.folder, model.gguf)
                self.cache.note(known, module_names(folder, [file.path for file in locked.files], model.gguf))
            except (HsdcError, OSError, ValueError):
                return None
        found = self.cache.facts[known]
        return None if found is None else tuple(found)


def _makers(experiment: Experiment) -> tuple[str, ...]:
    """The runs that make rows of an experiment's data set."""
    if experiment.kind == "data":
        return ()
    sources = (experiment.dataset.splits[split] for split in experiment.splits)
    return tuple(source.removeprefix(MADE).partition("/")[0] for source in sources if source.startswith(MADE))


def _reading(dataset: Dataset, heads: dict[str, tuple[str, tuple[str, ...]]]) -> Reading:
    columns = essence(dataset.model_copy(update={"splits": {}}))
    return Reading(dataset, heads, digest_json([columns, essence(heads)]))


def placed(name: str, fault: Diagnostic, tree: Node) -> Diagnostic:
    """A fault of an input, at the line of the spec that names it unless it has a place of its own."""
    kind, _, below = name.partition(".")
    path = {"dataset": ("dataset", "splits", below), "subset": ("dataset", "subsets", below), "model": ("model",)}
    node = tree.nearest(path.get(kind, ("corpus", "sources", below)))
    for key in ("source", "url"):
        node = node.nearest((key,))
    return fault if fault.place is not None else replace(fault, place=node.mark.place())


def _same_splits(found: list[Input]) -> list[tuple[str, Diagnostic]]:
    """Two splits with the same bytes: what is trained on would be scored."""
    first: dict[str, Input] = {}
    faults = []
    for item in found:
        other = first.setdefault(item.digest, item)
        if other is not item:
            message = f"{item.name} and {other.name} hold the same rows: {item.source} and {other.source}"
            hint = "every split has rows of its own"
            faults.append((item.name, Diagnostic("E418", Exit.NO, message, None, hint)))
    return faults


def _rejected(source: str, rejected: tuple[Diagnostic, ...]) -> list[Diagnostic]:
    shown = list(rejected[:20])
    if len(rejected) > len(shown):
        message = f"{len(rejected) - len(shown)} more rows of {source} are rejected"
        shown.append(Diagnostic("E417", Exit.NO, message, None, "mend the file, or the data set's declaration"))
    return shown


def _all_labels(source: str, counts: dict[str, dict[str, int]], heads: dict[str, tuple[str, tuple[str, ...]]]) -> None:
    for head, (_, labels) in heads.items():
        for label in labels:
            if not counts[head].get(label):
                message = f"'{label}', a label of the head '{head}', has no row in {source}"
                raise HsdcError(
                    [Diagnostic("E416", Exit.NO, message, None, "take the label out of the head, or add rows")]
                )
