"""What is written: every output of the same rows, conversations as evaluation asks them, the same bytes each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from hsdc_runtime.conversation import Conversation
from hsdc_runtime.making.filters import written
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.prompting import Prompt
from tests.making.bench import Bench, lines, row, write
from tests.nn import tiny_causal

PROMPT: dict[str, Any] = {
    "system": "You moderate. {{ persona }}",
    "persona": "Be fair.",
    "user": "{% if fields.group is defined %}About {{ fields.group }}. {% endif %}Post: {{ text }}",
    "examples": [{"text": "Hi.", "label": "normal", "fields": {"reasoning": "It greets."}}],
    "format": {"kind": "json", "field": "classification", "fields": ["reasoning", "confidence"]},
}
TASK = {"target": "label", "labels": ["hate", "normal"]}
SHAPE = {
    "fields": {
        "id": {},
        "text": {},
        "label": {"allowed": ["hate", "normal"]},
        "groups": {"type": "texts", "nullable": True},
        "score": {"type": "number", "nullable": True},
        "reasoning": {"nullable": True},
    },
    "columns": {
        **{name: name for name in ("id", "text", "label", "groups", "score", "reasoning")},
        "group": {"path": "groups", "pattern": "^([^;]*)"},
        "confidence": {"value": "high"},
    },
}
ROWS = [
    {
        "id": "a",
        "text": 'Ünï "quoted"\nline',
        "label": "hate",
        "groups": ["g1", "g2"],
        "score": 0.25,
        "reasoning": "So.",
    },
    {"id": "b", "text": "two", "label": "normal", "groups": None, "score": None, "reasoning": None},
    {"id": "c", "text": "null", "label": "normal", "groups": [], "score": 3, "reasoning": "NA"},
]


def bench(folder: Path, **more: Any) -> Bench:
    write(folder, ROWS)
    sources = {"all": {"source": "file:rows.jsonl", "format": "jsonl", "shapes": ["post"], "split": "train"}}
    asked = {"shapes": {"post": SHAPE}, "sources": sources, "prompt": PROMPT, "task": TASK}
    return Bench(folder, {**asked, **more})


def test_a_conversation_is_what_evaluation_asks_and_the_answer_that_means_the_label(tmp_path: Path) -> None:
    (found,) = bench(tmp_path, outputs={"chat": {"kind": "chat"}}).rows("chat").values()
    conversation = Conversation(Prompt.model_validate_json(json.dumps(PROMPT)), TASK["labels"])
    for made, given, group in zip(found, ROWS, ("g1", "", ""), strict=True):
        fields = {"group": group, "confidence": "high", "label": given["label"]}
        fields |= {"reasoning": given["reasoning"]} if given["reasoning"] else {}
        *asked, answer = made["messages"]
        assert asked == conversation.about(given["text"], fields)
        wanted = {"classification": given["label"], "reasoning": given["reasoning"], "confidence": "high"}
        assert answer["role"] == "assistant"
        assert json.loads(answer["content"]) == {key: value for key, value in wanted.items() if value is not None}
    assert len(found[0]["messages"]) == 5  # system, an example's two turns, the question, the answer
    assert found[0]["messages"][3]["content"] == 'About g1. Post: Ünï "quoted"\nline'


def test_a_label_that_is_no_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(HsdcError) as caught:
        bench(tmp_path, outputs={"chat": {"kind": "chat"}}, task={**TASK, "labels": ["hate", "norm"]}).run()
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.message) == ("E606", "'normal' of row 'b' is no label of the task 'label'")


def test_every_format_holds_the_same_rows(tmp_path: Path) -> None:
    outputs = {"lines": {"kind": "rows"}, "table": {"kind": "rows", "format": "parquet"}}
    made = bench(tmp_path, outputs=outputs).run()["write"].files
    table = parquet.read_table(made["table.train"])
    assert table.to_pylist() == lines(made["lines.train"])
    assert [str(kind) for kind in table.schema.types] == [
        "string", "string", "string", "string", "list<element: string>", "string", "string", "double",
    ]  # fmt: skip
    names = ["id", "text", "confidence", "group", "groups", "label", "reasoning", "score"]
    assert table.column_names == names
    assert lines(made["lines.train"])[1] == {**ROWS[1], "group": "", "confidence": "high"}


def test_pairs_are_templates_over_the_columns_in_a_sandbox(tmp_path: Path) -> None:
    pairs = {
        "kind": "pairs",
        "prompt": "Q {{ text }} ({{ score or 'none' }})",
        "response": "{{ label }}{% if reasoning %}!{% endif %}",
    }
    (found,) = bench(tmp_path, outputs={"pairs": pairs}).rows("pairs").values()
    assert found[1:] == [
        {"prompt": "Q two (none)", "response": "normal"},
        {"prompt": "Q null (3.0)", "response": "normal!"},
    ]
    faults = {"{{ mood }}": "row 'a': the template 'response' fails: 'mood' is undefined"}
    faults |= {
        "{{ text.__class__.__mro__ }}": "unsafe",
        "{{ reasoning }}": "row 'b': the template 'response' fails: it",
    }
    for template, told in faults.items():
        with pytest.raises(HsdcError) as caught:
            bench(tmp_path, outputs={"pairs": {**pairs, "response": template}}).run()
        (fault,) = caught.value.diagnostics
        assert fault.code == "E446"
        assert told in fault.message


def test_the_licence_is_that_of_the_sources_unless_another_is_stated(tmp_path: Path) -> None:
    source = {"source": "file:rows.jsonl", "format": "jsonl", "shapes": ["post"], "split": "train"}
    for of_source, of_run, told in (("MIT", "", "MIT"), ("MIT", "0BSD", "0BSD"), ("", "", "none stated")):
        sources = {"all": {**source, "license": of_source}}
        made = bench(tmp_path, sources=sources, about={"license": of_run}).run()["write"].files
        assert f"\nLicence: {told}\n" in made["card"].read_text("utf-8")
        assert json.loads(made["croissant"].read_bytes()).get("license", "none stated") == told


def test_a_split_without_rows_is_an_error_unless_it_is_expected(tmp_path: Path) -> None:
    filters = [{"kind": "one_of", "column": "label", "values": ["hat"]}]
    with pytest.raises(HsdcError) as caught:
        bench(tmp_path, filters=filters).run()
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.message) == ("E619", "rows of train: 0, expected at least 1")
    made = bench(tmp_path, filters=filters, expect={"rows": {"train": {"minimum": 0}}}).run()
    assert made["write"].facts["rows"] == {"train": 0}


def test_what_a_corpus_expects_stands_beside_what_the_run_does(tmp_path: Path) -> None:
    of_corpus = {"counts": {"label": {"hate": {"minimum": 2}}}}
    asked = bench(tmp_path, expect={"rows": {"train": {"maximum": 2}}}).experiment
    with pytest.raises(HsdcError) as caught:
        Bench(tmp_path, {**asked, "corpus_expect": of_corpus}).run()
    told = [fault.message for fault in caught.value.diagnostics]
    assert told == ["rows of train: 3, expected at most 2", "rows with label 'hate': 1, expected at least 2"]


def test_the_card_and_the_metadata_tell_what_is_there(tmp_path: Path) -> None:
    about = {"name": "Posts", "description": "A | few <b>.", "license": "MIT"}
    outputs = {"rows": {"kind": "rows"}, "chat": {"kind": "chat"}}
    made = bench(tmp_path, outputs=outputs, about=about).run()["write"].files
    told = json.loads(made["croissant"].read_bytes())
    assert (told["conformsTo"], told["@type"]) == ("http://mlcommons.org/croissant/1.0", "sc:Dataset")
    for file in told["distribution"]:
        data = made[file["name"].removesuffix(".jsonl")].read_bytes()
        assert (file["sha256"], file["contentSize"]) == (sha256(data).hexdigest(), f"{len(data)} B")
    chat, rows = (record["field"] for record in told["recordSet"])
    assert [field["name"] for field in rows] == list(lines(made["rows.train"])[0])
    assert all(field["source"]["extract"] == {"column": field["name"]} for field in rows)
    (messages,) = chat
    assert (messages["name"], messages["repeated"]) == ("messages", True)
    found = {field["name"]: field["source"] for field in messages["subField"]}
    assert {name: source["transform"] for name, source in found.items()} == {
        name: {"jsonPath": name} for name in lines(made["chat.train"])[0]["messages"][0]
    }
    assert all(source["extract"] == {"column": "messages"} for source in found.values())
    card = made["card"].read_text("utf-8")
    assert card.startswith("# Posts\n\nA | few <b>.\n\nLicence: MIT\n")
    assert "| normal | 2 (66.7 %) |" in card
    assert "| train | 3 | 3 | 3 | 4 | 4 | 17 | 8.0 |" in card  # characters of the three texts
    assert f"`sha256:{sha256((tmp_path / 'rows.jsonl').read_bytes()).hexdigest()}`" in card


MAKE = """
import sys
from pathlib import Path
from tests.making.test_writing import bench
outputs = {"rows": {"kind": "rows"}, "table": {"kind": "rows", "format": "parquet"}, "chat": {"kind": "chat"}}
splits = {"kind": "drawn", "shares": {"train": 0.5, "test": 0.5}, "stratify": ["label"]}
made = bench(Path(sys.argv[1]), outputs=outputs, splits=splits).run()
from hashlib import sha256
files = {name: path for item in made.values() for name, path in sorted(item.files.items())}
print({name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()})
"""


def test_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", MAKE, str(tmp_path / seed)]
        found.append(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
    assert found[0] == found[1]
    assert "table.test" in found[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal.build(tmp_path_factory.mktemp("tiny") / "model")


@pytest.mark.parametrize("kind", ["rows", "pairs", "chat"])
def test_rows_that_are_too_long(tmp_path: Path, model: Path, kind: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def tokens(made: dict[str, Any]) -> int:
        if kind == "chat":
            *asked, answer = made["messages"]
            text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            return len(tokenizer(text + answer["content"], add_special_tokens=False)["input_ids"])
        parts = [made["text"]] if kind == "rows" else [made["prompt"], made["response"]]
        return sum(len(tokenizer(part, add_special_tokens=False)["input_ids"]) for part in parts)

    rows = [row(1, text="the post"), row(2, text="the post " * 12 + "end"), row(3, text="post")]
    (tmp_path / "model").symlink_to(model)
    output: dict[str, Any] = {"kind": kind}
    if kind == "pairs":
        output |= {"prompt": "Q: {{ text }}", "response": "{{ label }}"}
    prompt = {"user": "Post: {{ text }}", "format": {"kind": "label"}}

    def asked(maximum: int, over: str) -> Bench:
        write(tmp_path, rows)
        more = {"length": {"maximum": maximum, "over": over}, "model": {"kind": "pretrained", "source": "file:model"}}
        return Bench(tmp_path, {"outputs": {"it": output}, "prompt": prompt, "task": TASK, **more})

    whole = [tokens(made) for made in asked(10**6, "raise").rows("it")["all"]]
    limit = max(whole[0], whole[2]) + 2
    assert whole[1] > limit
    with pytest.raises(HsdcError) as caught:
        asked(limit, "raise").run()
    (fault,) = caught.value.diagnostics
    message = f"row 'r2' has {whole[1]} tokens when it is written, at most {limit} may be"
    assert (fault.code, fault.message) == ("E631", message)
    dropped = asked(limit, "drop")
    assert [tokens(made) for made in dropped.rows("it")["all"]] == [whole[0], whole[2]]
    assert dropped.run()["write"].facts["splits"]["all"]["filtered"] == {"too many tokens": 1}
    cut = asked(limit, "truncate")
    found = [tokens(made) for made in cut.rows("it")["all"]]
    assert found[::2] == whole[::2]
    assert limit - 3 <= found[1] <= limit
    assert cut.run()["write"].facts["shortened"] == 1
    if kind != "rows":
        with pytest.raises(HsdcError, match="a shorter text does not help"):
            asked(1, "truncate").run()


def test_values_as_specs_write_them() -> None:
    assert [written(value) for value in ("x", True, False, 3, 0.5, None)] == ["x", "true", "false", "3", "0.5", ""]
