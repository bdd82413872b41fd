"""The mask over answers, proved on templates of the kinds that models have: against the library's own mask of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from hsdc_runtime.nn.chat import ChatTemplate
from hsdc_runtime.stages.examples import _Asking, _joined
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.rows import Row
from tests.nn.tiny_causal import build

# By family; {% generation %} marks for the library what the model says, and is nothing to a template that is rendered.
SAID = "{% generation %}{{ m.content }}END{% endgeneration %}"
TURN = "{% for m in messages %}{% if m.role == 'assistant' %}ASSISTANT{% else %}OTHER{% endif %}{% endfor %}"
ASK = "{% if add_generation_prompt %}PROMPT{% endif %}"


def template(other: str, prompt: str, end: str, *, before: str = "", said: str = SAID) -> str:
    """A template whose turns of the model begin as its prompts end."""
    turns = TURN.replace("ASSISTANT", prompt + said.replace("END", end)).replace("OTHER", other)
    return before + turns + ASK.replace("PROMPT", prompt)


TRIMMED = "{% generation %}{{ m.content | trim }}END{% endgeneration %}"
OWN = "{% if messages[0].role != 'system' %}<s>system\nBe of help.</s>\n{% endif %}"
PLAIN = "<s>{{ m.role }}\n{{ m.content }}</s>\n"
USER = "<s>{{ 'user' if m.role == 'system' else m.role }}\n{{ m.content | trim }}</s>\n"
TEMPLATES = {
    "im_start": template(PLAIN, "<s>assistant\n", "</s>\n"),
    "a system of its own": template(PLAIN, "<s>assistant\n", "</s>\n", before=OWN),
    "headers": template(
        "<s>{{ m.role }}<s>\n\n{{ m.content | trim }}</s>", "<s>assistant<s>\n\n", "</s>", said=TRIMMED
    ),
    "bars": template("<|{{ m.role }}|>\n{{ m.content }}</s>\n", "<|assistant|>\n", "</s>\n", before="{{ bos_token }}"),
    "no system": template(USER, "<s>model\n", "</s>\n"),
}
BLANK = "{% generation %} {{ m.content }}END{% endgeneration %}"
GOES_ON, SEAM = "does not go on with the answer", "cuts prompt and answer into other tokens"
REFUSED = {
    "a blank before the answer": (template("[INST] {{ m.content }} [/INST]", "", " </s>", said=BLANK), GOES_ON),
    "thoughts before it": (template(PLAIN, "<s>assistant\n", "</s>\n", said=f"<think></think>{SAID}"), GOES_ON),
    "prompts that no conversation has": (template(PLAIN, "<s>assistant\n", "</s>\n") + "!", GOES_ON),
    "tokens that reach over the seam": (template("{{ m.role }}: {{ m.content }}\n", "it was w", "</s>"), SEAM),
}
EXPERIMENT = {
    "prompt": {
        "system": "answer {{ labels | join(' or ') }}",
        "user": "text {{ text }}",
        "examples": [{"text": "some of it", "label": "hate"}],
        "format": {"kind": "label"},
    },
    "task": {"target": "label", "labels": ["hate", "not hate"]},
}


def row(name: str, label: str, **fields: str) -> Row:
    return Row(name, f"row {name} is here", {"label": label}, (), None, fields)


ROWS = [row("r0", "hate"), row("r1", "not hate"), row("r2", "hate")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(build(tmp_path_factory.mktemp("llama")))


def marked(tokenizer: Any, chat: str, experiment: Any = EXPERIMENT, rows: Any = ROWS) -> tuple[_Asking, list[Any]]:
    with ChatTemplate(chat, tokenizer.special_tokens_map) as rendered:
        asking = _Asking(SimpleNamespace(experiment=experiment), tokenizer, rendered)
        return asking, list(asking.marked(rows))


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_supervised_is_what_the_library_says_the_model_says(tokenizer: Any, name: str) -> None:
    asking, found = marked(tokenizer, TEMPLATES[name])
    assert len(_joined(found)) == len(ROWS)
    for one, (of, tokens, start) in zip(ROWS, found, strict=True):
        label = one.labels["label"]
        said = [*asking.conversation.about(one.text, {}), {"role": "assistant", "content": label}]
        theirs = tokenizer.apply_chat_template(
            said, chat_template=TEMPLATES[name], return_dict=True, return_assistant_tokens_mask=True
        )
        mask = theirs["assistant_masks"]
        assert (of, tokens) == (one.id, theirs["input_ids"])
        turns = np.flatnonzero(np.diff([0, *mask]) == 1)
        assert len(turns) == 2, "the example is a turn of the model's, too"
        assert start == turns[-1], "what is learnt is the last one, which the row is about"
        assert mask[start:] == [1] * (len(tokens) - start)
        assert tokenizer.decode(tokens[start:]).startswith(f"{label}</s>")


@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_cannot_mark_the_answer_is_an_error(tokenizer: Any, name: str) -> None:
    chat, words = REFUSED[name]
    with pytest.raises(HsdcError) as raised:
        marked(tokenizer, chat)
    (fault,) = raised.value.diagnostics
    assert (fault.code, fault.exit) == ("E448", 2)
    assert words in fault.message
    assert "row r0" in fault.message


def test_a_row_without_an_answer_is_an_error(tokenizer: Any) -> None:
    """All of such a row would be masked."""
    prompt = {"user": "{{ text }}", "format": {"kind": "text", "marker": "it is", "field": "review"}}
    rows = [ROWS[0], row("r9", "hate", review=" \n")]
    with pytest.raises(HsdcError) as raised:
        marked(tokenizer, TEMPLATES["im_start"], {**EXPERIMENT, "prompt": prompt}, rows)
    (fault,) = raised.value.diagnostics
    assert (fault.code, fault.message) == ("E449", "row r9 has a blank answer, so there is nothing to learn")
    for start in (0, 4):
        with pytest.raises(ValueError, match="row r0 has nothing to learn"):
            _joined([("r0", [5, 6, 7, 8], start)])
