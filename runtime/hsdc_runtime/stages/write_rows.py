"""Stage `write` of a data run: the rows of every split as each output writes them, a card, and metadata."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from hsdc_runtime.making.card import File, Told, card, croissant
from hsdc_runtime.making.expectations import unexpected
from hsdc_runtime.making.kept import Columns, Layout, batches_of
from hsdc_runtime.making.rendering import Render, rendering
from hsdc_runtime.making.tally import Tally
from hsdc_runtime.making.writers import JsonLines, Parquet
from hsdc_runtime.work import Interrupted, Made, Work
from hsdc_schemas.errors import Diagnostic, Exit, HsdcError
from hsdc_schemas.making import About, ChatOutput, Expect, LengthLimit, PairsOutput, RowsOutput, Source
from hsdc_schemas.prompting import Prompt, Task
from hsdc_schemas.records import shown
from hsdc_schemas.stages import typed

OUTPUTS = {"rows": RowsOutput, "chat": ChatOutput, "pairs": PairsOutput}
FIELDS = {
    "chat": {"messages.role": "text", "messages.content": "text"},
    "pairs": {"prompt": "text", "response": "text"},
}
SHOWN = 10


def write_rows(work: Work) -> Made:
    """`OUTPUT.SPLIT` for each output and split, `card` and `croissant`; HsdcError where the result is not expected."""
    layout = Layout.read(work.needs["read"]["layout"].path)
    counts = json.loads(work.needs["filter"]["counts"].path.read_bytes())
    splits = np.frombuffer(work.needs["filter"]["splits"].path.read_bytes(), dtype=np.uint8)
    with ExitStack() as stack:
        writing = _Writing(work, layout, tuple(counts["names"]), stack)
        number = 0
        for rows in batches_of(work.needs["read"]["rows"].path):
            if work.stop():
                raise Interrupted("stopped while writing rows")
            writing.add(rows, splits[number : number + len(rows)], number)
            number += len(rows)
            work.progress(number, len(splits), {})
        files = writing.close()
    writing.require()
    accounts = _accounts(counts["sources"], layout, writing.dropped, len(splits))
    rows_of = {name: tally.rows for name, tally in writing.tallies.items()}
    told = _told(work, accounts, writing.tallies, files)
    paths = {f"{file.output}.{file.split}": work.folder / file.name for file in files}
    paths |= {"card": work.folder / "card.md", "croissant": work.folder / "croissant.json"}
    paths["card"].write_text(card(told), "utf-8")
    paths["croissant"].write_bytes(croissant(told))
    facts = {"splits": accounts, "rows": rows_of, "shortened": writing.shortened}
    return Made(paths, facts)


def _told(work: Work, accounts: dict[str, Any], tallies: dict[str, Tally], files: Sequence[File]) -> Told:
    sources = {name: typed(Source, declared) for name, declared in work.experiment["corpus"]["sources"].items()}
    digests = {name: work.inputs.digests[f"source.{name}"] for name in sources}
    return Told(typed(About, work.experiment["about"]), sources, digests, accounts, tallies, files)


def _accounts(sources: dict[str, Any], layout: Layout, dropped: Sequence[int], rows: int) -> dict[str, Any]:
    """What became of the records of each source, with the rows that were too long."""
    if not dropped:
        return sources
    gone = Counter(layout.source_of(rows)[list(dropped)].tolist())
    found = {}
    for number, (name, counts) in enumerate(sources.items()):
        too_long = {"too many tokens": gone[number]} if gone[number] else {}
        found[name] = {**counts, "kept": counts["kept"] - gone[number], "filtered": {**counts["filtered"], **too_long}}
    return found


class _Writing:
    """All files at once: a row is in every output, or in none."""

    def __init__(self, work: Work, layout: Layout, names: tuple[str, ...], stack: ExitStack) -> None:
        experiment = work.experiment
        self._layout, self._names = layout, names
        self._id, self._text = layout.names.index(experiment["id"]), layout.names.index(experiment["text"])
        self._text_name = experiment["text"]
        self._expect = [typed(Expect, value) for value in (experiment["expect"], experiment["corpus"]["expect"])]
        prompt = typed(Prompt, experiment["prompt"]) if experiment["prompt"] else None
        task = typed(Task, experiment["task"]) if experiment["task"] else None
        columns = (experiment["id"], experiment["text"])
        self._outputs = {name: typed(OUTPUTS[value["kind"]], value) for name, value in experiment["outputs"].items()}
        self._renders: dict[str, Render] = {
            name: rendering(output, layout.names, columns, prompt, task) for name, output in self._outputs.items()
        }
        self._files = {
            (name, split): self._writer(work, name, split) for name in self._outputs for split in range(len(names))
        }
        for file in self._files.values():
            stack.callback(file.release)  # whatever fails
        always = [column for expect in self._expect for column in (*expect.counts, *expect.shares)]
        always += [task.target] if task is not None else []
        self.tallies = {name: Tally(layout.columns, *columns, tuple(dict.fromkeys(always))) for name in names}
        self.limit = typed(LengthLimit, experiment["length"]) if experiment["length"] else None
        self._tokens = None
        if self.limit is not None:
            from hsdc_runtime.making.lengths import Tokens  # a tokenizer's libraries, where one counts

            kinds = {output.kind for output in self._outputs.values()}
            self._tokens = stack.enter_context(Tokens(work, chat="chat" in kinds))
            told = [name for name, output in self._outputs.items() if output.kind != "rows"]
            self._limited = told or list(self._outputs)
        self.dropped: list[int] = []
        self.shortened = 0
        self._faults: list[Diagnostic] = []
        self._too_long = 0

    def _writer(self, work: Work, name: str, split: int) -> JsonLines | Parquet:
        output = self._outputs[name]
        path = work.folder / f"{name}.{self._names[split]}.{_format(output)}"
        if _format(output) == "parquet":
            return Parquet(path, self._layout.columns)
        return JsonLines(path, self._layout.names)

    def add(self, rows: list[Columns], splits: np.ndarray, start: int) -> None:
        """Write some rows, the first of which is number `start`."""
        for split, name in enumerate(self._names):
            places = np.flatnonzero(splits == split).tolist()
            kept = rows if len(places) == len(rows) else [rows[at] for at in places]
            if self._tokens is not None and kept:
                kept = self._fit(kept, [start + at for at in places])
            if not kept:
                continue
            self.tallies[name].add(kept)
            for output, render in self._renders.items():
                file = self._files[output, split]
                if isinstance(file, Parquet) or self._outputs[output].kind == "rows":
                    file.add(kept)
                else:
                    file.add_objects([render(row) for row in kept])

    def _fit(self, rows: list[Columns], numbers: list[int]) -> list[Columns]:
        """The rows that no output makes too long, as they are or with shorter texts."""
        assert self.limit is not None
        found = []
        for row, number, over in zip(rows, numbers, self._over(rows), strict=True):
            if over <= 0:
                found.append(row)
            elif self.limit.over == "truncate" and (short := self._shorter(row)) is not None:
                found.append(short)
                self.shortened += 1
            elif self.limit.over == "drop":
                self.dropped.append(number)
            else:
                self._long(row, over)
        return found

    def _over(self, rows: Sequence[Columns]) -> list[int]:
        """How many tokens each row is over the limit, in the output where it is longest."""
        assert self.limit is not None
        assert self._tokens is not None
        longest = np.zeros(len(rows), dtype=np.int64)
        ids = [row[self._id] for row in rows]
        for name in self._limited:
            records = [self._renders[name](row) for row in rows]
            found = self._tokens.of(self._outputs[name].kind, records, ids, self._text_name)
            longest = np.maximum(longest, found)
        return (longest - self.limit.maximum).tolist()

    def _shorter(self, row: Columns) -> Columns | None:
        from hsdc_runtime.making.lengths import shortened

        assert self._tokens is not None
        return shortened(row, self._text, lambda one: self._over([one])[0], self._tokens.without_last)

    def _long(self, row: Columns, over: int) -> None:
        assert self.limit is not None
        self._too_long += 1
        if self._too_long <= SHOWN:
            most = self.limit.maximum
            what = f"row {shown(row[self._id])} has {most + over:,} tokens when it is written, at most {most:,} may be"
            if self.limit.over == "truncate":
                what += ", and a shorter text does not help"
            hint = "raise 'length.maximum', or write 'over: truncate' or 'over: drop'"
            self._faults.append(Diagnostic("E631", Exit.NO, what, None, hint))

    def require(self) -> None:
        """HsdcError where rows are too long, or the result is not what is expected."""
        faults = self._faults
        if self._too_long > SHOWN:
            faults.append(Diagnostic("E631", Exit.NO, f"{self._too_long:,} rows in all are too long"))
        values: dict[str, Counter[str]] = {}
        for tally in self.tallies.values():
            for column, counts in tally.shares().items():
                values.setdefault(column, Counter()).update(counts)
        rows = {name: tally.rows for name, tally in self.tallies.items()}
        faults += unexpected(self._expect, rows, values)
        if faults:
            raise HsdcError(faults)

    def close(self) -> list[File]:
        """The files, whole."""
        found = []
        for (output, split), file in self._files.items():
            digest, declared = file.close(), self._outputs[output]
            fields = FIELDS.get(declared.kind, self._layout.columns)
            size = file.path.stat().st_size
            found.append(File(output, self._names[split], _format(declared), file.rows, size, digest, fields))
        return found


def _format(output: RowsOutput | ChatOutput | PairsOutput) -> str:
    return output.format if isinstance(output, RowsOutput) else "jsonl"
