"""Answers read from replies: what is written is found, what is not is a fault of its own class, nothing is guessed."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hsdc_schemas.answer_forms import FAULTS, AnswerForm, answer_schema
from hsdc_schemas.prompting import TOLERATED, JsonAnswer, LabelAnswer, LastLineAnswer, TextAnswer
from hsdc_schemas.replies import MAX_REPLY, REFUSALS, read_answer, well_formed

LABELS = ("hate", "offensive", "neither of both")
FIELDS = ("confidence", "reasoning", "protected_group")
JSON = AnswerForm("json", LABELS, fields=FIELDS)
LABEL = AnswerForm("label", LABELS)
LAST = AnswerForm("last_line", LABELS, lead="Answer:")
STRICT = AnswerForm("label", LABELS, tolerate=frozenset())
BARE = AnswerForm("json", LABELS, fields=FIELDS, tolerate=frozenset())

READ = (
    (JSON, '5" of snow: {"classification": "hate"}', "hate"),
    (JSON, '{"classification": "hate"}', "hate"),
    (JSON, ' {"classification": "Hate."}\n', "hate"),
    (JSON, '{"classification": "neither  of both", "other": [1, {"classification": "hate"}]}', "neither of both"),
    (JSON, '```json\n{"classification": "hate"}\n```', "hate"),
    (JSON, '```\n{"classification": "hate"}\n```', "hate"),
    (JSON, 'Here you are:\n```json\n{"classification": "hate"}\n```\nAnything else?', "hate"),
    (JSON, 'Here you are: {"classification": "hate"} – done', "hate"),
    (JSON, '<think>{"classification": "offensive"}? No.</think>{"classification": "hate"}', "hate"),
    (JSON, '{"classification": "\\u0068ate", "reasoning": "a } and a { and a \\" in it"}', "hate"),
    (JSON, 'I\'m sorry to say so: {"classification": "hate"}', "hate"),
    (BARE, '```json\n{"classification": "hate"}\n```', "hate"),
    (LABEL, "hate", "hate"),
    (LABEL, "\n  **Hate**.\n", "hate"),
    (LABEL, "`offensive`", "offensive"),
    (LABEL, "“Neither of  both”!", "neither of both"),
    (LABEL, "<think>is it hate?\n</think>\noffensive", "offensive"),
    (STRICT, "neither of both", "neither of both"),
    (LAST, "It insults a group.\nSo it is.\n\nAnswer: hate\n \n", "hate"),
    (LAST, "It insults.\n**Answer:** Hate.", "hate"),
    (LAST, "**answer: offensive**", "offensive"),
    (LAST, "Thinking of hate.\noffensive", "offensive"),
    (LAST, "I'm sorry, but this is what I think.\nAnswer: hate", "hate"),
)
NOT_READ = (
    (JSON, "", "empty"),
    (LABEL, " \n\t ", "empty"),
    (LABEL, "<think>hate", "empty"),
    (JSON, '{"classification": "hate"} {"classification": "offensive"}', "several"),
    (JSON, '[{"classification": "hate"}, {"classification": "hate"}]', "several"),
    (JSON, '{"classification": "hate", "classification": "offensive"}', "several"),
    (JSON, '{"classification": "hate"', "malformed"),
    (JSON, '{"classification": "hate"} {oops}', "malformed"),
    (JSON, "{'classification': 'hate'}", "malformed"),
    (JSON, '{"classification": "hate", "confidence": NaN}', "malformed"),
    (JSON, '["hate"]', "malformed"),
    (JSON, '"hate"', "malformed"),
    (JSON, "hate", "malformed"),
    (JSON, '{"a":' * 5000 + "1" + "}" * 5000, "malformed"),
    (JSON, '{"a":' * 501 + "1" + "}" * 501, "malformed"),
    (JSON, '{"a":' * 500 + "1" + "}" * 500, "missing_field"),
    (JSON, "{" * 100_000, "malformed"),
    (JSON, '{"confidence": ' + "9" * 5000 + "}", "malformed"),
    (BARE, 'So: {"classification": "hate"}', "malformed"),
    (BARE, '{"classification": "Hate"}', "unknown_label"),
    (JSON, '{"label": "hate"}', "missing_field"),
    (JSON, "{}", "missing_field"),
    (JSON, '{"Classification": "hate"}', "missing_field"),
    (JSON, '{"classification": ["hate"]}', "wrong_type"),
    (JSON, '{"classification": null}', "wrong_type"),
    (JSON, '{"classification": true}', "wrong_type"),
    (JSON, '{"classification": "neutral"}', "unknown_label"),
    (JSON, '{"classification": "not hate"}', "unknown_label"),
    (JSON, '{"classification": ""}', "unknown_label"),
    (LABEL, "hateful", "unknown_label"),
    (LABEL, "hate?", "unknown_label"),
    (LABEL, "hate or offensive", "unknown_label"),
    (LABEL, "not a hate at all", "malformed"),
    (LABEL, "hate\noffensive", "several"),
    (LABEL, "hate\nIt insults a group.", "malformed"),
    (STRICT, "Hate", "unknown_label"),
    (STRICT, "hate\n", "unknown_label"),
    (STRICT, "hate.", "unknown_label"),
    (LAST, "Answer: hate\nIs there anything else that you need?", "malformed"),
    (LAST, "Answer: spam", "unknown_label"),
    (LAST, "Answer:", "unknown_label"),
    (LABEL, "I’m sorry, but I can’t help with that.", "refusal"),
    (JSON, "As an AI language model, I do not judge.", "refusal"),
    (LABEL, "x" * (MAX_REPLY + 1), "too_long"),
)


@pytest.mark.parametrize(("form", "text", "label"), READ)
def test_a_label_that_is_written_is_read(form: AnswerForm, text: str, label: str) -> None:
    answer = read_answer(text, "stop", form)
    assert (answer.label, answer.fault) == (label, "")


@pytest.mark.parametrize(("form", "text", "fault"), NOT_READ, ids=range(len(NOT_READ)))
def test_what_cannot_be_read_has_its_fault(form: AnswerForm, text: str, fault: str) -> None:
    answer = read_answer(text, "stop", form)
    assert (answer.label, answer.fault) == (None, fault)


def test_every_fault_and_every_form_is_shown_here() -> None:
    shown = {fault for _, _, fault in NOT_READ} | {"filtered", "truncated"}
    assert shown == set(FAULTS)
    assert {form.kind for form, _, _ in READ} == {"json", "label", "last_line"}


def test_a_filtered_reply_is_never_read() -> None:
    assert read_answer("hate", "filter", LABEL).fault == "filtered"
    assert read_answer("", "filter", JSON).fault == "filtered"


def test_a_reply_cut_off_is_truncated_only_where_nothing_can_be_read() -> None:
    assert read_answer('{"classification": "ha', "length", JSON).fault == "truncated"
    assert read_answer('{"classification": "hate", "reasoning": "so', "length", JSON).fault == "truncated"
    assert read_answer('{"classification": "hate"} and this is', "length", JSON).label == "hate"
    assert read_answer("", "length", LABEL).fault == "truncated"
    assert read_answer("I cannot help you with", "length", LABEL).fault == "refusal"
    assert read_answer("hate", "length", LABEL).label == "hate"


@pytest.mark.parametrize(("kind", "text"), [("label", "hate"), ("label", "Hate."), ("last_line", "So.\nAnswer: hate")])
def test_a_cut_label_that_may_be_the_beginning_of_another_is_not_taken(kind: str, text: str) -> None:
    form = AnswerForm(kind, ("hate", "hate speech"), lead="Answer:")  # type: ignore[arg-type]
    assert read_answer(text, "stop", form).label == "hate"
    assert read_answer(text, "length", form).fault == "truncated"
    assert read_answer(text + " speech", "length", form).label in (None, "hate speech")


def test_labels_that_only_tolerance_makes_equal_are_told_apart_exactly_or_not_at_all() -> None:
    form = AnswerForm("label", ("Hate", "hate"))
    assert read_answer("Hate", "stop", form).label == "Hate"
    assert read_answer("hate", "stop", form).label == "hate"
    assert read_answer("HATE", "stop", form).fault == "unknown_label"


def test_fields_come_with_the_label() -> None:
    text = '{"classification": "hate", "confidence": 0.8, "reasoning": "an \\ud800 insult", "protected_group": null}'
    answer = read_answer(text, "stop", JSON)
    assert answer.fields == {"confidence": 0.8, "reasoning": "an � insult", "protected_group": None}
    assert answer.ignored == ()
    listed = read_answer(
        '{"classification": "hate", "protected_group": ["a", "b"], "confidence": "high"}', "stop", JSON
    )
    assert listed.fields == {"confidence": "high", "reasoning": None, "protected_group": ["a", "b"]}


@pytest.mark.parametrize("value", ["true", "{}", "[1]", "[[]]", "1e400", "9" * 400])
def test_a_field_that_holds_what_no_answer_has_is_ignored_and_the_label_stands(value: str) -> None:
    other = read_answer(f'{{"classification": "hate", "confidence": {value}}}', "stop", JSON)
    assert (other.label, other.ignored, other.fields["confidence"]) == ("hate", ("confidence",), None)


def test_a_form_that_contradicts_itself_is_refused() -> None:
    for build in (
        lambda: AnswerForm("json", LABELS, fields=("classification",)),
        lambda: AnswerForm("json", LABELS, fields=("why", "why")),
        lambda: AnswerForm("label", ()),
        lambda: AnswerForm("label", (" ",)),
    ):
        with pytest.raises(ValueError, match=r"."):
            build()


def test_a_form_is_the_one_that_a_prompt_declares() -> None:
    declared = JsonAnswer(kind="json", field="label", fields=("why",), tolerate=("case",))
    assert AnswerForm.of(declared, LABELS) == AnswerForm("json", LABELS, "label", ("why",), "", frozenset({"case"}))
    assert AnswerForm.of(LabelAnswer(kind="label"), LABELS) == LABEL
    assert AnswerForm.of(LastLineAnswer(kind="last_line"), LABELS) == LAST


def test_the_schema_of_an_answer_holds_the_words_and_every_field() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = answer_schema(JSON)
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"classification": "neither of both", "confidence": None, "reasoning": "so", "protected_group": None}
    jsonschema.validate(good, schema)
    assert read_answer(json.dumps(good), "stop", JSON).label == "neither of both"
    for bad in ({**good, "classification": "neither"}, {**good, "more": 1}, {"classification": "hate"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_time_grows_with_the_reply_and_not_with_its_square() -> None:
    begin = time.process_time()
    for piece in ("{", '{"', '{"a":', "}", '"', "\\", "```json\n{", "<think>", "*", "hate\n", '{"a":1}', "[{"):
        text = (piece * (MAX_REPLY // len(piece) + 1))[:MAX_REPLY]
        for form in (JSON, BARE, LABEL, LAST):
            read_answer(text, "stop", form)
    assert time.process_time() - begin < 6


WORDS = (
    "hate",
    "Hate",
    "offensive",
    "neither of both",
    "neither",
    "null",
    "Answer:",
    "**",
    "```json\n",
    "```",
    "\u2028",
)
SIGNS = ("{", "}", "[", "]", '"', "\\", ":", ",", ".", "\n", " ", "\0", "\ud83d", "\ude00", "<think>", "</think>")
OBJECTS = ('{"classification": "hate"}', '{"classification": "offensive"}', '"classification"', '"confidence": 1')
PIECES = st.sampled_from((*WORDS, *SIGNS, *OBJECTS, *REFUSALS[:3]))
TEXTS = st.one_of(st.text(), st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join))
FINISHES = st.sampled_from(("stop", "length", "filter"))
FORMS_OF = st.builds(
    AnswerForm,
    st.sampled_from(("json", "label", "last_line")),
    st.just(LABELS),
    fields=st.sampled_from(((), FIELDS)),
    lead=st.sampled_from(("", "Answer:")),
    tolerate=st.frozensets(st.sampled_from(sorted(TOLERATED))),
)
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")


@settings(max_examples=600, deadline=None)
@given(text=TEXTS, finish=FINISHES, form=FORMS_OF)
@example(text='{"classification": "\\u0068ate"}', finish="stop", form=JSON)
def test_it_never_raises_and_never_guesses(text: str, finish: str, form: AnswerForm) -> None:
    answer = read_answer(text, finish, form)  # type: ignore[arg-type]
    assert (answer.label is None) == bool(answer.fault)
    if answer.label is None:
        assert answer.fault in FAULTS
        return
    assert finish != "filter"
    plain = " ".join(ESCAPED.sub(lambda found: chr(int(found[1], 16)), text).split())
    assert answer.label in (plain.casefold() if "case" in form.tolerate else plain)
    json.dumps(dict(answer.fields)).encode("ascii")
    assert all(value == value for value in answer.fields.values())  # no NaN


PROSE = st.text(st.characters(exclude_characters='{}"`<', exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(
    word=st.sampled_from(sorted(LABELS)),
    before=PROSE,
    after=PROSE,
    reasoning=st.text(max_size=30),
    share=st.floats(0, 1),
)
def test_an_object_is_read_back_whatever_stands_around_it(
    word: str, before: str, after: str, reasoning: str, share: float
) -> None:
    written = {"reasoning": reasoning, "classification": word, "confidence": share, "protected_group": None}
    answer = read_answer(before + json.dumps(written) + after, "stop", JSON)
    assert answer.label == word
    assert answer.fields == {"confidence": share, "reasoning": well_formed(reasoning), "protected_group": None}
    again = read_answer(before + json.dumps(written) + after + json.dumps(written), "stop", JSON)
    assert again.fault == "several"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(LABELS)), st.text(min_size=1, max_size=8))
def test_a_label_with_letters_added_is_no_label(word: str, more: str) -> None:
    kept = [sign for sign in more.casefold() if sign.isalnum()]
    answer = read_answer(word + more, "stop", LABEL)
    if kept and answer.label is not None:
        raise AssertionError(f"{word + more!r} was read as {answer.label}")


def test_halves_of_surrogate_pairs_are_mended() -> None:
    assert well_formed("plain ü") == "plain ü"
    assert well_formed("\ud83d\ude00!") == "😀!"
    assert well_formed("a\ud83d") == "a�"


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("status: aligned\nnote: all of it", "stop", ("aligned", "")),
        ("Let me see.\n**Status:** Conflicts.", "stop", ("conflicts", "")),
        ("aligned", "stop", (None, "malformed")),
        ("status: aligned\nstatus: aligned", "stop", (None, "several")),
        ("status: perfect", "stop", (None, "unknown_label")),
        ("status: needs", "length", (None, "truncated")),
        ("status: partly", "length", (None, "truncated")),
    ],
)
def test_a_text_has_its_label_behind_the_marker(text: str, finish: Any, expected: tuple[str | None, str]) -> None:
    form = AnswerForm.of(
        TextAnswer(kind="text", marker="status:"), ("aligned", "needs_adjustment", "conflicts", "partly", "partly done")
    )
    found = read_answer(text, finish, form)
    assert (found.label, found.fault) == expected
