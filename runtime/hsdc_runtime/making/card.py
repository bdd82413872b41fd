"""What is told of a data set: a card for people, in Markdown, and metadata for programs, in Croissant 1.0."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hsdc_runtime.making.tally import FEW, Tally
from hsdc_schemas.digests import PREFIX
from hsdc_schemas.making import About, Source

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
KINDS = {"text": "sc:Text", "number": "sc:Float", "integer": "sc:Integer", "truth": "sc:Boolean", "texts": "sc:Text"}
MEDIA = {"jsonl": "application/jsonlines", "parquet": "application/x-parquet"}


@dataclass(frozen=True)
class File:
    """A file that was written: an output in one split; `fields` are the paths of what a row holds, with
    their types."""

    output: str
    split: str
    format: str
    rows: int
    bytes: int
    digest: str
    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.output}.{self.split}.{self.format}"


@dataclass(frozen=True)
class Told:
    """All that is told of."""

    about: About
    sources: Mapping[str, Source]
    digests: Mapping[str, str]
    accounts: Mapping[str, Mapping[str, Any]]
    tallies: Mapping[str, Tally]
    files: Sequence[File]

    @property
    def license(self) -> str:
        """As the run states it, else that of the sources, if all state theirs: an expression as SPDX writes them."""
        stated = sorted({source.license for source in self.sources.values()})
        return self.about.license or (" AND ".join(stated) if all(stated) else "")


def card(told: Told) -> str:
    """The data card: counts, lengths, shares of values, sources with licences and digests, files."""
    about = told.about
    lines = [f"# {about.name or 'Data set'}", ""]
    lines += [about.description.strip(), ""] if about.description.strip() else []
    lines += [f"Licence: {told.license or 'none stated'}", ""]
    lines += [*_rows(told), *_accounts(told), *_shares(told), *_sources(told), *_files(told)]
    return "\n".join(lines).rstrip() + "\n"


def _rows(told: Told) -> Iterator[str]:
    rows = []
    for split, tally in told.tallies.items():
        found = tally.lengths()
        names = ("least", "lower_quartile", "median", "upper_quartile", "most", "mean")
        rows.append((split, f"{tally.rows:,}", *(f"{found[name]:,}" if found else "–" for name in names)))
    head = ("split", "rows", "fewest characters", "lower quartile", "median", "upper quartile", "most", "mean")
    yield from _table("Rows", head, rows)


def _accounts(told: Told) -> Iterator[str]:
    rows = []
    for name, counts in told.accounts.items():
        rows.append((name, "read", "", f"{counts['read']:,}"))
        rows.append(("", "kept", "", f"{counts['kept']:,}"))
        rows += [("", "filtered", why, f"{count:,}") for why, count in counts["filtered"].items()]
        rows += [("", "rejected", code, f"{count:,}") for code, count in counts["rejected"].items()]
    yield from _table("What became of every record", ("source", "", "why", "records"), rows)


def _shares(told: Told) -> Iterator[str]:
    """Values of columns that have few, with their share of each split."""
    splits = {name: tally.shares() for name, tally in told.tallies.items()}
    columns = sorted({column for shares in splits.values() for column in shares})
    for column in columns:
        values = sorted({value for shares in splits.values() for value in shares.get(column, ())})
        if any(column not in shares for shares in splits.values()) or not 1 < len(values) <= FEW:
            continue
        rows = [(value or "(none)", *(_share(shares[column], value) for shares in splits.values())) for value in values]
        yield from _table(f"Values of `{column}`", (column, *splits), rows)


def _share(counts: Counter[str], value: str) -> str:
    total = counts.total()
    return f"{counts[value]:,} ({100 * counts[value] / total:.1f} %)" if total else "0"


def _sources(told: Told) -> Iterator[str]:
    rows = []
    for name, source in told.sources.items():
        where = f"{source.source} {source.files}".strip()
        where += f" at {source.revision[:12]}" if source.revision else ""
        rows.append((name, where, source.license or "none stated", f"`{told.digests[name]}`"))
    yield from _table("Sources", ("source", "file", "licence", "digest"), rows)


def _files(told: Told) -> Iterator[str]:
    rows = [(file.name, f"{file.rows:,}", f"{file.bytes:,}", f"`{file.digest}`") for file in told.files]
    yield from _table("Files", ("file", "rows", "bytes", "digest"), rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from (f"## {title}", "")
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(text: str) -> str:
    """A text in a table's cell, without a way out of it."""
    return " ".join(text[:200].split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def croissant(told: Told) -> bytes:
    """The metadata: files with their digests, and the fields of their rows. Croissant 1.0, MLCommons 2024."""
    about = told.about
    found: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": about.name or "data set",
        "description": about.description.strip() or "Rows of declared shapes, filtered, split and checked.",
    }
    found |= {name: value for name, value in (("license", told.license), ("url", about.url)) if value}
    found["distribution"] = [
        {
            "@type": "cr:FileObject",
            "@id": file.name,
            "name": file.name,
            "contentUrl": file.name,
            "contentSize": f"{file.bytes} B",
            "encodingFormat": MEDIA[file.format],
            "sha256": file.digest.removeprefix(PREFIX),
        }
        for file in told.files
    ]
    found["recordSet"] = [_records(file) for file in told.files]
    return json.dumps(found, ensure_ascii=False, indent=2).encode() + b"\n"


def _records(file: File) -> dict[str, Any]:
    name = f"{file.output}/{file.split}"
    fields: dict[str, Any] = {}
    for path, kind in file.fields.items():
        column, _, inner = path.partition(".")
        made = {"@type": "cr:Field", "@id": f"{name}/{path.replace('.', '/')}", "name": inner or column}
        source = {"fileObject": {"@id": file.name}, "extract": {"column": column}}
        made |= {"dataType": KINDS[kind], "source": {**source, "transform": {"jsonPath": inner}} if inner else source}
        if not inner:
            fields[column] = {**made, "repeated": True} if kind == "texts" else made
            continue
        above = {"@type": "cr:Field", "@id": f"{name}/{column}", "name": column, "repeated": True, "subField": []}
        fields.setdefault(column, above)["subField"].append(made)
    described = f"{file.rows} rows of the split {file.split}"
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": described, "field": [*fields.values()]}
