"""What is ranked is how the answer would be written, up to where its label ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsdc_schemas.prompting import JsonAnswer, LabelAnswer, LastLineAnswer
from hsdc_schemas.wording import Format, continuations, lead, worded

FORMATS: list[tuple[Format, dict[str, str], str]] = [
    (JsonAnswer(kind="json", field="classification"), {}, '"}'),
    (JsonAnswer(kind="json", field="classification", fields=("why", "who")), {"who": "a", "why": "b"}, '",'),
    (LabelAnswer(kind="label"), {}, ""),
    (LastLineAnswer(kind="last_line", lead="Answer:"), {}, ""),
]


@pytest.mark.parametrize(("format", "fields", "end"), FORMATS)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_a_continuation_is_the_answer_up_to_the_end_of_its_label(
    format: Format, fields: dict[str, str], end: str, labels: list[str]
) -> None:
    for label, ending in zip(labels, continuations(format, labels), strict=True):
        assert worded(format, label, fields).startswith(lead(format) + ending)
        assert ending.endswith(end)
