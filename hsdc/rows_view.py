"""What a data run made, as text: what became of every record, the rows of every split, and the files."""

from __future__ import annotations

from collections.abc import Iterator

from hsdc.output import inert
from hsdc.terminal import columns
from hsdc_schemas.digests import PREFIX, short
from hsdc_schemas.record import Record, RowCounts, StageRecord

OBJECTS = ".hsdc/store/objects"
Rows = list[tuple[str, ...]]


def rows(record: Record) -> list[str]:
    """The rows that a run wrote; nothing of a run that writes none."""
    write = next((stage for stage in record.stages if stage.name == "write"), None)
    if write is None:
        return []
    lines = [f"rows of {record.run}", *columns(_accounts(record)), "", *columns(_splits(write))]
    if write.facts.get("shortened"):
        lines.append(f"  of these, {write.facts['shortened']:,} with shorter texts")
    return [*lines, "", *columns(_files(write))]


def _accounts(record: Record) -> Rows:
    """A line for each source, and one for each reason why records of it are not kept."""
    table: Rows = [("  source", "read", "kept", "filtered", "rejected", "why")]
    for name, counts in record.rows.items():
        filtered, rejected = sum(counts.filtered.values()), sum(counts.rejected.values())
        figures = (f"{count:,}" for count in (counts.read, counts.kept, filtered, rejected))
        table.append((f"  {inert(name)}", *figures, ""))
        table += _reasons(counts)
    return table


def _reasons(counts: RowCounts) -> Iterator[tuple[str, ...]]:
    for why, count in counts.filtered.items():
        yield "", "", "", f"{count:,}", "", inert(why)
    for code, count in counts.rejected.items():
        yield "", "", "", "", f"{count:,}", f"{inert(code)} (hsdc explain {inert(code)})"


def _splits(write: StageRecord) -> Rows:
    counts = write.facts.get("rows", {})
    return [("  split", "rows"), *((f"  {inert(name)}", f"{count:,}") for name, count in counts.items())]


def _files(write: StageRecord) -> Rows:
    table: Rows = [("  file", "bytes", "digest", "where")]
    for name, artifact in write.outputs.items():
        digest = artifact.object.removeprefix(PREFIX)
        where = f"{OBJECTS}/{digest[:2]}/{digest[2:]}"
        table.append((f"  {inert(name)}", f"{artifact.bytes:,}", short(artifact.digest), where))
    return table
