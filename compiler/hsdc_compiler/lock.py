"""Pass 8: every input by its bytes: data sets with rows and labels per split, every file of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hsdc_compiler.cache import InputCache
from hsdc_schemas.components import Endpoint
from hsdc_schemas.digests import digest_files, digest_json
from hsdc_schemas.draws import draw, rows_digest
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError, fail
from hsdc_schemas.factors import essence
from hsdc_schemas.manifest import Input, InputFile
from hsdc_schemas.model_files import model_files
from hsdc_schemas.rows import label_counts, read_rows
from hsdc_schemas.sources import LOCAL_SOURCES, locate_file, locate_model
from hsdc_schemas.spec import Experiment

Fetch = Callable[[str, str], Path]


class Locker:
    """Locks inputs once, however many runs share them."""

    def __init__(self, root: Path, cache: InputCache, fetch: Fetch | None) -> None:
        self.root, self.cache, self.fetch = root, cache, fetch
        self._done: dict[str, Input | HsdcError] = {}
        self._schemas: dict[object, str] = {}
        self._own_sources: bool | None = None

    def lock(self, experiment: Experiment) -> tuple[tuple[Input, ...], list[Diagnostic]]:
        """The inputs that could be read, and the faults of the others."""
        jobs: list[tuple[str, Callable[[], Input]]] = []
        heads = dict(experiment.tasks)
        schema = self._schema(experiment, heads)
        for split in sorted(experiment.splits):
            source = experiment.dataset.splits[split]
            key = f"dataset.{split} {source} {schema}"
            jobs.append((key, lambda split=split, source=source: self._split(experiment, split, source, heads, schema)))  # type: ignore[misc]
        model = experiment.model
        key = f"model {model.url} {model.served}" if isinstance(model, Endpoint) else f"model {essence(model)}"
        jobs.append((key, lambda: self._model(experiment)))
        if (name := experiment.subset) is not None:
            key = f"subset.{name} {experiment.dataset.splits[experiment.dataset.subsets[name].split]} {schema}"
            jobs.append((key, lambda: self._subset(experiment, name, heads, schema)))
        found: list[Input] = []
        faults: list[Diagnostic] = []
        for key, job in jobs:
            result = self._once(key, job)
            if isinstance(result, HsdcError):
                faults += result.diagnostics
            else:
                found.append(result)
        return tuple(found), faults + _same_splits(found)

    def _schema(self, experiment: Experiment, heads: dict[str, tuple[str, tuple[str, ...]]]) -> str:
        """A digest of how rows are read: what their counts depend on beside their bytes."""
        key = (experiment.dataset.model_dump_json(exclude={"splits"}), tuple(heads.items()))
        if key not in self._schemas:
            columns = essence(experiment.dataset.model_copy(update={"splits": {}}))
            self._schemas[key] = digest_json([columns, essence(heads)])
        return self._schemas[key]

    def _once(self, key: str, job: Callable[[], Input]) -> Input | HsdcError:
        if key not in self._done:
            try:
                self._done[key] = job()
            except HsdcError as error:
                self._done[key] = error
        return self._done[key]

    def _split(
        self,
        experiment: Experiment,
        split: str,
        source: str,
        heads: dict[str, tuple[str, tuple[str, ...]]],
        schema: str,
    ) -> Input:
        if source.startswith("local:"):
            self._require_own_sources()
        path = locate_file(self.root, source)
        known = self.cache.known(path)
        facts = self.cache.facts.get(f"{known[0]} {schema}") if known else None
        if known is None or facts is None:
            stat = path.stat()
            read = read_rows(path, source, experiment.dataset, heads)
            if read.rejected:
                raise HsdcError(_rejected(source, read.rejected))
            facts = {"rows": read.kept, "labels": label_counts(read.rows, heads)}
            known = (read.digest, read.bytes)
            self.cache.remember(path, *known, stat)
            self.cache.note(f"{read.digest} {schema}", facts)
        digest, size = known
        files = (InputFile(path=path.name, digest=digest, bytes=size),)
        if split == "train":
            _all_labels(source, facts["labels"], heads)
        return Input(
            name=f"dataset.{split}",
            source=source,
            digest=digest,
            files=files,
            rows=facts["rows"],
            labels=facts["labels"],
        )

    def _subset(
        self, experiment: Experiment, name: str, heads: dict[str, tuple[str, tuple[str, ...]]], schema: str
    ) -> Input:
        """The rows that a subset draws, by a digest of their own."""
        dataset = experiment.dataset
        subset = dataset.subsets[name]
        source = dataset.splits[subset.split]
        path = locate_file(self.root, source)
        digest = self.cache.digest(path)[0]
        known = f"{digest} {schema} {name}"
        if (facts := self.cache.facts.get(known)) is None:
            try:
                rows = draw(read_rows(path, source, dataset, heads).rows, subset)
            except ValueError as error:
                hint = "draw fewer, or from another split"
                raise fail("E420", Exit.NO, f"the subset '{name}' cannot be drawn: {error}", None, hint) from None
            facts = {"digest": rows_digest(rows), "rows": len(rows), "labels": label_counts(rows, heads)}
            self.cache.note(known, facts)
        return Input(
            name=f"subset.{name}",
            source=f"dataset.{subset.split}",
            digest=facts["digest"],
            files=(),
            rows=facts["rows"],
            labels=facts["labels"],
        )

    def _require_own_sources(self) -> None:
        """What lies outside the project is named by who compiles it, not by who wrote the specs."""
        if self._own_sources is None:
            from hsdc_compiler.git import tracked  # subprocess is weight that only local sources need

            self._own_sources = not tracked(self.root, LOCAL_SOURCES)
        if not self._own_sources:
            message = f"{LOCAL_SOURCES} is under version control, so others decide what is read on this machine"
            hint = f"git rm --cached {LOCAL_SOURCES}, and read what it names"
            raise HsdcError([Diagnostic("E419", Exit.SPEC, message, None, hint)])

    def _model(self, experiment: Experiment) -> Input:
        model = experiment.model
        if isinstance(model, Endpoint):
            return Input(
                name="model", source=model.url, revision=model.served, digest=digest_json(essence(model)), files=()
            )
        try:
            folder = locate_model(self.root, model.source, model.revision, model.folder, model.gguf)
            names = model_files(folder, model.gguf, code=model.remote_code)
        except HsdcError as error:
            if self.fetch is None or not model.source.startswith("hf:") or error.exit is not Exit.ENVIRONMENT:
                raise
            folder = self.fetch(model.source.removeprefix("hf:"), model.revision)
            names = model_files(folder, model.gguf, code=model.remote_code)
        found = self.cache.digests([folder / name for name in names])
        pairs = zip(names, found, strict=True)
        files = [InputFile(path=name, digest=digest, bytes=size) for name, (digest, size) in pairs]
        whole = digest_files((file.path, file.digest) for file in files)
        return Input(name="model", source=model.source, revision=model.revision, digest=whole, files=tuple(files))


def _same_splits(found: list[Input]) -> list[Diagnostic]:
    """Two splits with the same bytes: what is trained on would be scored."""
    first: dict[str, Input] = {}
    faults = []
    for item in found:
        other = first.setdefault(item.digest, item)
        if other is not item:
            message = f"{item.name} and {other.name} hold the same rows: {item.source} and {other.source}"
            faults.append(Diagnostic("E418", Exit.NO, message, None, "every split has rows of its own"))
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
