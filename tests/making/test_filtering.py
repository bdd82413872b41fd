"""Which rows are kept and in which split: every rule against the same said plainly."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsdc_runtime.making.assign import beyond, drawn, leaks, ranks
from hsdc_runtime.making.filters import passing
from hsdc_runtime.making.kept import DROPPED
from hsdc_runtime.making.likeness import keys
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.making import AtLeast, Distinct, Leakage, Length, NotSimilar, OneOf
from tests.making.bench import Bench, row, write

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.lists(st.sampled_from(list("abcdef")), min_size=0, max_size=9).map(" ".join)
VALUES = st.lists(st.one_of(st.none(), st.sampled_from(["", "A", "a ", "ä", "a\u0308", "bb", "ccc", "ﬁ", "FI"])))


def plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def jaccard(one: str, other: str, size: int = 3) -> float:
    sets = []
    for text in (one, other):
        words = plain(text).split()
        sets.append({tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@QUICK
@given(VALUES, st.integers(0, 3))
def test_filters_by_value(values: list[str | None], cut: int) -> None:
    """In pieces, as rows come."""

    def verdicts(rule: Any) -> list[bool]:
        passes = passing(rule)
        return [*passes(values[:cut]), *passes(values[cut:])]

    length = Length(kind="length", column="x", minimum=1, maximum=2)
    assert verdicts(length) == [value is not None and 1 <= len(value) <= 2 for value in values]
    assert verdicts(OneOf(kind="one_of", column="x", values=("A", "bb"))) == [value in ("A", "bb") for value in values]
    seen = [None if value is None else plain(value) for value in values]
    wanted = [text is None or text not in seen[:at] for at, text in enumerate(seen)]
    assert verdicts(Distinct(kind="distinct", column="x")) == wanted


def test_numbers_and_truths_as_specs_write_them() -> None:
    assert passing(AtLeast(kind="at_least", column="x", minimum=0.82))([0.82, 0.8199, None, 1]) == [
        True,
        False,
        False,
        True,
    ]
    assert passing(OneOf(kind="one_of", column="x", values=("true", "3")))([True, False, 3, None]) == [
        True,
        False,
        True,
        False,
    ]


@QUICK
@given(st.lists(WORDS, max_size=25), st.sampled_from([0.5, 0.6, 0.8, 0.9]), st.integers(0, 9))
def test_nearly_the_same_as_all_pairs_tell(texts: list[str], least: float, cut: int) -> None:
    passes = passing(NotSimilar(kind="not_similar", column="x", similarity=least))
    found = [*passes(texts[:cut]), *passes(texts[cut:])]
    for at, text in enumerate(texts):
        likeness = max((jaccard(text, other) for other in texts[:at]), default=0.0)
        assert found[at] or likeness >= least  # never without a reason
        if likeness >= 0.8:  # where a miss has a chance of 1e-7
            assert found[at] == (likeness < least)


ALIKE = """
from hsdc_runtime.making.assign import ranks
from hsdc_runtime.making.likeness import Near
texts = [f"{'word ' * (n % 7)} {n % 5} {'more ' * (n % 3)} {n % 11}" for n in range(200)]
print(Near(0.5).add(texts), ranks(1, texts).tolist())
"""


def test_likeness_and_draws_are_the_same_in_every_process() -> None:
    found = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        found.add(
            subprocess.run([sys.executable, "-c", ALIKE], env=environment, capture_output=True, check=True).stdout
        )
    (said,) = found
    assert said.count(b"None") > 50


@QUICK
@given(
    st.lists(st.sampled_from("ab"), min_size=1, max_size=60),
    st.sampled_from([(0.8, 0.2), (0.7, 0.2, 0.1), (0.5, 0.25, 0.25)]),
)
def test_draws_keep_the_shares_of_every_stratum(strata: list[str], shares: tuple[float, ...]) -> None:
    codes = np.array([ord(name) for name in strata])
    order = ranks(1, [str(number) for number in range(len(strata))])
    found = drawn(shares, order, codes, None)
    for name in set(strata):
        members = found[codes == ord(name)]
        for split, share in enumerate(shares):
            assert abs(int((members == split).sum()) - share * len(members)) <= 1
    turned = drawn(shares, order[::-1], codes[::-1], None)
    assert (turned[::-1] == found).all()  # whatever the order of the rows


@QUICK
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ab")), min_size=1, max_size=80))
def test_no_group_straddles(rows: list[tuple[int, str]]) -> None:
    units, strata = np.array([unit for unit, _ in rows]), np.array([ord(name) for _, name in rows])
    order = ranks(3, [str(unit) for unit, _ in rows])
    shares = (0.6, 0.2, 0.2)
    found = drawn(shares, order, strata, units)
    for unit in set(units.tolist()):
        assert len(set(found[units == unit].tolist())) == 1
    largest, counts = max(Counter(units.tolist()).values()), Counter(found.tolist())
    for split, share in enumerate(shares):
        assert abs(counts[split] - share * len(rows)) <= 2 * largest + 1  # two strata, each as near as units allow


@QUICK
@given(
    st.lists(st.tuples(WORDS, st.sampled_from([0, 1, 2, DROPPED])), max_size=25),
    st.sampled_from(["raise", "drop", "allow"]),
    st.sampled_from(["drop", "allow"]),
)
def test_leaks_as_all_pairs_tell(rows: list[tuple[str, int]], exact: str, similar: str) -> None:
    texts, splits = [text for text, _ in rows], np.array([split for _, split in rows], dtype=np.uint8)
    leakage = Leakage.model_validate({"exact": exact, "similar": similar, "similarity": 0.8})
    same, near = leaks(leakage, np.array(keys(texts), dtype=np.int64), texts, splits)
    later = [[at for at, (_, split) in enumerate(rows) if rows[me][1] < split < DROPPED] for me in range(len(rows))]
    wanted = [
        exact != "allow" and any(plain(texts[at]) == plain(texts[me]) for at in later[me]) for me in range(len(rows))
    ]
    assert (same >= 0).tolist() == wanted
    for me in range(len(rows)):
        left = [at for at in later[me] if not wanted[at]] if not wanted[me] else []
        alike = [at for at in left if similar != "allow" and jaccard(texts[me], texts[at]) >= 0.8]
        assert near[me] in (alike or [-1])
        twins = [at for at in later[me] if plain(texts[at]) == plain(texts[me])]
        assert same[me] in (twins if wanted[me] else [-1])


@QUICK
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1, DROPPED])), max_size=40), st.integers(1, 12))
def test_a_sample_is_no_larger_and_in_proportion(rows: list[tuple[str, int]], most: int) -> None:
    strata, splits = np.array([ord(name) for name, _ in rows]), np.array([split for _, split in rows], dtype=np.uint8)
    out = beyond(most, ranks(2, [str(number) for number in range(len(rows))]), strata, splits)
    assert not out[splits == DROPPED].any()
    for split in (0, 1):
        inside, kept = splits == split, (splits == split) & ~out
        assert kept.sum() == min(most, inside.sum())
        for name in "abc":
            share = min(1.0, most / max(1, inside.sum())) * (inside & (strata == ord(name))).sum()
            assert abs((kept & (strata == ord(name))).sum() - share) < 1


def given_splits(**more: Any) -> dict[str, Any]:
    shape = {
        "fields": {"id": {}, "text": {}, "split": {}},
        "columns": {"id": "id", "text": "text", "split": "split"},
    }
    names = ("train", "val")
    sources = {
        name: {"source": f"file:{name}.jsonl", "format": "jsonl", "shapes": ["post"], "split": split}
        for name, split in zip(names, ("train", "validation"), strict=True)
    }
    splits = {"kind": "given", "names": {"train": "train", "val": "validation"}, **more}
    return {"shapes": {"post": shape}, "sources": sources, "splits": splits}


def posts(folder: Path, **splits: list[str]) -> None:
    for name, found in splits.items():
        write(
            folder, [{"id": f"{name}{n}", "text": f"t {n}", "split": s} for n, s in enumerate(found)], f"{name}.jsonl"
        )


def test_rows_stay_in_the_split_that_they_name(tmp_path: Path) -> None:
    posts(tmp_path, train=["train", "val", "train", "test"], val=["val", "train"])
    made = Bench(tmp_path, given_splits()).run()
    assert made["write"].facts["splits"] == {
        "train": {"read": 4, "kept": 2, "filtered": {"another split": 2}, "rejected": {}},
        "val": {"read": 2, "kept": 1, "filtered": {"another split": 1}, "rejected": {}},
    }
    assert made["write"].facts["rows"] == {"train": 2, "validation": 1}


def test_a_source_without_its_own_split_is_an_error_unless_all_of_it_is_used(tmp_path: Path) -> None:
    posts(tmp_path, train=["train"], val=["dev", "dev", "test"])
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, given_splits()).run()
    (fault,) = caught.value.diagnostics
    assert fault.code == "E618"
    assert fault.message == (
        "no row of 'val' is of its split 'validation'; its column 'split' holds 'dev' (2), 'test' (1)"
    )
    made = Bench(tmp_path, given_splits(on_missing="use_all")).run()
    assert made["write"].facts["rows"] == {"train": 1, "validation": 3}
    asked = given_splits(on_missing="use_all")
    for source in asked["sources"].values():
        del source["split"]
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, asked).run()
    (fault,) = caught.value.diagnostics
    assert fault.message == (
        "no row of 'val' is of a split that is made; its column 'split' holds 'dev' (2), 'test' (1)"
    )


def test_a_text_in_two_splits_is_told_or_dropped(tmp_path: Path) -> None:
    write(tmp_path, [row(1, text="One  two three four five"), row(2, text="another text of words")], "train.jsonl")
    write(tmp_path, [row(3, text="one two THREE four five")], "test.jsonl")
    sources = {
        name: {"source": f"file:{name}.jsonl", "format": "jsonl", "shapes": ["plain"], "split": name}
        for name in ("test", "train")
    }
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, {"sources": sources, "leakage": {}}).run()
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.message) == (
        "E617",
        "the text of row 'r1' in 'train' is that of row 'r3' in 'test': 'One  two three four five'",
    )
    made = Bench(tmp_path, {"sources": sources, "leakage": {"exact": "drop"}}).run()["write"]
    assert made.facts["rows"] == {"train": 1, "test": 1}
    assert made.facts["splits"]["train"]["filtered"] == {"text in a later split": 1}


@QUICK
@given(
    st.lists(
        st.tuples(st.text("abc ", min_size=1, max_size=4), st.sampled_from([0.1, 0.5, 0.9])), min_size=1, max_size=40
    ),
    st.sampled_from(["drawn", "source"]),
    st.one_of(st.none(), st.integers(1, 5)),
)
def test_every_record_is_accounted_for(
    tmp_path: Path, found: list[tuple[str, float]], kind: str, most: int | None
) -> None:
    rows = [row(n, text=text, score=score) for n, (text, score) in enumerate(found)]
    half = len(rows) // 2 or 1
    write(tmp_path, rows[:half], "a.jsonl")
    write(tmp_path, [*rows[half:], {"id": "odd"}], "b.jsonl")
    sources = {
        name: {"source": f"file:{name}.jsonl", "format": "jsonl", "shapes": ["plain"], "split": name} for name in "ab"
    }
    splits = {"kind": "drawn", "shares": {"a": 0.5, "b": 0.5}} if kind == "drawn" else {"kind": "source"}
    filters = [
        {"kind": "at_least", "column": "score", "minimum": 0.5},
        {"kind": "distinct", "column": "text"},
        {"kind": "not_similar", "column": "text"},
    ]
    sample = {"rows": most, "stratify": "label"} if most else None
    leakage = {"exact": "drop", "similar": "drop"}
    rejects = {"E612": 1, "E605": 40}
    asked = {"sources": sources, "splits": splits, "filters": filters, "sample": sample, "leakage": leakage}
    expect = {"rows": {"a": {"minimum": 0}, "b": {"minimum": 0}}}
    made = Bench(tmp_path, {**asked, "rejects": rejects, "expect": expect}).run()["write"]
    for name, records in (("a", half), ("b", len(rows) - half + 1)):
        counts = made.facts["splits"][name]
        assert counts["read"] == records
        assert records == counts["kept"] + sum(counts["filtered"].values()) + sum(counts["rejected"].values())
    written = {split: len(made.files[f"rows.{split}"].read_text().splitlines()) for split in "ab"}
    assert written == made.facts["rows"]
    assert sum(written.values()) == sum(counts["kept"] for counts in made.facts["splits"].values())


def test_null_is_no_text_that_leaks(tmp_path: Path) -> None:
    shape = {
        "fields": {"id": {}, "text": {}, "thread": {"nullable": True}},
        "columns": {"id": "id", "text": "text", "thread": "thread"},
    }
    sources = {
        name: {"source": f"file:{name}.jsonl", "format": "jsonl", "shapes": ["post"], "split": name}
        for name in ("test", "train")
    }
    for name in sources:
        threads = [None, None, "one", f"{name} two"]
        write(
            tmp_path, [{"id": f"{name}{n}", "text": "t", "thread": t} for n, t in enumerate(threads)], f"{name}.jsonl"
        )
    leakage = {"column": "thread", "exact": "drop", "similar": "drop"}
    made = Bench(tmp_path, {"shapes": {"post": shape}, "sources": sources, "leakage": leakage}).run()["write"]
    assert made.facts["splits"]["train"]["filtered"] == {"thread in a later split": 1}


def test_what_is_expected_is_held_against_what_is(tmp_path: Path) -> None:
    write(tmp_path, [row(1), row(2, label="hate"), row(3)])
    expect = {
        "rows": {"all": {"minimum": 4, "maximum": 4}},
        "counts": {"label": {"hate": {"minimum": 1}, "other": {"minimum": 1}}},
        "shares": {"label": {"normal": {"minimum": 0.7, "maximum": 0.9}}},
    }
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, {"expect": expect}).run()
    assert [fault.message for fault in caught.value.diagnostics] == [
        "rows of all: 3, expected 4",
        "rows with label 'other': 0, expected at least 1",
        "the share of label 'normal': 0.666667, expected at least 0.7 and at most 0.9",
    ]
