"""Canonical JSON against the library of RFC 8785, byte for byte."""

from __future__ import annotations

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from hsdc_schemas.digests import HOLE, LARGEST, Text, canonical, from_json, ready, template

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | FLOATS | TEXTS
VALUES = st.recursive(LEAVES, lambda below: st.lists(below) | st.dictionaries(TEXTS, below), max_leaves=12)


@given(VALUES)
def test_values(value: object) -> None:
    written = canonical(value)
    assert written == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert canonical(from_json(written)) == written


@given(FLOATS | st.integers(-(10**30), 10**30).map(float) | st.floats(1e-9, 1e-3) | st.floats(1e14, 1e22))
def test_numbers(value: float) -> None:
    written = canonical([value])
    assert written == rfc8785.dumps([value])
    assert canonical(from_json(written)) == written


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, float("nan"), float("inf"), "\ud800", {"a": 2**70}])
def test_what_has_no_canonical_bytes(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the library's and msgspec's messages differ
        canonical(value)


@given(st.dictionaries(TEXTS, VALUES), st.lists(st.tuples(TEXTS, VALUES), max_size=3))
def test_a_template_is_filled_to_the_same_bytes(rest: dict[str, object], holes: list[tuple[str, object]]) -> None:
    fills = dict(holes)
    order = [fills[key] for key in sorted(fills, key=lambda key: key.encode("utf-16-be"))]
    open_ = template({"a": {**ready(rest), **dict.fromkeys(fills, HOLE)}, "%b": "100%"})
    text = Text(open_, tuple(map(canonical, order)))
    assert bytes(text) == rfc8785.dumps({"a": {**rest, **fills}, "%b": "100%"})  # type: ignore[dict-item]
