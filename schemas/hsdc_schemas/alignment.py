"""Whether runs answered the same rows, and which rows they have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hsdc_schemas.answers import Answer, Answers, rows_digest
from hsdc_schemas.digests import short
from hsdc_schemas.errors import Diagnostic, Exit


@dataclass(frozen=True)
class Entrant:
    """A run that is compared, by one variant of its answers; without answers, `reason` says what is missing.

    `background` is the group that its bias areas are held against, None standing for all rows outside a group.
    """

    name: str
    answers: Answers | None
    variant: str = ""
    reason: str = ""
    background: str | None = None

    @property
    def held(self) -> Answers:
        """The answers, which are there."""
        if self.answers is None:
            raise ValueError(f"'{self.name}' has no answers: {self.reason}")
        return self.answers


def shared_heads(present: Sequence[Entrant]) -> tuple[str, ...]:
    """The heads of the baseline that every other run with any of its heads has too, with the same labels."""
    first = present[0].held.header.heads
    others = [entrant.held.header.heads for entrant in present[1:]]
    return tuple(
        head
        for head, labels in first.items()
        if all(set(other.get(head, ())) == set(labels) for other in others if set(other) & set(first))
    )


def _right(row: Answer, heads: Sequence[str]) -> dict[str, str | None]:
    return {head: row.gold[head] for head in heads if head in row.gold}


def shared_ids(present: Sequence[Entrant], heads: Sequence[str]) -> tuple[str, ...]:
    """Rows that every run has with the same gold labels, in the baseline's order."""
    kept = {row.id: _right(row, heads) for row in present[0].held.rows}
    for entrant in present[1:]:
        own = {row.id: _right(row, heads) for row in entrant.held.rows}
        kept = {name: gold for name, gold in kept.items() if own.get(name) == gold}
    return tuple(kept)


def digest_of(answers: Answers, heads: Sequence[str], ids: set[str] | None = None) -> str:
    return rows_digest((row.id, _right(row, heads)) for row in answers.rows if ids is None or row.id in ids)


def other_rows(present: Sequence[Entrant], heads: Sequence[str]) -> Iterator[Diagnostic]:
    first = present[0]
    there = digest_of(first.held, heads)
    for entrant in present[1:]:
        here = digest_of(entrant.held, heads)
        if here != there:
            sides = [
                f"'{item.name}' on {len(item.held.rows):,} rows ({_where(item)}, {short(digest)})"
                for item, digest in ((entrant, here), (first, there))
            ]
            message = f"scored on other rows: {' and '.join(sides)}; {_relation(entrant, first, heads)}"
            hint = "score them on the same rows, or say --intersect to compare on the rows that all of them have"
            yield Diagnostic("E820", Exit.POLICY, message, None, hint)


def _where(entrant: Entrant) -> str:
    header = entrant.held.header
    return header.split if header.subset is None else f"{header.split}, {header.subset}"


def _relation(one: Entrant, other: Entrant, heads: Sequence[str]) -> str:
    """How the rows of two runs lie to each other: a part of the whole, in common, or labelled otherwise."""
    sides = [{row.id: _right(row, heads) for row in item.held.rows} for item in (one, other)]
    common = sides[0].keys() & sides[1].keys()
    relabelled = sum(sides[0][name] != sides[1][name] for name in common)
    for small, large, names in ((0, 1, (one, other)), (1, 0, (other, one))):
        if len(common) == len(sides[small]) < len(sides[large]):
            told = f"a part against the whole: the rows of '{names[0].name}' are among those of '{names[1].name}'"
            break
    else:
        told = f"{len(common):,} rows are in both"
    return told + (f"; {relabelled:,} rows in common have another gold label" if relabelled else "")


def said_of_rows(present: Sequence[Entrant], heads: Sequence[str]) -> Iterator[str]:
    """What has to be known of the rows and methods that are compared all the same."""
    first = present[0]
    for entrant in present[1:]:
        if digest_of(entrant.held, heads) != digest_of(first.held, heads):
            yield _relation(entrant, first, heads)
    methods = {entrant.name: entrant.held.header.measurement for entrant in present}
    if len(set(methods.values())) > 1:
        told = ", ".join(f"{name} by {method}" for name, method in methods.items())
        yield f"across methods, so a difference is one of method too: {told}"
